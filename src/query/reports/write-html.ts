/**
 * A report as a page: whole in itself, without a script, readable by eye, by screen reader and on paper.
 *
 * Invariants: data is text of elements alone, never markup or an attribute; the page's own policy lets nothing be loaded,
 * run or sent, also when it was saved to a file.
 */
import { createHash } from "node:crypto";
import type { Cell, Report, ReportTable } from "./report.ts";
import { cellText, emptyText, factsOf, spelled } from "./text.ts";

const STYLE = `
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 90rem; padding: 0 1rem; color: #1b1b1b; background: #fff;
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; margin: 2rem 0 .75rem; }
h1 { margin-top: 0; }
a { color: #0b4f9e; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 1rem 0; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
.said { border-left: .25rem solid #0b4f9e; padding: .25rem 1rem; margin: 1rem 0; }
.said p { margin: .25rem 0; }
.wide { overflow-x: auto; }
.wide:focus-visible, a:focus-visible { outline: .2rem solid #0b4f9e; outline-offset: .1rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #444; padding: .25rem 0; }
th, td { border: 1px solid #8a8a8a; padding: .25rem .5rem; text-align: left; vertical-align: top;
  font-weight: 400; }
th[scope="col"] { background: #eaeef3; font-weight: 600; }
.number { text-align: right; }
.time, .word { white-space: nowrap; }
.long { overflow-wrap: anywhere; min-width: 16rem; }
@media print {
  body { margin: 0; max-width: none; padding: 0; font-size: 9pt; }
  nav { display: none; }
  .wide { overflow: visible; }
  table { font-size: 7pt; }
  .long { min-width: 6rem; }
  .time, .word { white-space: normal; }
  thead { display: table-header-group; }
  tr, .said { break-inside: avoid; }
  h2 { break-after: avoid; }
}
`;

const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

/** What a page may do: show itself in its own style. */
export const PAGE_POLICY =
  `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'`;

export function writeHtml(report: Report): string {
  const { title, statements, tables, evidence } = report;
  const range = factsOf(report).slice(0, 2).map(([, value]) => value).join(" to ");
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escaped(PAGE_POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escaped(`${title}, ${range}`)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
<dl>
${
    factsOf(report).map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`)
      .join("\n")
  }
</dl>
<div class="said">
${statements.map((each) => `<p>${escaped(each)}</p>`).join("\n")}
</div>
<nav aria-label="Contents">
<ul>
${
    [...tables, { name: "evidence", title: "Evidence" }].map(({ name, title: text }) =>
      `<li><a href="#${name}">${escaped(text)}</a></li>`
    ).join("\n")
  }
</ul>
</nav>
${tables.map(sectionText).join("\n")}
<section aria-labelledby="evidence">
<h2 id="evidence">Evidence</h2>
${evidence.statements.map((each) => `<p>${escaped(each)}</p>`).join("\n")}
<h3>Not yet verifiable</h3>
<ul>
${evidence.open.map((each) => `<li>${escaped(each)}</li>`).join("\n")}
</ul>
</section>
</main>
</body>
</html>
`;
}

/** Names of tables are our own and are ids as they are. */
function sectionText(table: ReportTable): string {
  const { name, title, columns, rows, total } = table;
  const heading = `<section aria-labelledby="${name}">\n<h2 id="${name}">${escaped(title)}</h2>`;
  if (rows.length === 0) return `${heading}\n<p>${escaped(emptyText(table))}</p>\n</section>`;
  const shown = rows.length === total ? `${total}` : `the first ${rows.length} of ${total}`;
  const head = columns.map((column) => `<th scope="col">${escaped(column.title)}</th>`).join("");
  const body = rows.map((row) => {
    const cells = row.map((cell, place) => {
      const kind = classOf(cell);
      const text = `${kind === "" ? "" : ` class="${kind}"`}>${escaped(cellText(cell))}`;
      return place === 0 ? `<th scope="row"${text}</th>` : `<td${text}</td>`;
    });
    return `<tr>${cells.join("")}</tr>`;
  });
  return `${heading}
<div class="wide" role="region" aria-labelledby="${name}" tabindex="0">
<table>
<caption>${escaped(title)}: ${shown} ${total === 1 ? "row" : "rows"}</caption>
<thead><tr>${head}</tr></thead>
<tbody>
${body.join("\n")}
</tbody>
</table>
</div>
</section>`;
}

const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$/;
/** What is broken nowhere on a screen, such as a host's name. */
const WORD = /^[^\s]{1,24}$/;
/** Text that may be broken anywhere, in characters. */
const LONG_FROM = 30;

function classOf(cell: Cell): "number" | "time" | "word" | "long" | "" {
  if (typeof cell === "number") return "number";
  if (cell === undefined) return "";
  if (TIME.test(cell)) return "time";
  return WORD.test(cell) ? "word" : cell.length >= LONG_FROM ? "long" : "";
}

const SIGNS: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escaped(text: string): string {
  return spelled(text).replaceAll(/[&<>"']/g, (sign) => SIGNS[sign] ?? "");
}
