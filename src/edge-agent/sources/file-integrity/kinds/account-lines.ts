/**
 * Lines of passwd, shadow, group and gshadow (passwd(5), shadow(5), group(5), gshadow(5)): which fields they have, and
 * what of a line may be kept.
 *
 * Invariant: the password field of every line that has one is reduced, and so is whatever looks like a hash in any
 * other place; lines of another shape are kept as they stand but for that.
 */
import { reducedPassword } from "./password-field.ts";
import { markerOf, type TagKey } from "./secret-marker.ts";
import { withoutKeys } from "./key-text.ts";

export interface AccountFields {
  readonly entity: "user" | "group";
  /** Whether an entry of this file makes the user or group; shadow entries only add to one. */
  readonly isDefining: boolean;
  /** By place; the name is first, the password second. */
  readonly names: readonly string[];
  /** Places that hold nothing or a number. */
  readonly numbers: readonly number[];
}

const PASSWD: AccountFields = {
  entity: "user",
  isDefining: true,
  names: ["name", "password", "uid", "gid", "comment", "home", "shell"],
  numbers: [2, 3],
};
const SHADOW: AccountFields = {
  entity: "user",
  isDefining: false,
  names: [
    "name",
    "password",
    "password_changed",
    "password_min_days",
    "password_max_days",
    "password_warn_days",
    "password_inactive_days",
    "expires",
    "reserved",
  ],
  numbers: [2, 3, 4, 5, 6, 7],
};
const GROUP: AccountFields = {
  entity: "group",
  isDefining: true,
  names: ["name", "password", "gid", "members"],
  numbers: [2],
};
const GSHADOW: AccountFields = {
  entity: "group",
  isDefining: false,
  names: ["name", "password", "administrators", "members"],
  numbers: [],
};

const FILES: readonly (readonly [name: RegExp, fields: AccountFields])[] = [
  // Also backups and copies that tools leave: passwd-, shadow.lock, passwd.bak, .pwd.tmp names.
  [/^\.?g(?:roup)?shadow(?![a-z])/, GSHADOW],
  [/^\.?shadow(?![a-z])/, SHADOW],
  [/^\.?passwd(?![a-z])/, PASSWD],
  [/^\.?group(?![a-z])/, GROUP],
  [/^\.?opasswd(?![a-z])/, PASSWD],
];

/** The shape of an account file's lines by its name; undefined when it is none of the four or a copy of one. */
export function accountFieldsOf(path: string): AccountFields | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return FILES.find(([pattern]) => pattern.test(name))?.[1];
}

export interface AccountEntry {
  readonly name: string;
  readonly fields: readonly string[];
}

/** The entry of a line; undefined for comments, empty lines and lines of another shape. */
export function accountEntry(line: string, shape: AccountFields): AccountEntry | undefined {
  const fields = line.split(":");
  const [name = ""] = fields;
  if (fields.length !== shape.names.length || name === "" || name.startsWith("#")) return undefined;
  if (!shape.numbers.every((place) => /^(-?[0-9]{1,20})?$/.test(fields[place] ?? ""))) {
    return undefined;
  }
  return { name, fields };
}

/** The line as it may be kept. */
export function reducedAccountLine(
  line: string,
  { shape, key }: { readonly shape: AccountFields; readonly key: TagKey },
): string {
  const isEntry = accountEntry(line, shape) !== undefined;
  const all = line.split(":");
  const owner = all[0] ?? "";
  const last = shape.names.length;
  // Places beyond the last mean nothing: one text, however many they are.
  const fields = all.length <= last ? all : [...all.slice(0, last), all.slice(last).join(":")];
  return fields.map((field, place) => {
    if (place === 1) return reducedPassword(field, { owner, key });
    return withoutHashes(withoutKeys(field, key), { isEntry, key });
  }).join(":");
}

/** Hashes with a prefix of crypt(5), wherever they stand. */
const PREFIXED_HASH = /\$[a-z0-9]{1,12}[$,][^\s:"'{}]{8,}/g;
/** What may be a hash of old forms, or a part of any, in a line whose places mean nothing. */
const BARE_HASH = /[./0-9A-Za-z_$=+]{13,}/g;

function withoutHashes(
  field: string,
  { isEntry, key }: { readonly isEntry: boolean; readonly key: TagKey },
): string {
  const hidden = (text: string): string =>
    markerOf({ label: "hash", place: "account line", text }, key);
  const plain = field.replace(PREFIXED_HASH, hidden);
  if (isEntry) return plain;
  // Markers end in hexadecimal digits: what stands between them is looked at alone.
  return plain.split(/(\x7f[^\x7f]*\x7f)/).map((part) =>
    part.startsWith("\x7f")
      ? part
      : part.replace(BARE_HASH, (text) => isPlainPath(text) ? text : hidden(text))
  ).join("");
}

/** Paths and words stay readable in malformed lines: nothing in them is as long as a hash without a slash. */
function isPlainPath(text: string): boolean {
  return text.startsWith("/") && /^[a-z0-9_./-]+$/.test(text) &&
    text.split("/").every((part) => part.length < 13);
}
