/**
 * apk's database of what is installed (`installed`, apk(5) of apk-tools: stanzas of one-letter fields, a blank line after
 * each): names, versions and architectures.
 *
 * Invariant: strict, as with dpkg: what is no such database throws {@link PackageDatabaseError} with the line.
 */
import {
  DATABASE_BYTES_MAX,
  type InstalledPackages,
  PackageDatabaseError,
  packageKey,
  PACKAGES_MAX,
} from "./installed.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9+._-]*$/;
const VERSION = /^[A-Za-z0-9.+~_-]+$/;
const ARCHITECTURE = /^[A-Za-z0-9_-]+$/;

/** Text is binary (latin1). Throws {@link PackageDatabaseError}. */
export function parseApkInstalled(text: string): InstalledPackages {
  if (text.length > DATABASE_BYTES_MAX) throw wrong(0, "it is too large");
  const installed = new Map<string, string>();
  let fields: Record<"P" | "V" | "A", string> | undefined;
  let line = 0;
  const end = (): void => {
    if (fields === undefined) return;
    const { P: name, V: version, A: arch } = fields;
    if (!NAME.test(name)) throw wrong(line, "there is no name of a package");
    if (!VERSION.test(version)) throw wrong(line, `package "${name}" has no version`);
    if (!ARCHITECTURE.test(arch)) throw wrong(line, `package "${name}" has no architecture`);
    const key = packageKey(name, arch);
    if (installed.has(key)) throw wrong(line, `package "${key}" is there twice`);
    if (installed.size >= PACKAGES_MAX) throw wrong(line, "there are too many packages");
    installed.set(key, version);
    fields = undefined;
  };
  for (let from = 0; from < text.length;) {
    const found = text.indexOf("\n", from);
    if (found < 0) throw wrong(line + 1, "its end is missing");
    line += 1;
    if (found === from) end();
    else {
      const letter = text[from] ?? "";
      if (text[from + 1] !== ":" || !/^[A-Za-z]$/.test(letter)) {
        throw wrong(line, "there is no field");
      }
      fields ??= { P: "", V: "", A: "" };
      if (letter === "P" || letter === "V" || letter === "A") {
        if (fields[letter] !== "") throw wrong(line, `field "${letter}" is there twice`);
        fields[letter] = text.slice(from + 2, found);
      }
    }
    from = found + 1;
  }
  end();
  return { installed, undecided: new Set() };
}

function wrong(line: number, reason: string): PackageDatabaseError {
  return new PackageDatabaseError(`Cannot read apk's database: line ${line}: ${reason}`);
}
