/**
 * Which keys an object may have: those that mean the same in a directory and in S3.
 *
 * Invariant: a checked key, joined to a root folder, names a file below that root. Names that begin with a dot are
 * kept for the directory store's own temporary files and lock, so no object can ever be taken for one.
 */

/** Longest key, in bytes; S3 allows 1,024 including the store's prefix. */
export const KEY_BYTES_MAX = 900;
/** Longest segment of a key, in bytes; a file name has 255, and temporary names need some of them. */
export const SEGMENT_BYTES_MAX = 200;

const PRINTABLE = /^[\x21-\x5b\x5d-\x7e]*$/;

export function isObjectKey(key: string): boolean {
  return key.length > 0 && key.length <= KEY_BYTES_MAX && PRINTABLE.test(key) &&
    key.split("/").every(isSegment);
}

/** Throws RangeError unless the text is a key. */
export function checkObjectKey(key: string): void {
  if (isObjectKey(key)) return;
  throw new RangeError(
    `Cannot use ${JSON.stringify(key)} as a key: expected segments of printable ASCII without ` +
      `spaces, backslashes, a leading dot or a leading slash`,
  );
}

/** Throws RangeError unless the text is the beginning of some key, or empty. */
export function checkKeyPrefix(prefix: string): void {
  if (prefix === "" || isObjectKey(prefix) || isObjectKey(`${prefix}x`)) return;
  throw new RangeError(
    `Cannot list ${JSON.stringify(prefix)}: expected the beginning of a key, in printable ASCII`,
  );
}

function isSegment(segment: string): boolean {
  return segment.length > 0 && segment.length <= SEGMENT_BYTES_MAX && !segment.startsWith(".");
}
