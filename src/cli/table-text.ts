/** What the `table` commands print: rows as a table for people, JSON otherwise. */
import type { Hold } from "../storage/hold.ts";
import type { RegistryEntry } from "../storage/registry.ts";
import { type Output, printable } from "./output.ts";

export type PrintedRow = Readonly<Record<string, string | number | boolean | undefined>>;

/** Prints rows, with these columns for people. */
export async function printRows(
  rows: readonly PrintedRow[],
  { columns, output }: { readonly columns: readonly string[]; readonly output: Output },
): Promise<void> {
  if (!output.isForPeople) {
    for (const row of rows) await output.json(row);
    return;
  }
  await output.table(
    columns.map((name) => ({
      name,
      align: rows.some((row) => typeof row[name] === "number") ? "right" : "left",
    })),
    rows.map((row) => columns.map((name) => printable(String(row[name] ?? "")))),
  );
  output.notice(`${rows.length} ${rows.length === 1 ? "row" : "rows"}`);
}

export async function printHolds(
  holds: readonly RegistryEntry<Hold>[],
  output: Output,
): Promise<void> {
  const rows = holds.map(({ name, value, writtenAtMs }) => ({
    name,
    set: timeText(writtenAtMs),
    from: timeText(value.fromMs),
    to: timeText(value.toMs),
    hosts: value.hosts.length === 0 ? "all" : value.hosts.join(" "),
    reason: value.reason,
  }));
  await printRows(rows, { columns: ["name", "set", "from", "to", "hosts", "reason"], output });
}

export function timeText(ms: number | undefined): string {
  return ms === undefined ? "" : new Date(ms).toISOString().replace(/\.000Z$/, "Z");
}
