/** The description as Markdown: docs/api.md, which a test compares with what the service says of itself. */
import type { ApiDocument } from "../openapi-document.ts";
import { type Form, type Member, type OperationOutline, outlineOf } from "./outline.ts";

const HEAD = `# API

Made from the description that the service gives of itself (\`/openapi.json\`, and as a page
\`/docs\`); not written by hand. What the routes are for is told in [http.md](http.md).
`;

export function apiMarkdown(document: ApiDocument): string {
  const { sections, forms, filters } = outlineOf(document);
  const parts = [
    HEAD,
    ...sections.flatMap((
      { name, operations },
    ) => [`## ${name}\n`, ...operations.map(operationText)]),
    "## Filters\n",
    `Every column is one. ${
      table(["parameter", "what it is"], filters.map(({ name, text }) => [`\`${name}\``, text]))
    }`,
    "## Forms\n",
    ...forms.flatMap(({ name, members }) => [`### ${name}\n`, memberTable(members)]),
  ];
  return parts.join("\n");
}

function operationText(operation: OperationOutline): string {
  const { name, summary, text, parameters, takesFilters, body, answers, problems, calls } =
    operation;
  const rows = parameters.map(({ name, place, form, isNeeded, text }) => [
    `\`${name}\``,
    isNeeded ? `${place}, needed` : place,
    form,
    text,
  ]);
  return [
    `### ${name}\n`,
    `${summary}. ${text}\n`,
    ...(rows.length === 0 ? [] : [table(["parameter", "in", "form", "meaning"], rows)]),
    ...(takesFilters ? ["And every column as a [filter](#filters).\n"] : []),
    ...(body === undefined ? [] : ["Body:\n", formText(body)]),
    ...answers.flatMap(({ status, headers, forms }) => [
      forms.length === 0 ? `**${status}**, without a body.\n` : "",
      ...forms.map((form) => `**${status}** \`${form.type}\`${formText(form)}`),
      headers.length === 0 ? "" : `Headers: ${headers.map(headerText).join(", ")}.\n`,
    ]),
    ...calls.flatMap(({ name, summary, forms }) => [
      `#### ${name}\n`,
      `${summary}.\n`,
      ...forms.map((form) => `\`${form.type}\`${formText(form)}`),
    ]),
    `Problems: ${problems.map(({ status }) => status).join(", ") || "none of its own"}.\n`,
  ].filter((part) => part !== "").join("\n");
}

function formText({ whole, members, example }: Form): string {
  const json = example === undefined
    ? ""
    : `\n\`\`\`json\n${JSON.stringify(example, undefined, 1)}\n\`\`\`\n`;
  return members.length === 0 ? `: ${whole}\n${json}` : `\n\n${memberTable(members)}${json}`;
}

function headerText({ name, text }: Member): string {
  return `\`${name}\` (${text})`;
}

function memberTable(members: readonly Member[]): string {
  const rows = members.map(({ name, form, isNeeded, text }) => [
    `\`${name}\``,
    form,
    isNeeded ? "always" : "",
    text,
  ]);
  return table(["member", "form", "there", "meaning"], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return `\n${line(head)}${line(head.map(() => "---"))}${rows.map(line).join("")}`;
}
