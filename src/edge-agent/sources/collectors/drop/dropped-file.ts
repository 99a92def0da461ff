/**
 * Opens a dropped file, or refuses it: what is no plain file of its own, or too large.
 *
 * Invariant: nothing that waits or acts is opened (no FIFO, no device, no link), and what is read is what was looked at.
 */
import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";

/** Largest file that is taken. */
export const DROPPED_BYTES_MAX = 16 * 1024 * 1024;

/** The agent is in no group, so the mode of a file for others decides. */
const UNREADABLE =
  "the agent may not read it; `chmod o+r` lets it, and the folder keeps others out";

export type DroppedFile =
  | {
    readonly state: "read";
    readonly identity: string;
    readonly uid: number;
    readonly bytes: Uint8Array;
  }
  | {
    readonly state: "refused";
    readonly identity: string;
    readonly uid: number;
    readonly reason: string;
  }
  | { readonly state: "gone" };

/** Without reading it; `gone` when it is not there any more. */
export async function identityOf(path: Buffer): Promise<string | undefined> {
  const looked = await stat(path);
  return looked === undefined ? undefined : identify(looked);
}

export async function readDropped(path: Buffer): Promise<DroppedFile> {
  const looked = await stat(path);
  if (looked === undefined) return { state: "gone" };
  const [identity, uid] = [identify(looked), Number(looked.uid)];
  const refuse = (reason: string): DroppedFile => ({ state: "refused", identity, uid, reason });
  const wrong = faultOf(looked);
  if (wrong !== undefined) return refuse(wrong);
  try {
    // Should it have become something else meanwhile: neither followed, nor waited for.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    await using handle = await open(path, flags);
    const opened = await handle.stat({ bigint: true });
    if (identify(opened) !== identity) return refuse("it changed while it was opened");
    const bytes = new Uint8Array(Number(opened.size));
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) return refuse("it became shorter while it was read");
      length += bytesRead;
    }
    return { state: "read", identity, uid, bytes };
  } catch (error) {
    if (codeOf(error) === "ENOENT") return { state: "gone" };
    if (codeOf(error) === "EACCES") return refuse(UNREADABLE);
    return refuse(error instanceof Error ? error.message.split(",")[0] ?? "" : String(error));
  }
}

type Looked = Awaited<ReturnType<typeof lstatBig>>;

function lstatBig(path: Buffer) {
  return lstat(path, { bigint: true });
}

async function stat(path: Buffer): Promise<Looked | undefined> {
  try {
    return await lstatBig(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** A rename changes the time of the inode: the same inode with another file in it is another. */
function identify({ dev, ino, size, ctimeNs }: Looked): string {
  return [dev, ino, size, ctimeNs].join(":");
}

function faultOf(looked: Looked): string | undefined {
  if (looked.isSymbolicLink()) return "it is a link";
  if (!looked.isFile()) return "it is no file";
  if (looked.nlink !== 1n) return "it has several names";
  if (looked.size > BigInt(DROPPED_BYTES_MAX)) return `it has more than ${DROPPED_BYTES_MAX} bytes`;
  return undefined;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
