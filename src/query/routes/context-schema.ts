/** The schema of what `GET /v1/contexts` answers: spans as crypto-auditing's query tool writes them. */
import { DEPTH_MAX } from "../contexts/tree.ts";
import { CONTEXT_EVENTS_MAX } from "../planner/contexts.ts";
import type { Schema } from "../route.ts";

const TEXT = { type: "string" } as const;
const TIME = { type: "string", format: "date-time" } as const;
const SECONDS = { type: "number", description: "seconds since the Unix epoch" } as const;

export const CONTEXTS_SCHEMA: Schema = {
  type: "object",
  required: ["from", "to", "cut", "contexts"],
  properties: {
    ...{ from: TIME, to: TIME },
    cut: {
      type: "boolean",
      description:
        `whether there is more: beyond the limit, ${CONTEXT_EVENTS_MAX} events, or ${DEPTH_MAX} generations`,
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
          spans: {
            type: "array",
            description: "those inside, of the same form",
            items: { type: "object" },
          },
        },
      },
    },
  },
};
