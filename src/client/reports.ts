/**
 * Reports, as the service answers them.
 *
 * as: an object with a list of tables is taken for the answer; its members are what the service says
 */
import {
  type AnswerFacts,
  type Connection,
  factsOf,
  jsonOf,
  request,
  type RequestOptions,
} from "./request.ts";
import type { Condition } from "./record.ts";

export interface ReportTable {
  readonly table: string;
  readonly title: string;
  /** Rows there are; `rows` may be fewer. */
  readonly total: number;
  readonly columns: readonly { readonly name: string; readonly title: string }[];
  readonly rows: readonly Readonly<Record<string, string | number>>[];
}

export interface Report {
  readonly report: string;
  readonly title: string;
  readonly from: string;
  readonly to: string;
  readonly hosts: readonly string[];
  /** Whether the record has no event of this kind in the range. */
  readonly no_change: boolean;
  /** Whether all hosts were watched all the time. */
  readonly watched: boolean;
  /** Whether nothing was cut, and all could be searched. */
  readonly whole: boolean;
  /** What a reader must know. */
  readonly statements: readonly string[];
  readonly tables: readonly ReportTable[];
  readonly evidence: {
    readonly events: number;
    readonly archived: number;
    readonly statements: readonly string[];
    readonly not_yet_verifiable: readonly string[];
  };
}

export interface ReportQuery {
  /** Inclusive; 24 hours before `to` unless given. */
  readonly from?: string;
  /** Exclusive; now unless given. */
  readonly to?: string;
  /** As in a search. */
  readonly host?: Condition;
}

/** Media types of a report as text. */
const REPORT_TYPES = {
  csv: "text/csv",
  markdown: "text/markdown",
  html: "text/html",
} as const;

export interface ReportClient {
  read(
    name: string,
    query?: ReportQuery,
    options?: RequestOptions,
  ): Promise<{ readonly report: Report } & AnswerFacts>;
  /** As text of a form for people or spreadsheets; `isCut` when rows were left out. */
  text(
    name: string,
    query: ReportQuery & { readonly form: keyof typeof REPORT_TYPES },
    options?: RequestOptions,
  ): Promise<{ readonly text: string; readonly isCut: boolean } & AnswerFacts>;
}

export function createReports(connection: Connection): ReportClient {
  const pathOf = (name: string): string => `v1/reports/${encodeURIComponent(name)}`;
  return {
    async read(name, query, options) {
      const parameters = { ...query };
      const response = await request(connection, pathOf(name), { ...options, parameters });
      const value = await jsonOf(response);
      if (typeof value !== "object" || value === null || !("tables" in value)) {
        throw new TypeError("Cannot read a report: the answer has no tables");
      }
      return { ...factsOf(response), report: value as unknown as Report };
    },
    async text(name, { form, ...query }, options) {
      const response = await request(connection, pathOf(name), {
        ...options,
        parameters: { ...query },
        headers: { accept: REPORT_TYPES[form] },
      });
      const isCut = response.headers.get("Probity-Truncated") === "true";
      return { ...factsOf(response), isCut, text: await response.text() };
    },
  };
}
