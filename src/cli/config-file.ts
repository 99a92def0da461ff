/**
 * Reads the configuration file. Unknown keys and wrong types are errors that name the key, the line and the accepted
 * form; all of them are reported, not only the first.
 */
import { readFileSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import { checkStructure, STRUCTURE_KEYS, type Structures } from "./config-structures.ts";
import { NO_STRUCTURES } from "./empty-structures.ts";
import { usageError } from "./exit.ts";
import { FILE_OPTIONS } from "./file-options.ts";
import { quoted } from "./option-type.ts";
import type { Option, OptionGroup } from "./options.ts";
import { type KeyPath, locateKeys } from "./toml-lines.ts";

/** What a configuration file says, checked. */
export interface ConfigFile {
  readonly path: string;
  /** Typed values of options, by key. */
  readonly values: ReadonlyMap<string, unknown>;
  readonly structures: Structures;
  /** Line of each option's key, for messages. */
  readonly lines: ReadonlyMap<string, number>;
}

/** Reads and checks a file; throws a usage error that lists every fault. */
export function readConfigFile(path: string): ConfigFile {
  let toml: string;
  try {
    toml = readFileSync(path, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw usageError(`Cannot read configuration "${path}": ${reason}`, { cause });
  }
  return parseConfig(toml, path);
}

/** Checks the text of a configuration file; `path` is for messages. */
export function parseConfig(toml: string, path: string): ConfigFile {
  const document = parseToml(toml, path);
  const lineOf = locateKeys(toml);
  const values = new Map<string, unknown>();
  const lines = new Map<string, number>();
  const structures: Record<string, unknown> = { ...NO_STRUCTURES };
  const faults: Fault[] = [];
  for (const [section, content] of Object.entries(document)) {
    const whole = structureAt([section]);
    if (whole !== undefined) {
      faults.push(...structureFaults(whole, [section], content));
      structures[whole] = content;
    } else readSection(section, content);
  }
  if (faults.length > 0) {
    const said = faults.map(({ path, message }) => ({ line: lineOf(path), message }))
      .toSorted((a, b) => a.line - b.line).map(({ line, message }) => `line ${line}: ${message}`);
    throw usageError(`Cannot use configuration "${path}":\n  ${said.join("\n  ")}`);
  }
  // as: every structure was checked by its schema
  return { path, values, lines, structures: structures as unknown as Structures };

  function readSection(section: string, content: unknown): void {
    const options: OptionGroup | undefined = Object.entries(FILE_OPTIONS)
      .find(([name]) => name === section)?.[1];
    if (options === undefined) {
      faults.push(unknownKey([section], sectionNames()));
      return;
    }
    if (!isTable(content)) {
      faults.push(wrongValue([section], { value: content, form: `a table [${section}]` }));
      return;
    }
    for (const [name, value] of Object.entries(content)) {
      const at = [section, name];
      const structure = structureAt(at);
      const known = Object.values(options).find(({ key }) => key === `${section}.${name}`);
      if (structure !== undefined) {
        faults.push(...structureFaults(structure, at, value));
        structures[structure] = value;
      } else if (known !== undefined) readValue(known, { at, value });
      else faults.push(unknownKey(at, keysOf(section, options)));
    }
  }

  function readValue(known: Option<unknown>, given: { at: KeyPath; value: unknown }): void {
    const value = known.type.accept(given.value);
    if (value === undefined) {
      faults.push(wrongValue(given.at, { value: given.value, form: known.type.form }));
    }
    values.set(known.key, value);
    lines.set(known.key, lineOf(given.at));
  }
}

interface Fault {
  readonly path: KeyPath;
  readonly message: string;
}

function parseToml(toml: string, path: string): Readonly<Record<string, unknown>> {
  try {
    return parse(toml);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const reason = cause.message.split("\n")[0] ?? "";
    throw usageError(`Cannot use configuration "${path}":\n  line ${cause.line}: ${reason}`, {
      cause,
    });
  }
}

function structureAt(at: readonly string[]): keyof Structures | undefined {
  const found = Object.entries(STRUCTURE_KEYS)
    .find(([, { path }]) => path.join(".") === at.join("."));
  // as: the keys of STRUCTURE_KEYS are those of Structures
  return found?.[0] as keyof Structures | undefined;
}

function structureFaults(name: keyof Structures, at: KeyPath, value: unknown): Fault[] {
  return checkStructure(STRUCTURE_KEYS[name], value).map((fault) => {
    const path = [...at, ...fault.path];
    if (fault.isUnknown) return unknownKey(path, fault.expected);
    return wrongValue(path, { value: fault.actual, form: fault.expected });
  });
}

function unknownKey(path: KeyPath, known: string): Fault {
  return { path, message: `${keyText(path)} is unknown; accepted: ${known}` };
}

function wrongValue(path: KeyPath, given: { value: unknown; form: string }): Fault {
  const { value, form } = given;
  const state = value === undefined ? "is missing" : `cannot be ${quoted(value, form)}`;
  return { path, message: `${keyText(path)} ${state}; accepted: ${form}` };
}

/** `[agent] flush`, `[[files]] paths`, as the file spells it. */
function keyText([section, ...rest]: KeyPath): string {
  const isList = typeof rest[0] === "number";
  const header = isList ? `[[${section}]]` : `[${section}]`;
  const keys = rest.filter((part) => typeof part === "string");
  return [header, keys.join(".")].filter((part) => part !== "").join(" ");
}

function keysOf(section: string, options: OptionGroup): string {
  const structures = Object.values(STRUCTURE_KEYS)
    .flatMap(({ path: [owner, key] }) => owner === section && key !== undefined ? [key] : []);
  const names = Object.values(options).map(({ key }) => key.slice(section.length + 1));
  return [...names, ...structures].join(", ");
}

function sectionNames(): string {
  const lists = Object.values(STRUCTURE_KEYS).flatMap(({ path: [name, key] }) => key ? [] : [name]);
  return [...Object.keys(FILE_OPTIONS), ...lists].map((name) => `[${name}]`).join(", ");
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}
