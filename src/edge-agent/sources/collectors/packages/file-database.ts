/**
 * A package manager whose database is compared whole: rpm's, asked of rpm, and apk's, a file.
 *
 * Invariant: it is read when the files it is in have changed, and at the first look.
 */
import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { compare, hasLooked } from "../differential.ts";
import { parseApkInstalled } from "./apk-installed.ts";
import { type InstalledPackages, PackageDatabaseError } from "./installed.ts";
import { type FileStamp, isAbsence, type PackageDatabase } from "./package-database.ts";
import { readDatabase, stampOf } from "./package-database.ts";
import { type Manager, packageEvents } from "./package-events.ts";
import { parseRpmPackages, RPM_PACKAGES_QUERY } from "./rpm-installed.ts";

interface Snapshot extends InstalledPackages {
  /** See `RpmPackages`. */
  readonly timesUs?: ReadonlyMap<string, number>;
}

interface FileDatabaseOptions {
  readonly manager: Manager;
  readonly stamp: () => Promise<FileStamp | undefined>;
  readonly read: (signal: AbortSignal) => Promise<Snapshot>;
}

const RPM_OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const RPM_TIMEOUT_MS = 60_000;
/** Where rpm keeps its records, by distribution. */
const RPM_FOLDERS = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];
const RPM_FILE = /^(?:Packages|Packages\.db|rpmdb\.sqlite(?:-wal)?)$/;
/** Newer ones first. */
const APK_FILES = ["usr/lib/apk/db/installed", "lib/apk/db/installed"];

export function createApkDatabase(root: string): PackageDatabase {
  const paths = APK_FILES.map((path) => join(root, path));
  const found = async (): Promise<string | undefined> => {
    for (const path of paths) if (await stampOf(path) !== undefined) return path;
    return undefined;
  };
  return createFileDatabase({
    manager: "apk",
    stamp: async () => {
      const path = await found();
      return path === undefined ? undefined : stampOf(path);
    },
    read: async (signal) => {
      const path = await found() ?? paths[0] ?? "";
      return parseApkInstalled(await readDatabase(path, signal));
    },
  });
}

export function createRpmDatabase(root: string): PackageDatabase {
  return createFileDatabase({
    manager: "rpm",
    stamp: () => rpmStamp(root),
    read: async (signal) => {
      try {
        const folder = (await rpmFiles(root))[0]?.folder ?? RPM_FOLDERS[0];
        // Debian's rpm looks elsewhere by itself.
        const words = ["--root", root, "--dbpath", `/${folder}`, ...RPM_PACKAGES_QUERY];
        const { stdout } = await promisify(execFile)("rpm", words, {
          maxBuffer: RPM_OUTPUT_BYTES_MAX,
          timeout: RPM_TIMEOUT_MS,
          signal,
          env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" },
        });
        return parseRpmPackages(stdout);
      } catch (cause) {
        signal.throwIfAborted();
        if (cause instanceof PackageDatabaseError) throw cause;
        const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
        throw new PackageDatabaseError(`Cannot ask rpm: ${reason}`, { cause });
      }
    },
  });
}

function createFileDatabase({ manager, stamp, read }: FileDatabaseOptions): PackageDatabase {
  const prefix = `${manager}:`;
  let seen: string | undefined;
  return {
    manager,
    isThere: async () => await stamp() !== undefined,
    async *look(memory, { clock }, signal) {
      const now = await stamp();
      if (now === undefined) {
        if (seen !== "gone" && hasLooked(memory, prefix)) {
          seen = "gone";
          throw new PackageDatabaseError(`Cannot read ${manager}'s database: it is gone`);
        }
        return;
      }
      if (now.text === seen) return;
      seen = now.text;
      const snapshot = await read(signal);
      const timeUs = Math.min(now.modifiedUs, clock.nowUs());
      yield* compare({
        memory,
        prefix,
        snapshot: snapshot.installed,
        tell: ({ key, before, now: current }) =>
          packageEvents({ manager, key, before, now: current }, (version) => {
            const installedUs = snapshot.timesUs?.get(`${key} ${version}`);
            return { timeUs: installedUs ?? timeUs, isNoticed: installedUs === undefined };
          }),
      });
    },
  };
}

/** Of all files that rpm may have its records in. */
async function rpmStamp(root: string): Promise<FileStamp | undefined> {
  const found = await rpmFiles(root);
  if (found.length === 0) return undefined;
  // Whoever reads it as root changes the times of its inodes.
  const content = found.map(({ stamp }) => stamp.content).join(" ");
  return {
    ...{ text: content, content },
    modifiedUs: Math.max(...found.map(({ stamp }) => stamp.modifiedUs)),
  };
}

async function rpmFiles(root: string) {
  const found: { readonly folder: string; readonly stamp: FileStamp }[] = [];
  for (const folder of RPM_FOLDERS) {
    const names = await namesIn(join(root, folder));
    for (const name of names.filter((each) => RPM_FILE.test(each)).toSorted()) {
      const stamp = await stampOf(join(root, folder, name));
      if (stamp !== undefined) found.push({ folder, stamp });
    }
  }
  return found;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isAbsence(error)) return [];
    throw new PackageDatabaseError(`Cannot read "${folder}": ${String(error)}`, { cause: error });
  }
}
