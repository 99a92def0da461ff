/**
 * Reports of files closed after writing and of attributes changed, sifted: of a host's many, the few that are about
 * watched files. Nothing is made for the others, not even a text, so that a storm of them costs a hash each.
 *
 * Invariant: no report about a watched handle is passed over. One about another may come through (two handles with one
 * hash): whoever asks then finds no file of that handle.
 */
import { FAN_ATTRIB, FAN_CLOSE_WRITE, FAN_Q_OVERFLOW } from "../filesystem/fanotify-event.ts";
import type { FileHandle } from "../filesystem/file-handle.ts";

export interface ContentReport {
  readonly pid: number;
  readonly handle: FileHandle;
  readonly isClosed: boolean;
  readonly isAttribute: boolean;
}

export interface SiftedReports {
  readonly watched: readonly ContentReport[];
  /** Reports about files that are not watched. */
  readonly others: number;
  /** Times that the kernel dropped reports. */
  readonly overflows: number;
}

/** Which handles are watched, as a set of hashes. */
export interface WatchedHandles {
  add(handle: FileHandle): void;
  /** Whether the handle in these bytes may be watched. */
  mayHave(bytes: Buffer, from: number, to: number): boolean;
  clear(): void;
  readonly size: number;
}

const METADATA_VERSION = 3;
const METADATA_BYTES = 24;
const INFO_FID = 1;
/** Of a set that was just made; it doubles when half of its places are taken. */
const PLACES_LEAST = 1024;
const FNV_PRIME = 0x01000193;
const FNV_BASIS = 0x811c9dc5;

/** A set of 8 bytes or less per handle; what is taken off it stays until it is cleared, which costs a question each. */
export function createWatchedHandles(): WatchedHandles {
  let places = new Uint32Array(PLACES_LEAST);
  let size = 0;
  const put = (hash: number): void => {
    let at = hash & (places.length - 1);
    for (; places[at] !== 0; at = (at + 1) & (places.length - 1)) {
      if (places[at] === hash) return;
    }
    places[at] = hash;
    size += 1;
  };
  return {
    add(handle) {
      if (2 * (size + 1) > places.length) {
        const old = places;
        places = new Uint32Array(2 * old.length);
        size = 0;
        for (const hash of old) if (hash !== 0) put(hash);
      }
      const bytes = Buffer.from(handle, "latin1");
      put(hashOf(bytes, 0, bytes.byteLength));
    },
    mayHave(bytes, from, to) {
      const hash = hashOf(bytes, from, to);
      for (let at = hash & (places.length - 1);; at = (at + 1) & (places.length - 1)) {
        if (places[at] === 0) return false;
        if (places[at] === hash) return true;
      }
    },
    clear() {
      places = new Uint32Array(PLACES_LEAST);
      size = 0;
    },
    get size() {
      return size;
    },
  };
}

/** Sifts what was read from a group of `contents`. Throws RangeError on a layout that is not the known one. */
export function siftContentReports(bytes: Buffer, handles: WatchedHandles): SiftedReports {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const watched: ContentReport[] = [];
  let others = 0;
  let overflows = 0;
  for (let at = 0; at + METADATA_BYTES <= bytes.byteLength;) {
    const sizeBytes = view.getUint32(at, true);
    const end = at + sizeBytes;
    if (
      view.getUint8(at + 4) !== METADATA_VERSION || sizeBytes < METADATA_BYTES ||
      end > bytes.byteLength
    ) {
      throw new RangeError(`Cannot read a fanotify report: its ${sizeBytes} bytes make no sense`);
    }
    const mask = view.getUint32(at + 8, true);
    const from = at + view.getUint16(at + 6, true) + 4;
    if ((mask & FAN_Q_OVERFLOW) !== 0) overflows += 1;
    else if (from + 16 > end || view.getUint8(from - 4) !== INFO_FID) others += 1;
    else {
      const to = Math.min(end, from + 16 + view.getUint32(from + 8, true));
      if (!handles.mayHave(bytes, from, to)) others += 1;
      else {
        watched.push({
          pid: view.getInt32(at + 20, true),
          handle: bytes.toString("latin1", from, to),
          isClosed: (mask & FAN_CLOSE_WRITE) !== 0,
          isAttribute: (mask & FAN_ATTRIB) !== 0,
        });
      }
    }
    at = end;
  }
  return { watched, others, overflows };
}

/** FNV-1a with its bits mixed once more; never 0, which marks a free place. */
function hashOf(bytes: Buffer, from: number, to: number): number {
  let hash = FNV_BASIS;
  for (let at = from; at < to; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), FNV_PRIME);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) || 1;
}
