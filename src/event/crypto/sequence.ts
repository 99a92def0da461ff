/**
 * Reads a CBOR sequence of groups as it arrives, cut anywhere, in any of the three encodings.
 *
 * Invariant: an end in the middle of a group loses nothing before it, and is told in bytes.
 */
import { type CborItem, createCborItems } from "./cbor-items.ts";
import { CBOR_VARIANTS, type CborVariant, encodeGroup, type EventGroup, groupOf } from "./group.ts";

export interface ReadGroup {
  readonly group: EventGroup;
  /** Of its bytes in the sequence. */
  readonly offset: number;
  /** Valid until the next group is asked for. */
  readonly bytes: Uint8Array;
  /** The encoding that gives these bytes; undefined when their members stand in an order of their own. */
  readonly variant: CborVariant | undefined;
}

export interface GroupReader {
  /** Groups that are whole with this piece. Throws a `CborFault`, after which it cannot go on. */
  push(piece: Uint8Array): Generator<ReadGroup, void, undefined>;
  /** Bytes of a group that is not whole: of a truncated tail, at the end. */
  pendingBytes(): number;
}

/** `firstOffset`: of the first byte that is pushed. */
export function createGroupReader(firstOffset = 0): GroupReader {
  const items = createCborItems(firstOffset);
  let latest: CborVariant = "normal";
  const variantOf = (group: EventGroup, { bytes }: CborItem): CborVariant | undefined => {
    const isSame = (variant: CborVariant): boolean =>
      Buffer.compare(encodeGroup(group, variant), bytes) === 0;
    // A file has one encoding, nearly always.
    const found = isSame(latest) ? latest : CBOR_VARIANTS.find(isSame);
    latest = found ?? latest;
    return found;
  };
  return {
    *push(piece) {
      for (const item of items.push(piece)) {
        const group = groupOf(item);
        const { offset, bytes } = item;
        yield { group, offset, bytes, variant: variantOf(group, item) };
      }
    },
    pendingBytes: items.pendingBytes,
  };
}
