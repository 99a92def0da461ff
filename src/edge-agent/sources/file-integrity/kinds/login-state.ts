/**
 * The state behind a change, for `detail.state`: who can log in with what, and who may from where. Consumers of whole
 * states (bpfink's lines) need no memory of their own.
 *
 * Invariant: of a password there is only whether one is set, of a key its fingerprint; whoever changed is in both `add`
 * and `del`.
 */
import { accessRule } from "./access-rules.ts";
import { accountEntry, type AccountFields, accountFieldsOf } from "./account-lines.ts";
import { authorizedKeys } from "./authorized-keys.ts";
import type { KeptContent } from "./file-kind.ts";
import { isKeyFile, ownerOfKeyFile } from "./key-file.ts";
import { passwordWords } from "./password-field.ts";
import { shown } from "./secret-marker.ts";

/** What stands for every password that is set. */
export const PASSWORD_SET = "XXXX";
/** Most users or rules of a state; larger ones are left out of events. */
export const STATE_ENTRIES_MAX = 500;

/** A user with a shell who has a password or keys. */
export interface UserState {
  readonly user: string;
  readonly passwd: typeof PASSWORD_SET | "";
  /** Fingerprints (`SHA256:…`), in the order of the files. */
  readonly keys: readonly string[];
}

export interface AccountState {
  readonly users: readonly UserState[];
  readonly add: readonly UserState[];
  readonly del: readonly UserState[];
}

export interface AccessLists {
  readonly grant: readonly string[];
  readonly deny: readonly string[];
}

export interface AccessState {
  readonly access: AccessLists;
  readonly add: AccessLists;
  readonly del: AccessLists;
}

/** What is kept of one file of the kind `accounts`. */
export interface AccountFile {
  /** Binary. */
  readonly path: string;
  readonly content: KeptContent;
}

/** All files of the kind `accounts` before and after a change: passwd, shadow and every file of keys. */
export interface AccountFiles {
  readonly before: readonly AccountFile[];
  readonly after: readonly AccountFile[];
}

/** The state of all accounts; undefined when there are more than {@link STATE_ENTRIES_MAX} users to tell of. */
export function accountState({ before, after }: AccountFiles): AccountState | undefined {
  const [old, now] = [loginsOf(before), loginsOf(after)];
  const differs = (one: Login | undefined, other: Login | undefined): boolean =>
    JSON.stringify(one) !== JSON.stringify(other);
  const changed = (from: ReadonlyMap<string, Login>, to: ReadonlyMap<string, Login>): UserState[] =>
    [...from.values()].filter((login) => differs(login, to.get(login.user))).map(userState);
  const state = {
    users: [...now.values()].map(userState),
    add: changed(now, old),
    del: changed(old, now),
  };
  const count = state.users.length + state.del.length;
  return count > STATE_ENTRIES_MAX ? undefined : state;
}

/** Home of each user in a kept passwd, in its order: where files of keys are looked for. */
export function homesOf(passwd: KeptContent): { readonly user: string; readonly home: string }[] {
  return entriesOf(passwd, "/etc/passwd").map(([user = "", , , , , home = ""]) => ({ user, home }));
}

/** The user in whose home a file of keys stands, by passwd; undefined when it is in none. */
export function ownerByHome(path: string, files: readonly AccountFile[]): string | undefined {
  const passwd = passwdOf(files);
  if (passwd === undefined || !isKeyFile(path)) return undefined;
  return homesOf(passwd.content).find(({ home }) =>
    path.startsWith(`${binaryOf(home).replace(/\/+$/, "")}/.ssh/`)
  )?.user;
}

/** The state of access.conf; undefined when there are more than {@link STATE_ENTRIES_MAX} rules. */
export function accessState(before: string, after: string): AccessState | undefined {
  const [old, now] = [accessLists(before), accessLists(after)];
  if (now.grant.length + now.deny.length + old.grant.length + old.deny.length > STATE_ENTRIES_MAX) {
    return undefined;
  }
  const without = (list: readonly string[], other: readonly string[]): string[] =>
    list.filter((each) => !other.includes(each));
  const beyond = (one: AccessLists, other: AccessLists): AccessLists => ({
    grant: without(one.grant, other.grant),
    deny: without(one.deny, other.deny),
  });
  return { access: now, add: beyond(now, old), del: beyond(old, now) };
}

interface Login {
  readonly user: string;
  /** As it is kept, with the tag: another password is another text. "" when none is set. */
  readonly password: string;
  readonly keys: readonly string[];
}

/** Shells of those who cannot log in. */
const NO_SHELL = /^(?:\/usr)?\/s?bin\/(?:nologin|false)$/;

function loginsOf(files: readonly AccountFile[]): Map<string, Login> {
  const passwd = passwdOf(files);
  if (passwd === undefined) return new Map();
  // Of the same root: containers have files of their own.
  const shadow = files.find(({ path }) => path === passwd.path.replace(/passwd$/, "shadow"));
  const passwords = new Map(
    shadow === undefined ? [] : entriesOf(shadow.content, shadow.path)
      .map(([user = "", password = ""]) => [user, isSet(password) ? password : ""] as const),
  );
  const logins = new Map<string, Login>();
  for (const fields of entriesOf(passwd.content, passwd.path)) {
    const [user = "", field = "", , , , home = "", shell = ""] = fields;
    if (NO_SHELL.test(shell) || logins.has(user)) continue;
    const password = isSet(field) ? field : passwords.get(user) ?? "";
    const keys = keysOf(files, { user, home });
    if (password !== "" || keys.length > 0) logins.set(user, { user, password, keys });
  }
  return logins;
}

/** The host's own passwd, or the first. */
function passwdOf(files: readonly AccountFile[]): AccountFile | undefined {
  return files.find(({ path }) => path === "/etc/passwd") ??
    files.find(({ path }) => path.endsWith("/passwd"));
}

function keysOf(
  files: readonly AccountFile[],
  { user, home }: { readonly user: string; readonly home: string },
): string[] {
  const folder = `${binaryOf(home).replace(/\/+$/, "")}/.ssh/`;
  return files.flatMap(({ path, content }) => {
    if (!isKeyFile(path)) return [];
    const isOwn = path.startsWith(folder) ||
      (!path.includes("/.ssh/") && ownerOfKeyFile(path) === user);
    if (!isOwn) return [];
    return [...authorizedKeys(textOf(content)).values()].map(({ fingerprint }) => fingerprint);
  });
}

/** A hash that is locked is none to log in with. */
function isSet(field: string): boolean {
  const words = passwordWords(shown(field));
  return words !== "none" && words !== "shadowed" && !words.startsWith("locked");
}

function userState({ user, password, keys }: Login): UserState {
  return { user: shown(user), passwd: password === "" ? "" : PASSWORD_SET, keys };
}

function entriesOf(content: KeptContent, path: string): (readonly string[])[] {
  const shape: AccountFields | undefined = accountFieldsOf(path);
  if (shape === undefined) return [];
  return textOf(content).split("\n").flatMap((line) => {
    const entry = accountEntry(line, shape);
    return entry === undefined ? [] : [entry.fields];
  });
}

function textOf({ text }: KeptContent): string {
  return text === undefined ? "" : Buffer.from(text).toString("utf8").toWellFormed();
}

/** Homes are text, paths of files are binary. */
function binaryOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function accessLists(text: string): AccessLists {
  const rules = text.split("\n").flatMap((line) => accessRule(line) ?? []);
  const usersOf = (permission: "+" | "-"): string[] =>
    rules.filter((rule) => rule.permission === permission).map(({ users }) => shown(users));
  return { grant: usersOf("+"), deny: usersOf("-") };
}
