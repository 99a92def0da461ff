/**
 * `report`: what changed, who came and what was not watched in a range: as tables on a terminal, one row a line when
 * piped, or in a form to keep.
 *
 * Invariant: a report that the service calls incomplete, or that is cut, ends in exit 5, whatever was printed.
 */
import type { Report, ReportTable } from "../client/reports.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { choiceOf, text } from "./option-type.ts";
import { optional } from "./options.ts";
import { type Output, printable } from "./output.ts";

const NAMES = ["packages", "services", "logins", "privilege", "files", "crypto", "gaps"] as const;
const FORMATS = ["text", "ndjson", "json", "csv", "markdown", "html"] as const;

/** Longest cell of a table on a terminal, in characters, but for the last of a row; other forms have all. */
const CELL_LENGTH_MAX = 80;

const REPORT_OPTIONS = {
  from: optional("from", text, {
    reach: "flag",
    text: "begin, inclusive: RFC 3339, 15m, now-2h, today, yesterday; default: 24 h before --to",
  }),
  to: optional("to", text, { reach: "flag", text: "end, exclusive; default: now" }),
  host: optional("host", text, {
    reach: "flag",
    text: "hosts, as in a search: a,b, !a, web-*; default: all",
  }),
  format: optional("format", choiceOf(FORMATS), {
    reach: "flag",
    text: "default: text on a terminal, ndjson (a row a line) when piped",
  }),
} as const;

export const reportCommand = defineCommand({
  name: "report",
  summary: "a report over a range and hosts, with what was not watched",
  examples: [
    ["probity report packages --from 7d", "packages installed, updated and removed in a week"],
    [
      "probity report logins --from 2026-05-01 --to 2026-06-01 --format html > may.html",
      "a page for an auditor, the same each time it is made",
    ],
    ["probity report gaps --host 'web-*' --format csv", "what was not watched, for a spreadsheet"],
  ],
  arguments: [{ name: "name", text: "which report", isRequired: true, choices: NAMES }],
  options: { report: REPORT_OPTIONS },
  run: ({ arguments: [name = ""], global, settings, output, signal }) =>
    withClient(global, async ({ reports }) => {
      const { from, to, host, format = output.isForPeople ? "text" : "ndjson" } = settings.report;
      const query = {
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        ...(host === undefined ? {} : { host }),
      };
      if (format === "csv" || format === "markdown" || format === "html") {
        const found = await reports.text(name, { ...query, form: format }, { signal });
        await output.write(found.text);
        return endOf(found, output);
      }
      const { report, ...facts } = await reports.read(name, query, { signal });
      if (format === "json") await output.json(report);
      else if (format === "ndjson") await printLines(report, output);
      else await printTables(report, output);
      return endOf({ ...facts, isCut: !report.whole }, output);
    }),
});

async function printLines(report: Report, output: Output): Promise<void> {
  const { tables, ...rest } = report;
  await output.json({ table: "report", ...rest });
  for (const { table, rows } of tables) {
    for (const row of rows) await output.json({ table, ...row });
  }
}

async function printTables(report: Report, output: Output): Promise<void> {
  const { title, from, to, hosts, statements, tables, evidence } = report;
  const say = (texts: readonly string[]): Promise<void> =>
    output.write(texts.map((each) => `${printable(each)}\n`).join(""));
  await output.write(`${output.paint("bold", printable(title))}\n`);
  await say([`${from} to ${to}, ${hosts.length} ${hosts.length === 1 ? "host" : "hosts"}`]);
  await say(statements);
  for (const table of tables) {
    await output.write(`\n${output.paint("bold", printable(table.title))}\n`);
    if (table.rows.length === 0) await say(["none"]);
    else await printTable(table, output);
  }
  await output.write(`\n${output.paint("bold", "Evidence")}\n`);
  await say([...evidence.statements, "Not yet verifiable:", ...evidence.not_yet_verifiable]);
}

/** Without columns that are empty in every row: on a terminal each of them takes room from the others. */
async function printTable({ columns, rows }: ReportTable, output: Output): Promise<void> {
  const shown = columns.filter(({ name }) => rows.some((row) => (row[name] ?? "") !== ""));
  const last = shown.at(-1)?.name;
  await output.table(
    shown.map(({ name, title }) => ({
      name: printable(title),
      align: rows.some((row) => typeof row[name] === "number") ? "right" : "left",
    })),
    rows.map((row) =>
      shown.map(({ name }) => {
        const cell = printable(String(row[name] ?? ""));
        return name === last ? cell : cut(cell);
      })
    ),
  );
}

/** One long cell would push what follows it out of sight in all rows. */
function cut(cell: string): string {
  const characters = [...cell];
  if (characters.length <= CELL_LENGTH_MAX) return cell;
  return `${characters.slice(0, CELL_LENGTH_MAX - 1).join("")}…`;
}

function endOf(
  { isComplete, missing, isCut }: {
    readonly isComplete: boolean;
    readonly missing: string | undefined;
    readonly isCut: boolean;
  },
  output: Output,
): ExitCode {
  if (isComplete && !isCut) return EXIT.ok;
  output.notice(`incomplete: ${missing ?? "not all rows are given; use a shorter range"}`);
  return EXIT.incomplete;
}
