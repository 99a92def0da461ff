/** The schema of what `GET /v1/reports/{name}` answers in JSON. */
import { REPORT_ROWS_MAX } from "../planner/reports.ts";
import { REPORT_NAMES } from "../reports/kinds.ts";
import type { Schema } from "../route.ts";

const TEXT = { type: "string" } as const;
const TIME = { type: "string", format: "date-time" } as const;
const FLAG = { type: "boolean" } as const;
const WHOLE = { type: "integer" } as const;
const TEXTS = { type: "array", items: TEXT } as const;
const ALL_OR_LIST = { oneOf: [{ const: "all" }, TEXTS] } as const;

export const REPORT_SCHEMA: Schema = {
  type: "object",
  required: ["report", "title", "from", "to", "hosts", "sees", "no_change", "watched", "whole"],
  properties: {
    report: { ...TEXT, enum: REPORT_NAMES },
    title: TEXT,
    ...{ from: TIME, to: TIME },
    hosts: { ...TEXTS, description: "that the report is about" },
    sees: {
      type: "object",
      description: "what the token sees",
      properties: { topics: ALL_OR_LIST, hosts: ALL_OR_LIST },
    },
    no_change: {
      ...FLAG,
      description: "whether the record, searched and seen whole, has no event of this kind",
    },
    watched: { ...FLAG, description: "whether all hosts were watched all the time" },
    whole: { ...FLAG, description: "whether nothing was cut, and all could be searched" },
    statements: { ...TEXTS, description: "what a reader must know" },
    tables: {
      type: "array",
      items: {
        type: "object",
        required: ["table", "title", "total", "columns", "rows"],
        properties: {
          ...{ table: TEXT, title: TEXT, total: WHOLE },
          columns: {
            type: "array",
            items: { type: "object", properties: { name: TEXT, title: TEXT } },
          },
          rows: {
            type: "array",
            description: `at most ${REPORT_ROWS_MAX}, of "total"; absent cells are left out`,
            items: { type: "object" },
          },
        },
      },
    },
    evidence: {
      type: "object",
      required: ["events", "archived", "statements", "not_yet_verifiable"],
      properties: {
        events: { ...WHOLE, description: "of the range, of any kind" },
        archived: { ...WHOLE, description: "of the events" },
        ...{ statements: TEXTS, not_yet_verifiable: TEXTS },
      },
    },
  },
};
