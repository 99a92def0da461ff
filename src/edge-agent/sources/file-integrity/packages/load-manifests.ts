/**
 * Reads the records of every package manager of a host into an index. It is done when a package manager has written
 * watched files, not before: most hosts change packages once a day, and an index is dropped when it has served.
 *
 * Invariant: what cannot be read is left out, and said; nothing of it stops the agent.
 */
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseApkInstalled } from "./apk-manifest.ts";
import { parseDpkgStatus, parseDpkgSums } from "./dpkg-manifest.ts";
import type { ManifestEntry } from "./manifest-entry.ts";
import { createManifestIndex, type ManifestIndex } from "./manifest-index.ts";
import { parseRpmFiles, RPM_QUERY } from "./rpm-manifest.ts";

export interface LoadOptions {
  readonly signal: AbortSignal;
  /** Folder that stands for `/`. */
  readonly root?: string;
}

export interface LoadedManifests {
  readonly index: ManifestIndex;
  /** Why records could not be read, one text per manager. */
  readonly faults: readonly string[];
}

/** Longest output of rpm that is read: a host has some hundred thousand files of about 150 bytes a line. */
const RPM_OUTPUT_BYTES_MAX = 256 * 1_024 * 1_024;
const RPM_TIMEOUT_MS = 60_000;
/** Where rpm keeps its records, by distribution; without them rpm is not asked. */
const RPM_FOLDERS = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];

/** An index of the packages that are there now. */
export async function loadManifests({ signal, root = "/" }: LoadOptions): Promise<LoadedManifests> {
  const index = createManifestIndex();
  const faults: string[] = [];
  for (const source of [dpkgEntries, apkEntries, rpmEntries]) {
    try {
      for await (const entry of source(root, signal)) {
        if (!index.add(entry)) break;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!isAbsence(error)) faults.push(error instanceof Error ? error.message : String(error));
    }
  }
  return { index, faults };
}

type Source = (root: string, signal: AbortSignal) => AsyncGenerator<ManifestEntry>;

const dpkgEntries: Source = async function* (root, signal) {
  const folder = join(root, "var/lib/dpkg");
  const { packages, conffiles } = parseDpkgStatus(await binaryText(join(folder, "status"), signal));
  yield* conffiles;
  for (const name of await readdir(join(folder, "info"))) {
    const owner = packages.get(name.replace(/\.md5sums$/, ""));
    if (owner === undefined || !name.endsWith(".md5sums")) continue;
    // A package may go while its neighbours are read.
    const text = await binaryText(join(folder, "info", name), signal).catch(nothingOfAbsence);
    yield* parseDpkgSums(text, owner);
  }
};

const apkEntries: Source = async function* (root, signal) {
  const old = join(root, "lib/apk/db/installed");
  const text = await binaryText(join(root, "usr/lib/apk/db/installed"), signal)
    .catch((error: unknown) => isAbsence(error) ? binaryText(old, signal) : Promise.reject(error));
  yield* parseApkInstalled(text);
};

const rpmEntries: Source = async function* (root, signal) {
  const folders = await Promise.all(
    RPM_FOLDERS.map((folder) => readdir(join(root, folder)).catch(() => [])),
  );
  if (folders.every((names) => !names.some((name) => /^(?:Packages|rpmdb\.sqlite)/.test(name)))) {
    return;
  }
  const { stdout } = await promisify(execFile)("rpm", ["--root", root, ...RPM_QUERY], {
    encoding: "latin1",
    maxBuffer: RPM_OUTPUT_BYTES_MAX,
    timeout: RPM_TIMEOUT_MS,
    signal,
  });
  yield* parseRpmFiles(stdout);
};

function binaryText(path: string, signal: AbortSignal): Promise<string> {
  return readFile(path, { encoding: "latin1", signal });
}

/** Whether the manager is not there, which is no fault. */
function isAbsence(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    (error.code === "ENOENT" || error.code === "ENOTDIR");
}

function nothingOfAbsence(error: unknown): string {
  if (isAbsence(error)) return "";
  throw error;
}
