/**
 * Password fields of passwd, shadow, group and gshadow (crypt(5), shadow(5)): their state and algorithm, which may be
 * told, and the hash, which may not.
 *
 * Invariant: what is not known to be a state is taken for a secret.
 */
import { markerOf, type TagKey } from "./secret-marker.ts";

/** Fields that hold no hash, as they may stand in a file, and what they mean. */
const STATES: Readonly<Record<string, string>> = {
  "": "none",
  "x": "shadowed",
  "*": "locked",
  "!": "locked",
  "!!": "locked",
  "!*": "locked",
  "*LK*": "locked",
  "!x": "locked",
  "*NP*": "locked",
  "NP": "locked",
};

/** Prefixes of crypt(5). */
const ALGORITHMS: Readonly<Record<string, string>> = {
  "1": "md5crypt",
  "2": "bcrypt",
  "2a": "bcrypt",
  "2b": "bcrypt",
  "2x": "bcrypt",
  "2y": "bcrypt",
  "3": "nthash",
  "5": "sha256crypt",
  "6": "sha512crypt",
  "7": "scrypt",
  "y": "yescrypt",
  "gy": "gost-yescrypt",
  "md5": "sunmd5",
  "sha1": "sha1crypt",
  "apr1": "apr1",
  "argon2i": "argon2i",
  "argon2d": "argon2d",
  "argon2id": "argon2id",
};

/** The algorithm of a hash by its form; `unknown` for text of any other form. */
export function algorithmOf(hash: string): string {
  const id = /^\$([a-z0-9]{1,12})[$,]/.exec(hash)?.[1];
  if (id !== undefined) return ALGORITHMS[id] ?? "unknown";
  if (/^[./0-9A-Za-z]{13}$/.test(hash)) return "descrypt";
  if (/^_[./0-9A-Za-z]{19}$/.test(hash)) return "bsdicrypt";
  return "unknown";
}

/** The field as it may be kept: a state as it stands, else the algorithm with a tag, behind the `!` of a lock. */
export function reducedPassword(
  field: string,
  { owner, key }: { readonly owner: string; readonly key: TagKey },
): string {
  if (Object.hasOwn(STATES, field)) return field;
  const lock = /^!{1,2}/.exec(field)?.[0] ?? "";
  const hash = field.slice(lock.length);
  const label = algorithmOf(hash);
  return `${lock}${markerOf({ label, place: `password of ${owner}`, text: hash }, key)}`;
}

/** In words, of a shown field: `none`, `locked`, `sha512crypt`, `locked, sha512crypt`. */
export function passwordWords(shownField: string): string {
  if (Object.hasOwn(STATES, shownField)) return STATES[shownField] ?? "unknown";
  const [, lock = "", label = "unknown"] = /^(!*)\{([^,}]*)/.exec(shownField) ?? [];
  return lock === "" ? label : `locked, ${label}`;
}
