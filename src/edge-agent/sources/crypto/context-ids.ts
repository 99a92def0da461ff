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
/** Ids that are remembered: the same ones come again and again. */
const KNOWN_MAX = 4096;

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
  const known = new Map<string, string>();
  return {
    idOf({ tid, pid }, { low, high }) {
      const name = `${tid} ${pid} ${low} ${high}`;
      const found = known.get(name);
      if (found !== undefined) return found;
      plain.setUint32(0, tid, true);
      plain.setUint32(4, pid, true);
      plain.setUint32(8, low, true);
      plain.setUint32(12, high, true);
      const id = cipher.update(bytes).toString("hex");
      if (known.size >= KNOWN_MAX) known.clear();
      known.set(name, id);
      return id;
    },
  };
}
