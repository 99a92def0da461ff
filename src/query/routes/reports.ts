/** `GET /v1/reports/{name}`: a report over a range and hosts, for programs, spreadsheets, texts and people. */
import { negotiate, type Offer } from "../accept.ts";
import { CSV_TYPE, JSON_TYPE, readHeaders } from "../answer.ts";
import { scanOf } from "../executor.ts";
import type { FiguresParts } from "../figures-answer.ts";
import { planOf } from "./hosts.ts";
import { ProblemError } from "../problem.ts";
import { REPORT_NAMES, type ReportName } from "../reports/kinds.ts";
import { readReport } from "../reports/read-report.ts";
import type { Report } from "../reports/report.ts";
import { writeCsv } from "../reports/write-csv.ts";
import { PAGE_POLICY, writeHtml } from "../reports/write-html.ts";
import { reportJson } from "../reports/write-json.ts";
import { writeMarkdown } from "../reports/write-markdown.ts";
import { parseRangeRequest } from "../request.ts";
import type { Route, RouteParameter } from "../route.ts";
import { FILTER_PARAMETERS, RANGE_PARAMETERS } from "../schemas.ts";
import { REPORT_SCHEMA } from "./report-schema.ts";
import type { DeletionReader } from "../reports/deletions.ts";

type Form = "json" | "csv" | "markdown" | "html";

const MARKDOWN_TYPE = "text/markdown; charset=utf-8";
const HTML_TYPE = "text/html; charset=utf-8";

const OFFERS: readonly Offer<Form>[] = [
  { form: "json", types: [JSON_TYPE] },
  { form: "csv", types: ["text/csv"] },
  { form: "markdown", types: ["text/markdown"] },
  { form: "html", types: ["text/html", "application/xhtml+xml"] },
];

const PARAMETERS: readonly RouteParameter[] = [
  ...RANGE_PARAMETERS,
  ...FILTER_PARAMETERS.filter(({ name }) => name === "host"),
];

export interface ReportParts extends FiguresParts {
  /** What retention and others removed. */
  readonly deletions: DeletionReader;
}

export function reportRoute({ executor, acquire, deletions }: ReportParts): Route {
  return {
    method: "GET",
    path: "/v1/reports/{name}",
    summary: "A report over a range and hosts, with what was not watched and what can be shown",
    action: "read",
    pathParameters: [{
      name: "name",
      text: "Which report",
      schema: { type: "string", enum: REPORT_NAMES },
    }],
    parameters: PARAMETERS,
    answers: {
      [JSON_TYPE]: REPORT_SCHEMA,
      "text/csv": { type: "string" },
      "text/markdown": { type: "string" },
      "text/html": { type: "string" },
    },
    answerHeaders: {
      "Probity-Truncated": "whether rows were left out, or not all gaps were read",
      "Content-Security-Policy": "nothing but the page's own style",
      "Referrer-Policy": "none is told",
      "X-Content-Type-Options": "the form is the one that is named",
    },
    problems: [406],
    async handle(call) {
      const name = nameOf(call.pathValue);
      const form = negotiate(call.request.headers.get("accept") ?? undefined, OFFERS);
      const request = parseRangeRequest(call.parameters, call.time);
      using lease = acquire();
      const read = { name, request, executor, deletions, view: lease.view };
      const { report, plans, isCut } = await readReport(call, read);
      const { text, type } = written(report, form);
      const { steps, prunedFiles, missing } = planOf(plans);
      const given = Object.fromEntries([...call.parameters].map(([key, [value]]) => [key, value]));
      call.report({
        rows: report.tables.reduce((sum, { rows }) => sum + rows.length, 0),
        bytes: Buffer.byteLength(text),
        parameters: { ...given, report: name, form },
      });
      const scan = scanOf(new Set(steps.flatMap(({ files }) => files)));
      return new Response(text, {
        headers: {
          ...readHeaders({ scan, prunedFiles, missing }),
          "Probity-Truncated": String(isCut),
          "Content-Type": type,
          "Content-Security-Policy": `${PAGE_POLICY}; frame-ancestors 'none'`,
          "Referrer-Policy": "no-referrer",
          "X-Content-Type-Options": "nosniff",
        },
      });
    },
  };
}

function nameOf(text: string): ReportName {
  const name = REPORT_NAMES.find((each) => each === text);
  if (name !== undefined) return name;
  throw new ProblemError(404, `There is no report "${text.slice(0, 100)}"`, {
    parameter: "name",
    accepted: REPORT_NAMES.join(", "),
  });
}

function written(
  report: Report,
  form: Form,
): { readonly text: string; readonly type: string } {
  switch (form) {
    case "json":
      return { text: `${JSON.stringify(reportJson(report))}\n`, type: JSON_TYPE };
    case "csv":
      return { text: writeCsv(report), type: CSV_TYPE };
    case "markdown":
      return { text: writeMarkdown(report), type: MARKDOWN_TYPE };
    case "html":
      return { text: writeHtml(report), type: HTML_TYPE };
  }
}
