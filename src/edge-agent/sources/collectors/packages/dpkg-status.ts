/**
 * dpkg's status file (deb-control(5), deb822(5), dpkg-query(1)): which packages are installed, in which version.
 *
 * Invariants: as strict as dpkg itself, since half a file read as a whole one would tell removals that never happened: what
 * is not a status file throws {@link PackageDatabaseError} with the line. Linear in the text, whatever it holds.
 */
import {
  DATABASE_BYTES_MAX,
  type InstalledPackages,
  PackageDatabaseError,
  packageKey,
  PACKAGES_MAX,
} from "./installed.ts";

const WANTED: ReadonlySet<string> = new Set(["unknown", "install", "hold", "deinstall", "purge"]);
const FLAGS: ReadonlySet<string> = new Set(["ok", "reinstreq"]);
/** By state: whether the package is there. */
const STATES: ReadonlyMap<string, "there" | "gone" | "undecided"> = new Map(
  [
    ["not-installed", "gone"],
    ["config-files", "gone"],
    ["half-installed", "undecided"],
    ["unpacked", "there"],
    ["half-configured", "there"],
    ["triggers-awaited", "there"],
    ["triggers-pending", "there"],
    ["installed", "there"],
  ] as const,
);
const PACKAGE_NAME = /^[a-z0-9A-Z][a-zA-Z0-9+._-]*$/;
const FIELD_NAME = /^[!"$-,.-9;-~][!-9;-~]*$/;
const VERSION = /^[A-Za-z0-9.+~:-]+$/;
const ARCHITECTURE = /^[a-z0-9][a-z0-9-]*$/;
/** Fields of one stanza; dpkg knows about forty. */
const FIELDS_MAX = 1000;
const READ_FIELDS = ["package", "status", "version", "architecture"] as const;
type Field = typeof READ_FIELDS[number];

/** Text is binary (latin1). Throws {@link PackageDatabaseError}. */
export function parseDpkgStatus(text: string): InstalledPackages {
  if (text.length > DATABASE_BYTES_MAX) throw wrong(0, "it is too large");
  const installed = new Map<string, string>();
  const undecided = new Set<string>();
  const seen = new Set<string>();
  let stanza: Stanza | undefined;
  let line = 0;
  const end = (): void => {
    if (stanza === undefined) return;
    const { key, presence, version } = packageOf(stanza);
    if (seen.has(key)) throw wrong(stanza.line, `package "${key}" is there twice`);
    if (seen.size >= PACKAGES_MAX) throw wrong(stanza.line, "there are too many packages");
    seen.add(key);
    if (presence === "there") installed.set(key, version);
    if (presence === "undecided") undecided.add(key);
    stanza = undefined;
  };
  for (let from = 0; from < text.length;) {
    const found = text.indexOf("\n", from);
    // dpkg ends each line; without it the rest is missing.
    if (found < 0) throw wrong(line + 1, "its end is missing");
    line += 1;
    if (isBlank(text, from, found)) end();
    else if (text[from] === " " || text[from] === "\t") {
      if (stanza === undefined) throw wrong(line, "nothing comes before what goes on");
      continueField(stanza, line);
    } else {
      stanza ??= { line, names: new Set(), values: new Map(), last: "" };
      readField(stanza, text.slice(from, found), line);
    }
    from = found + 1;
  }
  end();
  return { installed, undecided };
}

interface Stanza {
  readonly line: number;
  readonly names: Set<string>;
  readonly values: Map<string, string>;
  last: string;
}

function isBlank(text: string, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (text[at] !== " " && text[at] !== "\t") return false;
  return true;
}

/** Only fields that are not read here may have several lines. */
function continueField({ last }: Stanza, line: number): void {
  if (isRead(last)) throw wrong(line, `field "${last}" has more than one line`);
}

function readField(stanza: Stanza, text: string, line: number): void {
  const colon = text.indexOf(":");
  const name = text.slice(0, Math.max(0, colon)).toLowerCase();
  if (colon < 0 || !FIELD_NAME.test(name)) throw wrong(line, "there is no field");
  if (stanza.names.has(name)) throw wrong(line, `field "${name}" is there twice`);
  if (stanza.names.size >= FIELDS_MAX) throw wrong(line, "there are too many fields");
  stanza.names.add(name);
  stanza.last = name;
  if (isRead(name)) stanza.values.set(name, text.slice(colon + 1).trim());
}

function isRead(name: string): name is Field {
  return READ_FIELDS.some((each) => each === name);
}

function packageOf({ line, values }: Stanza) {
  const value = (field: Field): string => values.get(field) ?? "";
  const name = value("package");
  if (!PACKAGE_NAME.test(name)) throw wrong(line, "there is no name of a package");
  const [wanted = "", flag = "", state = "", ...more] = value("status").split(/[ \t]+/);
  const presence = STATES.get(state);
  if (presence === undefined || !WANTED.has(wanted) || !FLAGS.has(flag) || more.length > 0) {
    throw wrong(line, `package "${name}" has no status`);
  }
  const [version, arch] = [value("version"), value("architecture")];
  if (presence === "there" && !VERSION.test(version)) {
    throw wrong(line, `package "${name}" has no version`);
  }
  // What is gone may have none.
  if ((presence === "there" || arch !== "") && !ARCHITECTURE.test(arch)) {
    throw wrong(line, `package "${name}" has no architecture`);
  }
  return { key: packageKey(name, arch), presence, version };
}

function wrong(line: number, reason: string): PackageDatabaseError {
  return new PackageDatabaseError(`Cannot read dpkg's status: line ${line}: ${reason}`);
}
