/**
 * Types of option values: how text from a flag or a variable and a value from the configuration file become one typed
 * value. Every type states the form it accepts, which errors and help quote.
 */
import { isOrigin, ORIGINS_MAX } from "../query/origins.ts";
import { isHostName, isShardName } from "../event/wire.ts";

export interface OptionType<T> {
  /** Placeholder in help, such as `duration`; undefined for flags without a value. */
  readonly placeholder: string | undefined;
  /** The accepted form, in words with an example. */
  readonly form: string;
  /** Values that completion offers. */
  readonly choices?: readonly string[];
  /** From a flag or a variable; undefined when the text has another form. */
  parse(text: string): T | undefined;
  /** From the file; undefined when the value has another type or form. */
  accept(value: unknown): T | undefined;
}

const URL_FORM = "a URL";

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const SIZE_UNITS_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** Any text but the empty one. */
export const text: OptionType<string> = textual(
  "text",
  "text that is not empty",
  (value) => value === "" ? undefined : value,
);

export const hostName: OptionType<string> = textual(
  "name",
  'a host name of 1 to 253 visible ASCII characters such as "web-1"',
  (value) => isHostName(value) ? value : undefined,
);

export const file: OptionType<string> = textual(
  "file",
  "path of a file",
  (value) => value === "" ? undefined : value,
);

export const shardName: OptionType<string> = textual(
  "shard",
  "1 to 16 of a-z and 0-9",
  (value) => isShardName(value) ? value : undefined,
);

export const folder: OptionType<string> = textual(
  "dir",
  "path of a folder",
  (value) => value === "" ? undefined : value,
);

/** Milliseconds. Parts may follow each other: `1h30m`. */
export const duration: OptionType<number> = textual(
  "duration",
  'a duration such as "100ms", "10s", "15m", "24h" or "400d"',
  (value) => sumOfParts(value, /([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)/y, DURATION_UNITS_MS),
);

/** Milliseconds, with bounds such as "24h". */
export function durationBetween(least: string, most: string): OptionType<number> {
  const [leastMs = NaN, mostMs = NaN] = [duration.parse(least), duration.parse(most)];
  return textual("duration", `a duration from "${least}" to "${most}"`, (value) => {
    const ms = duration.parse(value);
    return ms !== undefined && ms >= leastMs && ms <= mostMs ? ms : undefined;
  });
}

/** Bytes. */
export const size: OptionType<number> = textual(
  "size",
  'a size such as "64KiB", "256MiB" or "10GB"',
  (value) => {
    const bytes = sumOfParts(value, /([0-9]+(?:\.[0-9]+)?)([KMGT]iB|[kMGT]?B)/y, SIZE_UNITS_BYTES);
    return bytes !== undefined && Number.isSafeInteger(bytes) ? bytes : undefined;
  },
);

/** A power of two, as rings have it. */
export function powerOfTwo(least: string, most: string): OptionType<number> {
  const [leastBytes = NaN, mostBytes = NaN] = [size.parse(least), size.parse(most)];
  const form = `a power of two from "${least}" to "${most}" such as "4MiB"`;
  return textual("size", form, (value) => {
    const bytes = size.parse(value);
    const isFine = bytes !== undefined && bytes >= leastBytes && bytes <= mostBytes &&
      Number.isInteger(Math.log2(bytes));
    return isFine ? bytes : undefined;
  });
}

export function sizeFrom(least: string): OptionType<number> {
  const leastBytes = size.parse(least) ?? NaN;
  return textual("size", `a size of at least "${least}" such as "1GiB"`, (value) => {
    const bytes = size.parse(value);
    return bytes !== undefined && bytes >= leastBytes ? bytes : undefined;
  });
}

export function sizeBetween(least: string, most: string): OptionType<number> {
  const [leastBytes = NaN, mostBytes = NaN] = [size.parse(least), size.parse(most)];
  return textual("size", `a size from "${least}" to "${most}"`, (value) => {
    const bytes = size.parse(value);
    return bytes !== undefined && bytes >= leastBytes && bytes <= mostBytes ? bytes : undefined;
  });
}

/** Milliseconds since the Unix epoch; without a zone it is UTC. */
export const time: OptionType<number> = textual(
  "time",
  'a UTC time such as "2026-03-01" or "2026-03-01T10:00:00Z"',
  (value) => {
    const isTime =
      /^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?$/
        .test(value);
    const ms = isTime ? Date.parse(value) : NaN;
    return Number.isNaN(ms) ? undefined : ms;
  },
);

export interface Address {
  readonly host: string;
  /** 0 asks for any free port. */
  readonly port: number;
}

export const address: OptionType<Address> = textual(
  "host:port",
  'an address and port such as "127.0.0.1:7333" or "[::1]:0"',
  (value) => {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+)):([0-9]{1,5})$/.exec(value);
    const host = match?.[1] ?? match?.[2];
    const port = Number(match?.[3]);
    return host === undefined || port > 65_535 ? undefined : { host, port };
  },
);

/** URL of one of the given schemes, kept as text. */
export function urlOf(schemes: readonly string[], example: string): OptionType<string> {
  return textual("url", `${URL_FORM} such as "${example}"`, (value) => {
    const scheme = URL.canParse(value) ? new URL(value).protocol.slice(0, -1) : "";
    return schemes.includes(scheme) ? value : undefined;
  });
}

/** In the file a list, elsewhere joined by commas. */
export const origins: OptionType<readonly string[]> = {
  placeholder: "origins",
  form:
    `at most ${ORIGINS_MAX} origins such as "https://app.example.org", in the file a list of them, ` +
    "elsewhere joined by commas",
  parse: (value) => originsOf(value.split(",")),
  accept: (value) => Array.isArray(value) ? originsOf(value) : undefined,
};

function originsOf(values: readonly unknown[]): readonly string[] | undefined {
  const found = values.flatMap((each) => typeof each === "string" && isOrigin(each) ? [each] : []);
  return found.length === values.length && found.length <= ORIGINS_MAX ? found : undefined;
}

export function choiceOf<const C extends string>(choices: readonly C[]): OptionType<C> {
  const form = `one of ${choices.map((choice) => `"${choice}"`).join(", ")}`;
  const find = (value: string) => choices.find((choice) => choice === value);
  return { ...textual(choices.join("|"), form, find), choices };
}

/** Some of a few names, each once. In the file a list, elsewhere joined by commas. */
export function someOf<const C extends string>(choices: readonly C[]): OptionType<readonly C[]> {
  const names = choices.map((choice) => `"${choice}"`).join(", ");
  const find = (values: readonly unknown[]): readonly C[] | undefined => {
    const found = choices.filter((choice) => values.includes(choice));
    return found.length === values.length ? found : undefined;
  };
  return {
    placeholder: "names",
    form: `some of ${names}, each once, in the file a list of them, elsewhere joined by commas`,
    parse: (value) => find(value === "" ? [] : value.split(",")),
    accept: (value) => Array.isArray(value) ? find(value) : undefined,
  };
}

export function integerBetween(least: number, greatest: number): OptionType<number> {
  const check = (value: number) =>
    Number.isSafeInteger(value) && value >= least && value <= greatest ? value : undefined;
  return {
    placeholder: "number",
    form: `a whole number from ${least} to ${greatest}`,
    parse: (value) => /^-?[0-9]{1,15}$/.test(value) ? check(Number(value)) : undefined,
    accept: (value) => typeof value === "number" ? check(value) : undefined,
  };
}

/** True or false; as a flag it takes no value, and `--no-…` says false. */
export const flag: OptionType<boolean> = {
  placeholder: undefined,
  form: "true or false",
  parse: (value) => {
    if (value === "true" || value === "1") return true;
    return value === "false" || value === "0" ? false : undefined;
  },
  accept: (value) => typeof value === "boolean" ? value : undefined,
};

/** A value of another form as an error may quote it: without what may hold the password of a URL, whole or mistyped. */
export function quoted(value: unknown, form: string): string {
  const text = JSON.stringify(value) ?? String(value);
  const mayHide = form.startsWith(URL_FORM) ? /[@?#]|:.*:/ : /@/;
  return mayHide.test(text) ? "what is given" : text;
}

function textual<T>(
  placeholder: string,
  form: string,
  parse: (value: string) => T | undefined,
): OptionType<T> {
  const accept = (value: unknown) => typeof value === "string" ? parse(value) : undefined;
  return { placeholder, form, parse, accept };
}

function sumOfParts(
  value: string,
  part: RegExp,
  units: Readonly<Record<string, number>>,
): number | undefined {
  let total = 0;
  let end = 0;
  for (const match of value.matchAll(new RegExp(part.source, "gy"))) {
    const [whole, amount, unit] = match;
    total += Number(amount) * (units[unit ?? ""] ?? Number.NaN);
    end += whole.length;
  }
  return end === value.length && end > 0 ? total : undefined;
}
