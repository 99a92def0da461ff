/**
 * Secrets by their place in a command line: after an option whose name announces one, in an assignment, and after the
 * short options of programs that are known to take them. Pure.
 */
import { isSecretName } from "./redaction-names.ts";
import type { Span } from "./redaction-tokens.ts";

/** What the short options of a program take. */
interface ProgramOptions {
  /** Followed by the secret in the same word, as in `-pSECRET`. */
  readonly attached?: readonly string[];
  /** Followed by the secret in the next word. */
  readonly next?: readonly string[];
  /** Followed by a user, one of {@link USER_ENDS}, and the secret: in the same word or the next. */
  readonly user?: readonly string[];
  /** Only after this word. */
  readonly after?: string;
  /** A word that is a user, a slash and the secret. */
  readonly hasSlash?: boolean;
  /** Short options without a value, which may stand in one word before one that has one: `-sSfuann:SECRET`. */
  readonly flags?: string;
  /** A word that is no option, and the secret by its place among these. */
  readonly word?: WordPlace;
}

interface WordPlace {
  /** Of the words behind the program, or behind `after` when there is one; the first is 1. */
  readonly place: number;
  readonly after?: string;
  /** Only when a word of short options has this one. */
  readonly only?: string;
  /** A short option with which it is one place less. */
  readonly less?: string;
  /** Options that are followed by a word of their own. */
  readonly valued: readonly string[];
}

const SQL: ProgramOptions = { attached: ["-p"], flags: "AabBcCdEfFGHIijKlLnNoqQRsTtUvVWXxYy" };
const ARCHIVE: ProgramOptions = { attached: ["-p"] };
const NEXT_P: ProgramOptions = { next: ["-p"] };
const LOGIN: ProgramOptions = { attached: ["-p"], next: ["-p"], after: "login" };
const LDAP: ProgramOptions = { attached: ["-w"], next: ["-w"], flags: "AcCILMnNQtuvxZ" };
const HTPASSWD: ProgramOptions = {
  word: { place: 3, only: "b", less: "n", valued: ["-C", "-r"] },
};
const OPENSSL: ProgramOptions = {
  next: ["-k", "-K", "-hmac"],
  word: { place: 1, after: "passwd", valued: ["-salt", "-in"] },
};
const VAULT: ProgramOptions = {
  word: { place: 1, after: "login", valued: ["-method", "-path", "-address", "-namespace"] },
};
const SAMBA: ProgramOptions = { user: ["-U"] };
const SNMP: ProgramOptions = { attached: ["-A", "-X", "-c"], next: ["-A", "-X", "-c"] };
const PUTTY: ProgramOptions = { next: ["-pw"] };
const MOSQUITTO: ProgramOptions = { next: ["-P"] };

const PROGRAMS: ReadonlyMap<string, ProgramOptions> = new Map<string, ProgramOptions>([
  ...["mysql", "mysqldump", "mysqladmin", "mysqlimport", "mysqlcheck", "mysqlshow", "mysqlbinlog"]
    .map((name) => [name, SQL] as const),
  ...["mysqlsh", "mysqlslap", "mysqlpump", "mydumper", "myloader", "xtrabackup"]
    .map((name) => [name, SQL] as const),
  ...["mariadb", "mariadb-dump", "mariadb-admin", "mariadb-import", "mariadb-check", "mariadb-show"]
    .map((name) => [name, SQL] as const),
  ["sshpass", { attached: ["-p"], next: ["-p"] }],
  ...["mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport", "cqlsh"]
    .map((name) => [name, NEXT_P] as const),
  [
    "curl",
    { user: ["-u", "-U", "--user", "--proxy-user"], flags: "aBfgGiIjJkKlLMnNOpqRsSvVZ012346#" },
  ],
  ["htpasswd", HTPASSWD],
  ["openssl", OPENSSL],
  ["vault", VAULT],
  ["http", { user: ["-a", "--auth"] }],
  ["https", { user: ["-a", "--auth"] }],
  ["wget", { user: ["--user"] }],
  ["lftp", { user: ["-u"] }],
  ["redis-cli", { next: ["-a"] }],
  ...["ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldappasswd", "ldapwhoami"]
    .map((name) => [name, LDAP] as const),
  ...["docker", "podman", "nerdctl", "helm", "skopeo", "buildah", "oras", "crane", "oc"]
    .map((name) => [name, LOGIN] as const),
  ["sqlcmd", { attached: ["-P"], next: ["-P"] }],
  ["bcp", { attached: ["-P"], next: ["-P"] }],
  ["tsql", { attached: ["-P"], next: ["-P"] }],
  ["sqlplus", { hasSlash: true }],
  ["7z", ARCHIVE],
  ["7za", ARCHIVE],
  ["7zr", ARCHIVE],
  ["rar", { attached: ["-p", "-hp"] }],
  ["unrar", { attached: ["-p"] }],
  ["zip", { attached: ["-P"], next: ["-P"], flags: "0123456789rjqmuXyveTDcfl" }],
  ["unzip", { attached: ["-P"], next: ["-P"], flags: "abCcfjKlLnopqtTuUvVXz:" }],
  ["useradd", NEXT_P],
  ["usermod", NEXT_P],
  ["groupadd", NEXT_P],
  ["ipmitool", { attached: ["-P"], next: ["-P"] }],
  ...["snmpget", "snmpwalk", "snmpset", "snmpbulkwalk", "snmptrap"]
    .map((name) => [name, SNMP] as const),
  ...["smbclient", "rpcclient", "smbget", "net"].map((name) => [name, SAMBA] as const),
  ...["xfreerdp", "wlfreerdp"].map((name) => [name, { attached: ["/p:"] }] as const),
  ["rdesktop", NEXT_P],
  ...["plink", "pscp", "psftp"].map((name) => [name, PUTTY] as const),
  ...["mosquitto_pub", "mosquitto_sub"].map((name) => [name, MOSQUITTO] as const),
]);
/** What ends the user before a secret: curl's, Samba's and lftp's. */
const USER_ENDS = /[:%,]/;

const PROGRAM_MENTION = new RegExp(
  `\\b(?:${[...PROGRAMS.keys()].join("|")})(?![A-Za-z0-9_-])`,
);

/** Whether a program is named whose short options take secrets. */
export function mentionsProgram(text: string): boolean {
  return PROGRAM_MENTION.test(text);
}

/** Walks through the words of a command line, in their order. */
export interface CommandWalk {
  /** The part of the word that is a secret; undefined when there is none. */
  step(word: string): Span | undefined;
}

export function createCommandWalk(): CommandWalk {
  let options: ProgramOptions | undefined;
  let isAfter = false;
  let expected: "secret" | "user" | undefined;
  let isSetting = false;
  let places: ((word: string) => boolean) | undefined;
  return {
    step(word) {
      const wanted = expected;
      expected = undefined;
      if (wanted !== undefined && !isOption(word)) {
        isSetting = false;
        return wanted === "secret" ? rest(word, 0) : afterUser(word, 0);
      }
      const program = PROGRAMS.get(word.slice(word.lastIndexOf("/") + 1));
      if (program !== undefined) {
        options = program;
        isAfter = program.after === undefined;
        places = program.word === undefined ? undefined : createPlaces(program.word);
        return undefined;
      }
      if (options?.after === word) isAfter = true;
      if (places?.(word) === true) return rest(word, 0);
      if (options !== undefined && isAfter) {
        const found = ofProgram(word, options);
        if (found === "secret" || found === "user") expected = found;
        else if (found !== undefined) return found;
        if (expected !== undefined) return undefined;
      }
      const named = ofName(word, isSetting);
      isSetting = word === "set" || (isSetting && word.startsWith("-")) || word === "config";
      if (named === "secret") {
        expected = "secret";
        return undefined;
      }
      return named;
    },
  };
}

/** Whether a word is an option itself, so that the one before it had no value: `--password --host x`, `-p -h x`. */
function isOption(word: string): boolean {
  return /^--[A-Za-z]|^-[A-Za-z]$/.test(word);
}

function ofProgram(word: string, options: ProgramOptions): Span | "secret" | "user" | undefined {
  const endOf = (option: string): number => endOfOption(word, option, options.flags);
  if (options.next?.some((option) => endOf(option) === word.length)) return "secret";
  if (options.user?.some((option) => endOf(option) === word.length || isCluster(word, option))) {
    return "user";
  }
  for (const option of options.attached ?? []) {
    if (endOf(option) > 0) return rest(word, endOf(option));
  }
  for (const option of options.user ?? []) {
    const end = option.startsWith("--") && word[option.length] !== "=" ? 0 : endOf(option);
    if (end > 0) return afterUser(word, option.startsWith("--") ? end + 1 : end);
  }
  if (options.hasSlash === true) {
    const [, user = ""] = /^([^/@-][^/@]*\/)[^/@]/.exec(word) ?? [];
    if (user !== "") return { start: user.length, end: atOrEnd(word, user.length) };
  }
  return undefined;
}

/** Where an option ends that a word begins with, be it behind short ones without a value; 0 when it does not. */
function endOfOption(word: string, option: string, flags = ""): number {
  if (word.startsWith(option)) return option.length;
  if (flags === "" || option.length !== 2 || word[0] !== "-") return 0;
  let at = 1;
  while (at < word.length && flags.includes(word[at] ?? "")) at += 1;
  return at > 1 && word[at] === option[1] ? at + 1 : 0;
}

/** Counts the words that are no options; true for the one that is the secret. */
function createPlaces({ place, after, only, less, valued }: WordPlace): (word: string) => boolean {
  let isCounting = after === undefined;
  let isOnly = only === undefined;
  let isValue = false;
  let left = place;
  return (word) => {
    if (isValue) {
      isValue = false;
      return false;
    }
    if (word.startsWith("-")) {
      isValue = valued.includes(word);
      const isShort = /^-[A-Za-z0-9]{1,16}$/.test(word);
      if (isShort && only !== undefined && word.includes(only)) isOnly = true;
      if (isShort && less !== undefined && word.includes(less)) left = place - 1;
      return false;
    }
    if (!isCounting) {
      isCounting = word === after;
      return false;
    }
    // `name=value` is told by its name.
    if (left > 0) left -= 1;
    else return false;
    return left === 0 && isOnly && !/^[A-Za-z_]+=/.test(word);
  };
}

/** Whether a word is short options in one, of which the last is the given one: `-sSu`. */
function isCluster(word: string, option: string): boolean {
  return option.length === 2 && /^-[A-Za-z]{2,8}$/.test(word) && word.endsWith(option.slice(1));
}

function atOrEnd(word: string, from: number): number {
  const at = word.lastIndexOf("@");
  return at < from ? word.length : at;
}

const OPTION_NAME = /^--?([A-Za-z][A-Za-z0-9_.-]*)([=:]?)/;
const ASSIGNED_NAME = /^([A-Za-z_][A-Za-z0-9_.-]*)=/;
/** A key that `git config`, `npm config set` and `aws configure set` are given as a word. */
const SETTING_NAME = /^[A-Za-z0-9_.:/@-]*[._:][A-Za-z_-]+$/;
/** Length of such a key, at most: of a long word the expression tries every place. */
const SETTING_CHARACTERS_MAX = 256;

function ofName(word: string, isSetting: boolean): Span | "secret" | undefined {
  const [option = "", name = "", separator = ""] = OPTION_NAME.exec(word) ?? [];
  if (name !== "") {
    if (!isSecretName(name)) return undefined;
    if (separator !== "") return rest(word, option.length);
    return option.length === word.length ? "secret" : undefined;
  }
  const [assigned = "", variable = ""] = ASSIGNED_NAME.exec(word) ?? [];
  if (variable !== "") return isSecretName(variable) ? rest(word, assigned.length) : undefined;
  const isKey = isSetting && word.length <= SETTING_CHARACTERS_MAX && SETTING_NAME.test(word);
  return isKey && isSecretName(word) ? "secret" : undefined;
}

function rest(word: string, start: number): Span | undefined {
  return start < word.length ? { start, end: word.length } : undefined;
}

function afterUser(word: string, from: number): Span | undefined {
  const userEnd = word.slice(from).search(USER_ENDS);
  return userEnd < 0 ? undefined : rest(word, from + userEnd + 1);
}
