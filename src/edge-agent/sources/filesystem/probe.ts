/**
 * Whether fanotify works here, by proof: a directory is made in a folder of our own, and its event must come back with
 * its path. Nothing stays behind.
 */
import { mkdirSync, rmSync } from "node:fs";
import { realpath, rm } from "node:fs/promises";
import process from "node:process";
import type { Clock } from "../../../runtime/clock.ts";
import { type Libc, loadLibc } from "../../libc.ts";
import { makeProofFolder, PROOF_PLACES, requireProofFolder } from "../../proof-folder.ts";
import type { SourceStatus } from "../../source.ts";
import { compareFields, type ProofAction } from "../ring-family.ts";
import { FAN_CREATE } from "./fanotify-event.ts";
import { type FanotifyGroup, openFanotifyGroup } from "./fanotify-group.ts";
import { createHandleReader } from "./handle-reader.ts";
import { joinPath } from "./directory-tree.ts";

/** How long the event may take. */
const PROOF_TIMEOUT_MS = 1000;
const PROOF_TICK_MS = 5;
const PROOF_NAME = "proof";
/** At most this many names in a status. */
const NAMES_MAX = 8;

export async function probeFanotify(clock: Clock): Promise<SourceStatus> {
  let libc: Libc;
  try {
    libc = loadLibc();
  } catch (error) {
    return {
      state: "off",
      reason: `the C library cannot be called: ${error instanceof Error ? error.message : error}`,
      remedy: "run the agent on Linux with glibc",
    };
  }
  const group = openFanotifyGroup(libc);
  if ("reason" in group) return { state: "off", ...group };
  using opened = group;
  for (const place of PROOF_PLACES) {
    const proof = await prove(libc, opened, { place, clock });
    if (proof) return { state: "on", how: howOf(opened) };
  }
  return {
    state: "off",
    reason: "fanotify accepted its marks, but no event with a path came",
    remedy: "run the agent with CAP_DAC_READ_SEARCH, in the host's own mount namespace",
  };
}

/** Makes a folder, and takes it away again at the end: what a running source must tell of. */
export async function proveByFolder(): Promise<ProofAction> {
  const folder = await realpath(requireProofFolder());
  return {
    hook: "create",
    check: (line) =>
      line["topic"] === "file/create" && line["path"] === folder
        ? compareFields(line, { pid: process.pid, outcome: "success" })
        : "other",
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Makes a directory in a new folder and waits for its event, by path. */
async function prove(
  libc: Libc,
  group: FanotifyGroup,
  { place, clock }: { readonly place: string; readonly clock: Clock },
): Promise<boolean> {
  const folder = makeProofFolder(place);
  if (folder === undefined) return false;
  const reader = createHandleReader(libc, (fsid) => group.filesystemOf(fsid));
  try {
    const expected = reader.handleOf(folder);
    if (expected === undefined) return false;
    mkdirSync(joinPath(folder, PROOF_NAME));
    for (let waitedMs = 0; waitedMs < PROOF_TIMEOUT_MS; waitedMs += PROOF_TICK_MS) {
      for (let events = group.read(); events.length > 0; events = group.read()) {
        const isProof = events.some(({ mask, pid, entry }) =>
          (mask & FAN_CREATE) !== 0 && pid === process.pid && entry?.name === PROOF_NAME &&
          entry.directory === expected && reader.directory(entry.directory) !== undefined
        );
        if (isProof) return true;
      }
      await clock.sleep(PROOF_TICK_MS);
    }
    return false;
  } finally {
    reader.release();
    rmSync(folder, { recursive: true, force: true });
  }
}

function howOf({ watched, unwatched }: FanotifyGroup): string {
  const names = watched.map(({ type, mounts }) => `${type} ${mounts[0]?.point ?? ""}`);
  const left = unwatched.map(({ type, point, reason }) => `${type} ${point} (${reason})`);
  return `fanotify on ${listed(names)}${left.length === 0 ? "" : `; not on ${listed(left)}`}`;
}

function listed(names: readonly string[]): string {
  const more = names.length - NAMES_MAX;
  return names.slice(0, NAMES_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
