/** What `GET /v1/processes/{process_id}` answers. */
import { type } from "arktype";
import { FLAG, NUMBER, TEXT, TIME, WHOLE } from "../json-schema.ts";
import { DESCENDANTS_MAX, LIST_MAX } from "../planner/processes.ts";

const FIGURES = { count: WHOLE, first: TIME, last: TIME } as const;

const MEMBER = type({
  process_id: TEXT,
  "pid?": WHOLE,
  "parent_process_id?": TEXT.describe("who forked it, if that was seen"),
  "ppid?": WHOLE,
  "started?": TIME.describe("its fork, or its exit less its duration"),
  "ended?": TIME,
  "duration_ms?": NUMBER,
  "exit_code?": WHOLE,
  "signal?": WHOLE,
  "execs?": WHOLE.describe("images it ran"),
  ...{ "exe?": TEXT, "comm?": TEXT, "cmdline?": TEXT, "cwd?": TEXT, "user?": TEXT, "uid?": WHOLE },
  ...{ "auid?": WHOLE.describe("who logged in, whoever they became since") },
  ...{ "auid_user?": TEXT, "session?": TEXT, "container?": TEXT, "unit?": TEXT },
  events: WHOLE.describe("events of its own; 0: others name it"),
  "depth?": WHOLE.describe("of a descendant: generations from the process"),
}).describe("as its last events say; what no event says is absent");

const LISTED = `the ${LIST_MAX} with the most events`;

export const PROCESS_SCHEMA = type({
  from: TIME,
  to: TIME,
  host: TEXT,
  "login?": type({
    time: TIME,
    ...{ id: TEXT, session: TEXT, "user?": TEXT, "src_ip?": TEXT },
    ...{ "remote?": TEXT, "method?": TEXT, "tty?": TEXT },
  }).describe("that the process's session began with, if the range tells of it"),
  process: MEMBER,
  ancestors: MEMBER.array().describe("the parent first"),
  ancestors_cut: FLAG.describe("whether there are more"),
  descendants: {
    total: WHOLE,
    cut: FLAG.describe("whether there are more than are given"),
    processes: MEMBER.array().describe(
      `at most ${DESCENDANTS_MAX}, generation after generation`,
    ),
  },
  activity: {
    topics: { total: WHOLE, values: type({ topic: TEXT, ...FIGURES }).array().describe(LISTED) },
    peers: {
      total: WHOLE,
      values: type({
        direction: "'out' | 'in'",
        address: TEXT,
        "port?": WHOLE.describe("that was connected to"),
        "protocol?": TEXT,
        "bytes_in?": WHOLE,
        "bytes_out?": WHOLE,
        ...FIGURES,
      }).array().describe(LISTED),
    },
    files: {
      total: WHOLE,
      values: type({ path: TEXT, topics: TEXT.array(), ...FIGURES }).array().describe(LISTED),
    },
  },
});
