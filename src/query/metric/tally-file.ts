/**
 * Tallies on disk, so that a restart does not count again: a file of lines, appended to as files are counted, and
 * written anew when most of it is about files that are gone.
 *
 * Invariant: a line whose digest is not that of its text counts as not there. Whatever is lost is counted again.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { appendFile, rename, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { KindCount } from "./tally.ts";

/** What is known of a data file: its counts, or null when it has more kinds than are counted. */
export interface Entry {
  readonly name: string;
  readonly counts: readonly KindCount[] | null;
}

const DIGEST_LENGTH = 16;

/** Of the form of lines; another form is another number, and its lines are skipped. */
const VERSION = 1;

export function formatEntry({ name, counts }: Entry): string {
  const text = JSON.stringify([
    VERSION,
    name,
    counts?.map(({ topic, topics, host, rows, firstUs, lastUs }) => [
      topic,
      host,
      rows,
      firstUs,
      lastUs,
      ...topics,
    ]) ?? null,
  ]);
  return `${digestOf(text)} ${text}\n`;
}

/** The entry that a line holds; undefined when the line is not whole. */
export function parseEntry(line: string): Entry | undefined {
  const text = line.slice(DIGEST_LENGTH + 1);
  if (line.slice(0, DIGEST_LENGTH) !== digestOf(text)) return undefined;
  // as: the digest says that this program wrote the line
  const [version, name, counts] = JSON.parse(text) as [
    number,
    string,
    [string | null, string | null, number, number, number, ...string[]][] | null,
  ];
  if (version !== VERSION) return undefined;
  return {
    name,
    counts: counts?.map(([topic, host, rows, firstUs, lastUs, ...topics]) => ({
      ...{ topic, host, rows, firstUs, lastUs, topics },
    })) ?? null,
  };
}

/** All whole lines of the file, in order; none when there is no file. */
export async function* readEntries(path: string): AsyncGenerator<Entry> {
  const input = createReadStream(path, "utf8");
  try {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      const entry = parseEntry(line);
      if (entry !== undefined) yield entry;
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  } finally {
    input.destroy();
  }
}

export async function appendEntry(path: string, entry: Entry): Promise<void> {
  await appendFile(path, formatEntry(entry), { mode: 0o600 });
}

/** Puts these entries in the place of all others. */
export async function rewriteEntries(path: string, entries: Iterable<Entry>): Promise<void> {
  const partial = `${path}.partial`;
  await writeFile(partial, "", { mode: 0o600 });
  for (const entry of entries) await appendEntry(partial, entry);
  await rename(partial, path);
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, DIGEST_LENGTH);
}
