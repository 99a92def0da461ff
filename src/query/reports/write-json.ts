/** A report as JSON: tables as lists of objects, absent cells left out. */
import { formatTime } from "../../event/event.ts";
import type { Report } from "./report.ts";

export function reportJson(report: Report): unknown {
  const { name, title, fromUs, toUs, hosts, sees, isEmpty, isWatched, isWhole } = report;
  const { statements, tables, evidence } = report;
  return {
    ...{ report: name, title, from: formatTime(fromUs), to: formatTime(toUs), hosts, sees },
    ...{ no_change: isEmpty, watched: isWatched, whole: isWhole, statements },
    tables: tables.map(({ name: table, title: text, columns, rows, total }) => ({
      ...{ table, title: text, total, columns },
      rows: rows.map((row) =>
        Object.fromEntries(
          columns.flatMap((column, place) => {
            const cell = row[place];
            return cell === undefined ? [] : [[column.name, cell]];
          }),
        )
      ),
    })),
    evidence: {
      ...{ events: evidence.events, archived: evidence.archived },
      ...{ statements: evidence.statements, not_yet_verifiable: evidence.open },
    },
  };
}
