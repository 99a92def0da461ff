/** The schema of what `GET /v1/processes/{process_id}` answers. */
import { DESCENDANTS_MAX, LIST_MAX } from "../planner/processes.ts";
import type { Schema } from "../route.ts";

const TEXT = { type: "string" } as const;
const TIME = { type: "string", format: "date-time" } as const;
const NUMBER = { type: "number" } as const;
const WHOLE = { type: "integer" } as const;
const FIGURES = { count: WHOLE, first: TIME, last: TIME } as const;

const MEMBER: Schema = {
  type: "object",
  required: ["process_id", "events"],
  description: "as its last events say; what no event says is absent",
  properties: {
    process_id: TEXT,
    pid: WHOLE,
    parent_process_id: { ...TEXT, description: "who forked it, if that was seen" },
    ppid: WHOLE,
    started: { ...TIME, description: "its fork, or its exit less its duration" },
    ended: TIME,
    duration_ms: NUMBER,
    exit_code: WHOLE,
    signal: WHOLE,
    execs: { ...WHOLE, description: "images it ran" },
    ...{ exe: TEXT, comm: TEXT, cmdline: TEXT, cwd: TEXT, user: TEXT, uid: WHOLE },
    ...{ auid_user: TEXT, session: TEXT, container: TEXT, unit: TEXT },
    events: { ...WHOLE, description: "events of its own; 0: others name it" },
    depth: { ...WHOLE, description: "of a descendant: generations from the process" },
  },
};

export const PROCESS_SCHEMA: Schema = {
  type: "object",
  required: ["from", "to", "host", "process", "ancestors", "descendants", "activity"],
  properties: {
    from: TIME,
    to: TIME,
    host: TEXT,
    process: MEMBER,
    ancestors: { type: "array", description: "the parent first", items: MEMBER },
    ancestors_cut: { type: "boolean", description: "whether there are more" },
    descendants: {
      type: "object",
      required: ["total", "cut", "processes"],
      properties: {
        total: WHOLE,
        cut: { type: "boolean", description: "whether there are more than are given" },
        processes: {
          type: "array",
          description: `at most ${DESCENDANTS_MAX}, generation after generation`,
          items: MEMBER,
        },
      },
    },
    activity: {
      type: "object",
      required: ["topics", "peers", "files"],
      properties: {
        topics: listOf({ topic: TEXT }),
        peers: listOf({
          direction: { ...TEXT, enum: ["out", "in"] },
          address: TEXT,
          port: { ...WHOLE, description: "that was connected to" },
          protocol: TEXT,
          bytes_in: WHOLE,
          bytes_out: WHOLE,
        }),
        files: listOf({ path: TEXT, topics: { type: "array", items: TEXT } }),
      },
    },
  },
};

function listOf(properties: Schema): Schema {
  return {
    type: "object",
    required: ["total", "values"],
    properties: {
      total: WHOLE,
      values: {
        type: "array",
        description: `the ${LIST_MAX} with the most events`,
        items: { type: "object", properties: { ...properties, ...FIGURES } },
      },
    },
  };
}
