/** The schemas of what `GET /v1/hosts` and `GET /v1/hosts/{host}` answer. */
import { RANGES_MAX } from "../coverage/host-coverage.ts";
import type { Schema } from "../route.ts";

const TEXT = { type: "string" } as const;
const TIME = { type: "string", format: "date-time" } as const;
const WHOLE = { type: "integer" } as const;
const TEXTS = { type: "array", items: TEXT } as const;
const SPAN = { from: TIME, to: TIME } as const;

const SEEN = {
  last_seen: { type: ["string", "null"], format: "date-time", description: "its last event" },
  count: { ...WHOLE, description: "events in the range" },
  state: {
    ...TEXT,
    enum: ["watched", "blind", "silent", "stopped", "unknown"],
    description: "at the end of the range; unknown: no agent told anything",
  },
  since: { ...TIME, description: "of the state, not before the range" },
  version: { ...TEXT, description: "of the agent" },
  boot: { ...TEXT, description: "of the host, as in ids of processes" },
  off: { ...TEXTS, description: "sources that are off" },
} as const;

const WHOLE_ANSWER = {
  ...SPAN,
  agents_visible: {
    type: "boolean",
    description: "whether the token may see what agents say; without, states are unknown",
  },
  cut: { type: "boolean", description: "whether there was more than one answer reads" },
} as const;

export const HOSTS_SCHEMA: Schema = {
  type: "object",
  required: ["from", "to", "agents_visible", "cut", "hosts"],
  properties: {
    ...WHOLE_ANSWER,
    hosts: {
      type: "array",
      items: {
        type: "object",
        required: ["host", "last_seen", "count", "gaps", "state"],
        properties: {
          host: TEXT,
          ...SEEN,
          gaps: { ...WHOLE, description: "events that tell gaps" },
        },
      },
    },
  },
};

const RANGE = {
  ...SPAN,
  state: TEXT,
  cause: { ...TEXT, description: "why it was not watched, or not whole" },
  reason: TEXT,
  count: { ...WHOLE, description: "events that are missing; absent when nobody knows" },
} as const;

export const HOST_SCHEMA: Schema = {
  type: "object",
  required: ["from", "to", "host", "last_seen", "count", "state", "presence", "sources", "gaps"],
  properties: {
    ...WHOLE_ANSWER,
    host: TEXT,
    ...SEEN,
    presence: listOf({
      ...SPAN,
      state: { ...TEXT, enum: ["here", "away", "unknown"] },
      cause: { ...TEXT, enum: ["stopped", "upgraded", "rebooted", "restarted", "silent"] },
      ...{ version: TEXT, version_before: TEXT, boot: TEXT },
    }),
    sources: {
      type: "array",
      items: {
        type: "object",
        required: ["source", "ranges"],
        properties: {
          source: TEXT,
          ranges: listOf({
            ...RANGE,
            state: { ...TEXT, enum: ["watched", "partial", "unwatched", "unknown"] },
          }),
        },
      },
    },
    gaps: listOf({
      ...RANGE,
      ...{ class: TEXT, sources: TEXTS, agent: TEXT },
      events: { ...WHOLE, description: "that told it" },
      id: { ...TEXT, description: "of the first of them" },
    }),
    changes: listOf({
      time: TIME,
      what: { ...TEXT, enum: ["start", "stop", "config"] },
      ...{ agent: TEXT, version: TEXT, boot: TEXT, config_sha256: TEXT, outcome: TEXT },
      changed: TEXTS,
    }),
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
        description: `by time, at most ${RANGES_MAX}`,
        items: { type: "object", properties },
      },
    },
  };
}
