/** The schema of what `GET /v1/contexts` answers: spans as crypto-auditing's query tool writes them. */
import { DEPTH_MAX } from "../contexts/tree.ts";
import { GENERATIONS_MAX } from "../contexts/read-contexts.ts";
import { CONTEXT_EVENTS_MAX } from "../planner/contexts.ts";
import type { Schema } from "../route.ts";

const TEXT = { type: "string" } as const;
const TIME = { type: "string", format: "date-time" } as const;
const SECONDS = { type: "number", description: "seconds since the Unix epoch" } as const;

const PROPERTIES = {
  ...{ from: TIME, to: TIME },
  cut: {
    type: "boolean",
    description:
      `whether a tree may lack something: it needs more than ${CONTEXT_EVENTS_MAX} events outside of the page, ` +
      `looks for more than ${GENERATIONS_MAX} generations there, or is deeper than ${DEPTH_MAX}`,
  },
  contexts: {
    type: "array",
    description: "by their begin",
    items: {
      type: "object",
      required: ["host", "context", "origin", "executable", "start", "end", "events"],
      properties: {
        host: TEXT,
        context: TEXT,
        origin: { ...TEXT, description: "build id of the library" },
        executable: TEXT,
        ...{ start: SECONDS, end: SECONDS },
        events: { type: "object", description: "name and data by key; of several, the last" },
        names: { type: "object", description: "what IANA calls values of events, by key" },
        spans: {
          type: "array",
          description: "those inside, of the same form",
          items: { type: "object" },
        },
      },
    },
  },
} as const;

export const CONTEXT_SCHEMA: Schema = {
  type: "object",
  required: ["from", "to", "cut", "contexts"],
  properties: PROPERTIES,
};

export const CONTEXTS_SCHEMA: Schema = {
  type: "object",
  required: ["from", "to", "cut", "contexts", "next"],
  properties: {
    ...PROPERTIES,
    next: {
      type: ["string", "null"],
      description: "cursor of the next page, which may have no tree; null on the last",
    },
  },
};
