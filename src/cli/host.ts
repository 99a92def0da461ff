/**
 * `host`: hosts and their states, or one host with the times in which its sources watched, as a table on a terminal and
 * one row a line otherwise.
 *
 * Invariant: an answer that the service calls incomplete, or that is cut, ends in exit 5, whatever was printed.
 */
import type { AnswerFacts } from "../client/request.ts";
import type { CoverageRange, HostClient, HostCoverage } from "../client/hosts.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { text } from "./option-type.ts";
import { optional } from "./options.ts";
import type { Output } from "./output.ts";
import { type PrintedRow, printRows } from "./table-text.ts";

const RANGE_OPTIONS = {
  from: optional("from", text, {
    reach: "flag",
    text: "begin, inclusive: RFC 3339, 15m, now-2h, today, yesterday; default: 24 h before --to",
  }),
  to: optional("to", text, { reach: "flag", text: "end, exclusive; default: now" }),
} as const;

export const hostCommand = defineCommand({
  name: "host",
  summary: "hosts and whether they are watched; of one, when which source watched",
  examples: [
    ["probity host", "every host of the last day, with its state"],
    ["probity host web-1 --from 7d", "when which source of web-1 watched, and why not"],
  ],
  arguments: [{ name: "host", text: "one host, by its name", isRequired: false }],
  options: { range: RANGE_OPTIONS },
  run: ({ arguments: [host], global, settings, output, signal }) =>
    withClient(global, async ({ hosts }) => {
      const { from, to } = settings.range;
      const query = {
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
      };
      if (host === undefined) return await printHosts(hosts, { query, output, signal });
      const found = await hosts.read(host, query, { signal });
      if (output.isForPeople) await printForPeople(found, output);
      else for (const row of rowsOf(found)) await output.json(row);
      return endOf(found, output);
    }),
});

interface Printing {
  readonly query: { readonly from?: string; readonly to?: string };
  readonly output: Output;
  readonly signal: AbortSignal;
}

async function printHosts(
  hosts: HostClient,
  { query, output, signal }: Printing,
): Promise<ExitCode> {
  const found = await hosts.list(query, { signal });
  const rows = found.hosts.map(({ off, last_seen: lastSeen, since, ...each }): PrintedRow => ({
    ...each,
    ...(since === undefined ? {} : { since: shorten(since, output) }),
    ...(lastSeen === null ? {} : { last_seen: shorten(lastSeen, output) }),
    ...(off === undefined ? {} : { off: off.join(" ") }),
  }));
  const columns = ["host", "state", "since", "last_seen", "count", "gaps", "version", "off"];
  await printRows(rows, { columns, output });
  const { knownFrom } = found;
  if (knownFrom !== undefined) {
    const from = shorten(knownFrom, output);
    output.notice(`hosts that were heard of only before ${from} are not all known yet`);
  }
  return endOf(found, output);
}

async function printForPeople(found: HostCoverage, output: Output): Promise<void> {
  const rows = rowsOf(found).map((row) => ({
    ...row,
    from: shorten(row.from, output),
    to: shorten(row.to, output),
  }));
  await printRows(rows, {
    columns: ["source", "state", "from", "to", "cause", "count", "reason"],
    output,
  });
  const { host, state, version = "an unknown version", last_seen: lastSeen, count } = found;
  const seen = lastSeen === null ? "" : `, last event ${shorten(lastSeen, output)}`;
  output.notice(`${host} is ${state}, agent ${version}, ${count} events${seen}`);
}

/** The agent's own times, then those of each source. */
function rowsOf({ host, presence, sources }: HostCoverage) {
  const parts = [{ source: "agent", ranges: presence }, ...sources];
  return parts.flatMap(({ source, ranges }) =>
    ranges.values.map((range: CoverageRange) => ({ host, source, ...range }))
  );
}

function endOf(
  found:
    & AnswerFacts
    & { readonly cut: boolean }
    & Partial<Pick<HostCoverage, "sources" | "presence" | "gaps" | "changes">>,
  output: Output,
): ExitCode {
  const { presence, gaps, changes, sources = [] } = found;
  const lists = [presence, gaps, changes, ...sources.map(({ ranges }) => ranges)];
  const isCut = found.cut ||
    lists.some((each) => each !== undefined && each.total > each.values.length);
  if (isCut) output.notice("incomplete: there is more than one answer gives; use a shorter range");
  if (!found.isComplete) {
    output.notice(`incomplete: ${found.missing ?? "a part of this range cannot be searched yet"}`);
  }
  return isCut || !found.isComplete ? EXIT.incomplete : EXIT.ok;
}

/** Whole seconds are enough for people. */
function shorten(time: string, { isForPeople }: Output): string {
  return isForPeople ? time.replace(/\.[0-9]+Z$/, "Z") : time;
}
