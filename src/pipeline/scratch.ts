/**
 * The roll-up's scratch folder: one of its own per process below the one it is given, and one per round in it.
 *
 * A round's folder goes to a later round with the files of its payloads, which are written over: to make a thousand
 * files anew shortly after as many were removed takes ext4 longer than all that is written into them.
 *
 * Invariant: nothing here outlives the process. What a killed one left behind is removed by the next one on the same
 * machine, which never touches the folder of one that is alive.
 */
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { makeFolders } from "../runtime/folders.ts";

export interface Scratch extends AsyncDisposable {
  readonly path: string;
  /** A folder for one round: nothing is in it but spare files. It is given to a later round when it is disposed of. */
  openFolder(): Promise<ScratchFolder>;
}

export interface ScratchFolder extends AsyncDisposable {
  readonly path: string;
}

/** In a round's folder, the one of payloads; files left in it may be renamed and written over. */
export const PAYLOADS_FOLDER = "payloads";
/** Most files that a folder keeps for later. */
const SPARE_FILES_MAX = 4_096;

/** Opens a scratch folder below `directory`, which is made if need be. */
export async function openScratch(directory: string): Promise<Scratch> {
  makeFolders(directory, 0o700);
  await removeLeftovers(directory);
  const path = await mkdtemp(join(directory, `${PREFIX}${process.pid}-`));
  openPaths.add(path);
  const spare: string[] = [];
  let folders = 0;
  return {
    path,
    async openFolder() {
      const folder = spare.pop() ?? join(path, String(++folders));
      await mkdir(join(folder, PAYLOADS_FOLDER), { recursive: true });
      return {
        path: folder,
        async [Symbol.asyncDispose]() {
          await clear(folder);
          spare.push(folder);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await remove(path);
      openPaths.delete(path);
    },
  };
}

/** Those of this process: in a container, a killed process had the same id. */
const openPaths = new Set<string>();

/** Process ids mean something only together with the machine, or container, that gave them. */
const PREFIX = `rollup-${hostname().replaceAll(/[^A-Za-z0-9]/g, "_")}-`;

async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const pid = name.startsWith(PREFIX) ? parseInt(name.slice(PREFIX.length), 10) : NaN;
    const path = join(directory, name);
    const isUsed = pid === process.pid ? openPaths.has(path) : isAlive(pid);
    if (pid > 0 && !isUsed) await remove(path);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Not permitted to signal it: it is there, and another user's.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** Removes all but the spare files. */
async function clear(folder: string): Promise<void> {
  const others = (await readdir(folder)).filter((name) => name !== PAYLOADS_FOLDER);
  for (const name of others) await remove(join(folder, name));
  const payloads = join(folder, PAYLOADS_FOLDER);
  for (const name of (await readdir(payloads)).slice(SPARE_FILES_MAX)) {
    await remove(join(payloads, name));
  }
}

async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}
