/**
 * What a command prints: data on standard output, everything else on standard error. A table on a terminal, one JSON
 * object per line when piped or with `--json`.
 *
 * Invariant: writing waits while the reader is slow; control characters of data never reach a terminal.
 */
import { once } from "node:events";
import process from "node:process";
import { stripVTControlCharacters } from "node:util";

/** A stream as output needs it. */
export interface Sink {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(data: string | Uint8Array): boolean;
}

export type Color = "red" | "yellow" | "green" | "cyan" | "bold" | "dim";

export interface TableColumn {
  readonly name: string;
  readonly align?: "left" | "right";
}

export interface Output {
  /** Whether standard output is for people: a terminal, and no `--json`. */
  readonly isForPeople: boolean;
  /** Width of the terminal in columns; undefined when there is none. */
  readonly width: number | undefined;
  /** Colors text for standard output, where color is wanted. */
  paint(color: Color, text: string): string;
  /** Writes text or bytes as they are. */
  write(data: string | Uint8Array): Promise<void>;
  /** Writes one JSON object as a line. */
  json(value: unknown): Promise<void>;
  /** Writes rows as an aligned table; cells may be painted. */
  table(columns: readonly TableColumn[], rows: readonly (readonly string[])[]): Promise<void>;
  /** Says something on standard error, unless `--quiet`. */
  notice(text: string): void;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly color: "auto" | "always" | "never";
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly stdout?: Sink;
  readonly stderr?: Sink;
}

const CODES: Readonly<Record<Color, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

export function createOutput(options: OutputOptions): Output {
  const { stdout = process.stdout, stderr = process.stderr } = options;
  const isForPeople = stdout.isTTY === true && !options.json;
  const isColored = wantsColor(options, stdout);
  const write = async (data: string | Uint8Array): Promise<void> => {
    if (data.length === 0 || stdout.write(data)) return;
    if (stdout === process.stdout) await once(process.stdout, "drain");
  };
  return {
    isForPeople,
    width: stdout.isTTY === true ? stdout.columns : undefined,
    paint: (color, text) => isColored ? paint(color, text) : text,
    write,
    json: (value) => write(`${JSON.stringify(value)}\n`),
    table: (columns, rows) => write(formatTable(columns, rows)),
    notice: (text) => {
      if (!options.quiet) stderr.write(`${text}\n`);
    },
  };
}

/** Rows below upper-case headings, in columns two spaces apart; the last column is not padded. */
export function formatTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
): string {
  const heading = columns.map(({ name }) => name.toUpperCase());
  const all = [heading, ...rows];
  const widths = columns.map((_, index) =>
    Math.max(...all.map((row) => widthOf(row[index] ?? "")))
  );
  const format = (row: readonly string[]): string =>
    columns.map(({ align = "left" }, index) => {
      const cell = row[index] ?? "";
      const padding = " ".repeat(Math.max(0, (widths[index] ?? 0) - widthOf(cell)));
      return align === "right" ? padding + cell : cell + padding;
    }).join("  ").trimEnd();
  return all.map((row) => `${format(row)}\n`).join("");
}

/** Data as it may be shown on a terminal: control characters are spelled as `\xNN`. */
export function printable(text: string): string {
  return text.replaceAll(
    /\p{Cc}/gu,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

function wantsColor({ color, environment }: OutputOptions, stdout: Sink): boolean {
  if (color !== "auto") return color === "always";
  const isRefused = (environment["NO_COLOR"] ?? "") !== "" || environment["TERM"] === "dumb";
  return stdout.isTTY === true && !isRefused;
}

function paint(color: Color, text: string): string {
  const [on, off] = CODES[color];
  return `\x1b[${on}m${text}\x1b[${off}m`;
}

function widthOf(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}
