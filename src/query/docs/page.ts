/**
 * The description as one HTML page: no script, nothing from elsewhere, and nothing of the service's state, so that it
 * can be shown to whoever comes.
 *
 * Invariant: whatever is not markup of this file is escaped.
 */
import { createHash } from "node:crypto";
import type { ApiDocument } from "../openapi-document.ts";
import { type Form, type Member, type OperationOutline, outlineOf } from "./outline.ts";

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; grid-template-columns: minmax(14rem, 18rem) minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1rem; font-size: .9rem;
  box-sizing: border-box; border-right: 1px solid #8886; }
nav h2 { font-size: 1rem; margin: 1rem 0 .25rem; }
nav ul { list-style: none; margin: 0 0 1rem; padding: 0; }
nav a { display: block; padding: .15rem 0; text-decoration: none; overflow-wrap: anywhere; }
nav a:hover, nav a:focus { text-decoration: underline; }
main { padding: 1rem 2rem 4rem; max-width: 70rem; }
article { border-top: 1px solid #8886; padding-top: .5rem; margin-top: 2rem; }
h3, code, pre { font-family: ui-monospace, monospace; }
h3, h4 { overflow-wrap: anywhere; }
h4 code { font-size: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0;
  border-bottom: 1px solid #8884; }
thead th { white-space: nowrap; }
pre { padding: .75rem; overflow-x: auto; background: #8881; font-size: .85rem; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; }
@media (max-width: 50rem) { body { display: block; } nav { position: static; height: auto; } }
@media print { nav { display: none; } body { display: block; } article { break-inside: avoid; } }
`;

/** What the page may do: apply its own style, and nothing else. */
export const PAGE_POLICY = "default-src 'none'; style-src 'sha256-" +
  createHash("sha256").update(STYLE).digest("base64") +
  "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export function apiPage(document: ApiDocument): string {
  const { title, text, sections, forms, filters } = outlineOf(document);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}: API</title>
<style>${STYLE}</style>
</head>
<body>
<a class="skip" href="#content">To the routes</a>
<nav aria-label="Routes">
${
    sections.map(({ name, operations }) =>
      `<h2>${escaped(name)}</h2>\n<ul>${
        operations.map(({ id, name }) => `<li><a href="#${id}">${escaped(name)}</a></li>`).join("")
      }</ul>`
    ).join("\n")
  }
<h2>Forms</h2>
<ul><li><a href="#filters">Filters</a></li>${
    forms.map(({ name }) => `<li><a href="#form-${name}">${escaped(name)}</a></li>`).join("")
  }</ul>
</nav>
<main id="content">
<h1>${escaped(title)}: API</h1>
<p>${escaped(text)}</p>
${
    sections.map(({ name, operations }) =>
      `<section>\n<h2>${escaped(name)}</h2>\n${
        operations.map(operationHtml).join("\n")
      }\n</section>`
    ).join("\n")
  }
<section>
<h2 id="filters">Filters</h2>
${
    table(
      "Every column is one",
      ["parameter", "meaning"],
      filters.map((each) => [code(each.name), prose(each.text)]),
    )
  }
</section>
<section>
<h2>Forms</h2>
${
    forms.map(({ name, members }) =>
      `<article>\n<h3 id="form-${name}">${escaped(name)}</h3>\n${
        memberTable(name, members)
      }\n</article>`
    ).join("\n")
  }
</section>
</main>
</body>
</html>
`;
}

function operationHtml(operation: OperationOutline): string {
  const { id, name, summary, text, parameters, takesFilters, body, answers, problems, calls } =
    operation;
  const rows = parameters.map(({ name, place, form, isNeeded, text }) => [
    code(name),
    isNeeded ? `${place}, needed` : place,
    escaped(form),
    prose(text),
  ]);
  return `<article>
<h3 id="${id}">${escaped(name)}</h3>
<p>${escaped(summary)}. ${escaped(text)}</p>
${rows.length === 0 ? "" : table("Parameters", ["name", "in", "form", "meaning"], rows)}
${takesFilters ? '<p>And every column as a <a href="#filters">filter</a>.</p>' : ""}
${body === undefined ? "" : formHtml("Body", body)}
${
    answers.map(({ status, text, headers, forms }) =>
      (forms.length === 0 ? `<p>${status}: ${escaped(text)}</p>\n` : "") +
      forms.map((form) => formHtml(status, form)).join("\n") +
      (headers.length === 0
        ? ""
        : table(`${status}: headers`, ["name", "meaning"], headers.map(headerRow)))
    ).join("\n")
  }
${
    calls.map(({ name, summary, forms }) =>
      `<h4>${code(name)}</h4>\n<p>${escaped(summary)}.</p>\n` +
      forms.map((form) => formHtml(name, form)).join("\n")
    ).join("\n")
  }
${
    problems.length === 0 ? "" : table(
      "Problems",
      ["status", "when"],
      problems.map((each) => [each.status, prose(each.text)]),
    )
  }
</article>`;
}

function formHtml(what: string, { type, whole, members, example }: Form): string {
  const title = `${what}: ${type}`;
  const shown = example === undefined
    ? ""
    : `<pre tabindex="0" aria-label="Example">${
      escaped(JSON.stringify(example, undefined, 1))
    }</pre>`;
  const form = members.length === 0
    ? `<p>${escaped(title)}: ${escaped(whole)}</p>`
    : memberTable(title, members);
  return `${form}\n${shown}`;
}

function memberTable(title: string, members: readonly Member[]): string {
  const rows = members.map(({ name, form, isNeeded, text }) => [
    code(name),
    escaped(form),
    isNeeded ? "always" : "",
    prose(text),
  ]);
  return table(title, ["member", "form", "there", "meaning"], rows);
}

function headerRow({ name, text }: Member): readonly string[] {
  return [code(name), prose(text)];
}

/** The first cell of a row is its heading. Cells are HTML. */
function table(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const heads = head.map((each) => `<th scope="col">${each}</th>`).join("");
  const body = rows.map(([first = "", ...others]) =>
    `<tr><th scope="row">${first}</th>${others.map((each) => `<td>${each}</td>`).join("")}</tr>`
  ).join("\n");
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escaped(caption)}"><table>` +
    `<caption>${escaped(caption)}</caption>\n<thead><tr>${heads}</tr></thead>\n` +
    `<tbody>${body}</tbody></table></div>`;
}

function code(text: string): string {
  return `<code>${escaped(text)}</code>`;
}

/** Text in which backticks mark code. */
function prose(text: string): string {
  return escaped(text).replaceAll(/`([^`]*)`/g, "<code>$1</code>");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;").replaceAll("'", "&#39;");
}
