/** What `GET /v1/hosts` and `GET /v1/hosts/{host}` answer. */
import { type } from "arktype";
import { RANGES_MAX } from "../coverage/host-coverage.ts";
import { FLAG, TEXT, TIME, WHOLE } from "../json-schema.ts";

const SPAN = { from: TIME, to: TIME } as const;

const SEEN = {
  last_seen: TIME.or("null").describe("its last event"),
  count: WHOLE.describe("events in the range"),
  state: type("'watched' | 'blind' | 'silent' | 'stopped' | 'unknown'")
    .describe("at the end of the range; unknown: no agent told anything"),
  "since?": TIME.describe("of the state, not before the range"),
  "version?": TEXT.describe("of the agent"),
  "boot?": TEXT.describe("of the host, as in ids of processes"),
  "off?": TEXT.array().describe("sources that are off"),
} as const;

const WHOLE_ANSWER = {
  ...SPAN,
  agents_visible: FLAG.describe(
    "whether the token may see what agents say; without, states are unknown",
  ),
  cut: FLAG.describe("whether there was more than one answer reads"),
} as const;

export const HOSTS_SCHEMA = type({
  ...WHOLE_ANSWER,
  "known_from?": TIME.describe(
    "a host that was heard of only before this moment may not be here: files are not tallied yet",
  ),
  hosts: type({ host: TEXT, ...SEEN, gaps: WHOLE.describe("events that tell gaps") }).array(),
});

const RANGE = {
  ...SPAN,
  "cause?": TEXT.describe("why it was not watched, or not whole"),
  "reason?": TEXT,
  "count?": WHOLE.describe("events that are missing; absent when nobody knows"),
} as const;

const LISTED = `by time, at most ${RANGES_MAX}`;

export const HOST_SCHEMA = type({
  ...WHOLE_ANSWER,
  host: TEXT,
  ...SEEN,
  presence: {
    total: WHOLE,
    values: type({
      ...SPAN,
      state: "'here' | 'away' | 'unknown'",
      "cause?": "'stopped' | 'upgraded' | 'rebooted' | 'restarted' | 'silent'",
      ...{ "version?": TEXT, "version_before?": TEXT, "boot?": TEXT },
    }).array().describe(LISTED),
  },
  sources: type({
    source: TEXT,
    ranges: {
      total: WHOLE,
      values: type({ ...RANGE, state: "'watched' | 'partial' | 'unwatched' | 'unknown'" })
        .array().describe(LISTED),
    },
  }).array(),
  gaps: {
    total: WHOLE,
    values: type({
      ...RANGE,
      ...{ "state?": TEXT, "class?": TEXT, "sources?": TEXT.array(), "agent?": TEXT },
      "events?": WHOLE.describe("that told it"),
      "id?": TEXT.describe("of the first of them"),
    }).array().describe(LISTED),
  },
  "changes?": {
    total: WHOLE,
    values: type({
      time: TIME,
      what: "'start' | 'stop' | 'config'",
      ...{ "agent?": TEXT, "version?": TEXT, "boot?": TEXT, "config_sha256?": TEXT },
      ...{ "outcome?": TEXT, "changed?": TEXT.array() },
    }).array().describe(LISTED),
  },
});
