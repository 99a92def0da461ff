/**
 * One CBOR item to values and back: maps are `Map`s in the order of their bytes. Only for items that `cbor-items.ts` let
 * through, which bounds their depth and size.
 *
 * Invariant: what is decoded gives the same bytes again. The library alone would sort maps, and drop a mark of byte order
 * (U+FEFF) before text (cborg 6.1).
 */
import { decode, encode, Tokenizer, Type } from "cborg";
import { CborFault, type CborItem } from "./cbor-items.ts";

const DECODE = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowBigInt: true,
  useMaps: true,
  rejectDuplicateMapKeys: true,
} as const;
/** The order stays, since sorting is stable. */
const ENCODE = { mapSorter: () => 0 } as const;

/** Throws a {@link CborFault} for what is no CBOR, and for keys that come twice. */
export function decodeItem({ bytes, offset }: CborItem): unknown {
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const inner = new Tokenizer(plain, DECODE);
  const next = (): ReturnType<Tokenizer["next"]> => {
    const begin = inner.pos();
    const token = inner.next();
    if (token.type === Type.string && hasMark(plain, begin)) token.value = `\ufeff${token.value}`;
    return token;
  };
  const tokenizer = { done: () => inner.done(), pos: () => inner.pos(), next };
  try {
    return decode(plain, { ...DECODE, tokenizer });
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new CborFault(offset, said.replace(/^CBOR decode error: /, ""));
  }
}

export function encodeItem(value: unknown): Uint8Array {
  return encode(value, ENCODE);
}

/** Whether the text whose head is here begins with a mark of byte order. */
function hasMark(bytes: Uint8Array, begin: number): boolean {
  const minor = (bytes[begin] ?? 0) & 31;
  const at = begin + (minor < 24 ? 1 : 1 + 2 ** (minor - 24));
  return bytes[at] === 0xef && bytes[at + 1] === 0xbb && bytes[at + 2] === 0xbf;
}
