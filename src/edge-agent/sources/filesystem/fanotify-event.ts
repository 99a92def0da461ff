/**
 * What fanotify(7) reports, parsed: directory entries made, renamed and removed, with handles of the directory and of
 * the object. Pure; the layouts are those of include/uapi/linux/fanotify.h, metadata version 3.
 *
 * Invariant: nothing returned refers to the read buffer, which is used again; texts are binary, one character per byte.
 */
import type { FileHandle } from "./file-handle.ts";

export const FAN_ATTRIB = 0x4;
export const FAN_CLOSE_WRITE = 0x8;
export const FAN_CREATE = 0x100;
export const FAN_DELETE = 0x200;
export const FAN_Q_OVERFLOW = 0x4000;
export const FAN_RENAME = 0x1000_0000;
export const FAN_ONDIR = 0x4000_0000;

/** A name in a directory; the name is binary, one character per byte. */
export interface DirectoryEntry {
  readonly directory: FileHandle;
  readonly name: string;
}

/** One report. The kernel merges equal reports that wait, so several of the bits may be set at once. */
export interface FanotifyEvent {
  readonly mask: number;
  /** Process (thread group) that did it; 0 when it is in no namespace of ours. */
  readonly pid: number;
  /** Where; for a rename, where from. Undefined on an overflow. */
  readonly entry: DirectoryEntry | undefined;
  /** For a rename, where to. */
  readonly newEntry: DirectoryEntry | undefined;
  /** The object itself. */
  readonly target: FileHandle | undefined;
}

const METADATA_VERSION = 3;
const METADATA_BYTES = 24;
const INFO_FID = 1;
const INFO_DFID_NAME = 2;
const INFO_DFID = 3;
const INFO_OLD_DFID_NAME = 10;
const INFO_NEW_DFID_NAME = 12;

/** Every event in the first `length` bytes of a buffer. Throws RangeError on a layout that is not the known one. */
export function parseFanotifyEvents(buffer: Buffer, length: number): FanotifyEvent[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, length);
  const events: FanotifyEvent[] = [];
  for (let at = 0; at + METADATA_BYTES <= length;) {
    const sizeBytes = view.getUint32(at, true);
    const version = view.getUint8(at + 4);
    if (version !== METADATA_VERSION || sizeBytes < METADATA_BYTES || at + sizeBytes > length) {
      throw new RangeError(
        `Cannot read a fanotify event: version ${version} with ${sizeBytes} bytes is not known`,
      );
    }
    events.push(parseEvent(buffer, view, at));
    at += sizeBytes;
  }
  return events;
}

function parseEvent(buffer: Buffer, view: DataView, start: number): FanotifyEvent {
  const end = start + view.getUint32(start, true);
  let entry: DirectoryEntry | undefined;
  let newEntry: DirectoryEntry | undefined;
  let target: FileHandle | undefined;
  for (let at = start + view.getUint16(start + 6, true); at + 4 <= end;) {
    const type = view.getUint8(at);
    const sizeBytes = view.getUint16(at + 2, true);
    if (sizeBytes < 4) throw new RangeError("Cannot read a fanotify event: empty information");
    const recordEnd = at + sizeBytes;
    if (type === INFO_FID) target = handleAt(buffer, view, at + 4);
    else if (type === INFO_DFID_NAME || type === INFO_OLD_DFID_NAME) {
      entry = entryAt(buffer, view, { at: at + 4, end: recordEnd });
    } else if (type === INFO_NEW_DFID_NAME) {
      newEntry = entryAt(buffer, view, { at: at + 4, end: recordEnd });
    } else if (type === INFO_DFID) entry = { directory: handleAt(buffer, view, at + 4), name: "." };
    at = recordEnd;
  }
  return {
    mask: view.getUint32(start + 8, true),
    pid: view.getInt32(start + 20, true),
    entry,
    newEntry,
    target,
  };
}

function handleAt(buffer: Buffer, view: DataView, at: number): FileHandle {
  return buffer.toString("latin1", at, at + 16 + view.getUint32(at + 8, true));
}

function entryAt(
  buffer: Buffer,
  view: DataView,
  { at, end }: { readonly at: number; readonly end: number },
): DirectoryEntry {
  const nameAt = at + 16 + view.getUint32(at + 8, true);
  const terminator = buffer.indexOf(0, nameAt);
  const nameEnd = terminator === -1 || terminator > end ? end : terminator;
  const name = buffer.toString("latin1", nameAt, nameEnd);
  return { directory: handleAt(buffer, view, at), name };
}
