/**
 * Decides each option's value: flag, variable, configuration file, default, in this order; and remembers which of them
 * it was. This is the one place where text of the command line and the environment becomes typed values.
 */
import type { ConfigFile } from "./config-file.ts";
import { usageError } from "./exit.ts";
import { quoted } from "./option-type.ts";
import { flagOf, type Option, type OptionGroup, variableOf } from "./options.ts";
import type { OptionGroups, Settings, Values } from "./options.ts";

export type ValueSource = "flag" | "variable" | "file" | "default";

/** What was given on the command line, by key: text, or the texts of an option that may be repeated. */
export type GivenFlags = ReadonlyMap<string, string | readonly string[]>;

export interface Givens {
  readonly flags: GivenFlags;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file: ConfigFile | undefined;
}

export interface Resolved<S extends OptionGroups> {
  readonly settings: Settings<S>;
  /** Where an option's value came from. */
  sourceOf(option: Pick<Option<unknown>, "key">): ValueSource;
}

/** Typed values of several groups of options. Throws a usage error for text of a wrong form. */
export function resolveSettings<S extends OptionGroups>(groups: S, givens: Givens): Resolved<S> {
  const sources = new Map<string, ValueSource>();
  const settings = Object.fromEntries(
    Object.entries(groups).map(([name, group]) => [name, resolveGroup(group, { givens, sources })]),
  );
  return {
    // as: each group was resolved from its own declarations
    settings: settings as Settings<S>,
    sourceOf: ({ key }) => sources.get(key) ?? "default",
  };
}

/** Typed values of one group. */
export function resolveValues<G extends OptionGroup>(group: G, givens: Givens): Values<G> {
  // as: each value was read by its own declaration's type
  return resolveGroup(group, { givens, sources: new Map() }) as Values<G>;
}

function resolveGroup(
  group: OptionGroup,
  { givens, sources }: { givens: Givens; sources: Map<string, ValueSource> },
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(group).map(([name, option]) => {
      const { value, source } = resolveOption(option, givens);
      sources.set(option.key, source);
      return [name, value];
    }),
  );
}

function resolveOption(
  option: Option<unknown>,
  { flags, environment, file }: Givens,
): { readonly value: unknown; readonly source: ValueSource } {
  const given = flags.get(option.key);
  if (given !== undefined) {
    return { value: parseGiven(option, { name: flagOf(option), given }), source: "flag" };
  }
  const name = variableOf(option);
  const variable = option.reach === "flag" ? undefined : environment[name];
  if (variable !== undefined && variable !== "") {
    return { value: parseGiven(option, { name, given: variable }), source: "variable" };
  }
  if (file?.values.has(option.key)) {
    return { value: file.values.get(option.key), source: "file" };
  }
  const { default: fallback } = option;
  if (option.repeats) return { value: [], source: "default" };
  if (fallback === undefined) return { value: undefined, source: "default" };
  return { value: parseGiven(option, { name: option.key, given: fallback }), source: "default" };
}

function parseGiven(
  option: Option<unknown>,
  { name, given }: { name: string; given: string | readonly string[] },
): unknown {
  const parse = (text: string): unknown => {
    const value = option.type.parse(text);
    if (value !== undefined) return value;
    const { form } = option.type;
    throw usageError(`Cannot use ${name} ${quoted(text, form)}: accepted: ${form}`);
  };
  if (option.repeats) return (typeof given === "string" ? [given] : given).map(parse);
  return parse(typeof given === "string" ? given : given.at(-1) ?? "");
}
