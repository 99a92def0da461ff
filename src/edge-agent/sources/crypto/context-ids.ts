/**
 * Ids of contexts as crypto-auditing makes them: which thread, and which address in it, encrypted so that nobody outside
 * can tell what two ids have in common.
 *
 * Invariant: the key lives in this process alone, and is another after each start.
 */
import { createCipheriv } from "node:crypto";

/** Bytes of the key, and of an id. */
export const KEY_BYTES = 16;
const ID_BYTES = 16;
/** Ids that are remembered, a power of two: the same ones come again and again. */
const KNOWN_BITS = 13;
const KNOWN_MAX = 2 ** KNOWN_BITS;
/** Odd, near 2^32 divided by the golden ratio: what differs anywhere differs in the upper bits of the product. */
const MIX = 0x9e37_79b1;

export interface ContextIds {
  /** 32 hex characters. `tid` and `pid` as the initial namespace has them; two halves of the context, low one first. */
  idOf(
    thread: { readonly tid: number; readonly pid: number },
    context: { readonly low: number; readonly high: number },
  ): string;
}

export function createContextIds(key: Uint8Array): ContextIds {
  // Without a chain each block stands for itself, so one cipher serves for all.
  const cipher = createCipheriv("aes-128-ecb", key, null).setAutoPadding(false);
  const plain = new DataView(new ArrayBuffer(ID_BYTES));
  const bytes = new Uint8Array(plain.buffer);
  // Each id has one place, where another may follow it: nothing is made to look for it.
  const texts = new Array<string>(KNOWN_MAX).fill("");
  const words = new Uint32Array(4 * KNOWN_MAX);
  return {
    idOf({ tid, pid }, { low, high }) {
      const mixed = Math.imul(Math.imul(Math.imul(low, MIX) ^ high, MIX) ^ tid, MIX);
      const place = mixed >>> (32 - KNOWN_BITS);
      const at = 4 * place;
      const found = texts[place];
      const isFound = found !== undefined && found !== "" && words[at] === tid &&
        words[at + 1] === pid && words[at + 2] === low && words[at + 3] === high;
      if (isFound) return found;
      plain.setUint32(0, tid, true);
      plain.setUint32(4, pid, true);
      plain.setUint32(8, low, true);
      plain.setUint32(12, high, true);
      const id = cipher.update(bytes).toString("hex");
      texts[place] = id;
      [words[at], words[at + 1], words[at + 2], words[at + 3]] = [tid, pid, low, high];
      return id;
    },
  };
}
