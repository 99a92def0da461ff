/** `GET /v1/processes/{process_id}`: a process, who started it, whom it started, and what it did. */
import { formatTime } from "../../event/event.ts";
import type { JsonValue, SqlRow } from "../../storage/duckdb.ts";
import { JSON_TYPE } from "../answer.ts";
import { figuresAnswer, figuresOf, type FiguresParts } from "../figures-answer.ts";
import {
  ANCESTORS_DEPTH,
  DESCENDANTS_DEPTH,
  DESCENDANTS_MAX,
  LIST_MAX,
  planDeeds,
  planFamily,
  planLogin,
  planMembers,
  type ProcessRequest,
} from "../planner/processes.ts";
import type { Plan } from "../planner.ts";
import { ProblemError } from "../problem.ts";
import { parseRangeRequest } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import { RANGE_PARAMETERS } from "../schemas.ts";
import { PROCESS_SCHEMA } from "./process-schema.ts";

const ID_FORM = "<boot>-<pid>-<start>, such as 8975aece-8084-5727563";
const ID = /^[0-9a-f]{8}-[0-9]{1,10}-[0-9]{1,16}$/;

const PARAMETERS: readonly RouteParameter[] = [
  ...RANGE_PARAMETERS,
  {
    name: "host",
    text: "Only what this host tells; needed when several hosts tell of the same id",
    schema: { type: "string" },
  },
];

export function processRoute(parts: FiguresParts): Route {
  const { executor, acquire } = parts;
  return {
    method: "GET",
    path: "/v1/processes/{process_id}",
    summary: "A process, its ancestors and descendants, and what it did",
    action: "read",
    pathParameters: [{
      name: "process_id",
      text: ID_FORM,
      schema: { type: "string", pattern: ID.source },
      example: "8975aece-8084-5727563",
    }],
    parameters: PARAMETERS,
    answers: { [JSON_TYPE]: PROCESS_SCHEMA },
    problems: [409],
    async handle(call) {
      const request = requestOf(call);
      using lease = acquire();
      const { principal } = call;
      const plans: Plan[] = [];
      const read = (plan: Plan): Promise<SqlRow[]> => {
        plans.push(plan);
        return figuresOf(executor, plan, call);
      };
      const family = await read(planFamily(request, principal, lease.view));
      const host = hostOf(family, request);
      const members = family.map(({ process_id: id }) => String(id));
      const facts = await read(
        planMembers({ ...request, host, members }, principal, lease.view),
      );
      const deeds = await read(planDeeds({ ...request, host }, principal, lease.view));
      const login = await loginOf(facts, request.processId, (session, untilUs) =>
        read(planLogin(
          { ...request, toUs: Math.min(request.toUs, untilUs), host, session },
          ...[principal, lease.view] as const,
        )));
      const value = {
        from: formatTime(request.fromUs),
        to: formatTime(request.toUs),
        host,
        ...login,
        ...familyOf(family, facts),
        activity: activityOf(deeds),
      };
      const plan = {
        steps: plans.flatMap(({ steps }) => steps),
        prunedFiles: Math.min(...plans.map(({ prunedFiles }) => prunedFiles)),
        missing: lease.view.missing,
      };
      const parameters = { process_id: request.processId };
      return figuresAnswer(call, { plan, value, rows: members.length, parameters });
    },
  };
}

function requestOf({ pathValue, parameters, time }: Call): ProcessRequest {
  if (!ID.test(pathValue)) {
    throw new ProblemError(400, `"${pathValue.slice(0, 100)}" is not the id of a process`, {
      parameter: "process_id",
      accepted: ID_FORM,
    });
  }
  return { ...parseRangeRequest(parameters, time), processId: pathValue };
}

/** The one host that tells of the process. Throws 404 when none does, 409 when several do. */
function hostOf(family: readonly SqlRow[], { fromUs, toUs }: ProcessRequest): string {
  const [host, ...others] = new Set(family.map((row) => String(row["host"])));
  if (host === undefined) {
    const range = `${formatTime(fromUs)} to ${formatTime(toUs)}`;
    throw new ProblemError(404, `Nothing is known of this process from ${range}`, {
      parameter: "process_id",
      accepted: `a process that was active in the range; "from" and "to" name another`,
    });
  }
  if (others.length === 0) return host;
  const all = [host, ...others].slice(0, LIST_MAX);
  throw new ProblemError(409, `Several hosts tell of this process: ${all.join(", ")}`, {
    parameter: "host",
    accepted: "the name of one of them",
  });
}

type Values = Readonly<Record<string, unknown>>;

/** A login is told at most so long after the first thing that was done in its session, µs. */
const LOGIN_LATE_US = 60_000_000;

/**
 * The login that the process's session began with, if the range tells of it. What ended with its host never said so:
 * after what it did last, the session's number may be another's.
 */
async function loginOf(
  facts: readonly SqlRow[],
  processId: string,
  find: (session: string, untilUs: number) => Promise<readonly SqlRow[]>,
): Promise<{ readonly login?: Values }> {
  const own = facts.find(({ process_id: id }) => id === processId);
  const { session, exited, told } = own ?? {};
  if (typeof session !== "string") return {};
  const untilUs = typeof exited === "string"
    ? Date.parse(exited) * 1000 + 1000
    : Date.parse(String(told)) * 1000 + LOGIN_LATE_US;
  const [row] = await find(session, untilUs);
  return row === undefined ? {} : { login: present(row) };
}

function familyOf(family: readonly SqlRow[], facts: readonly SqlRow[]): Values {
  const known = new Map(facts.map((row) => [row["process_id"], row]));
  const inRole = (role: string): readonly SqlRow[] => family.filter((row) => row["role"] === role);
  const described = (row: SqlRow): Values => describe(row, known.get(row["process_id"] ?? ""));
  const ancestors = inRole("ancestor");
  const descendants = inRole("descendant");
  const total = Number(descendants[0]?.["total"] ?? 0);
  const isDeep = descendants.some(({ depth }) => Number(depth) >= DESCENDANTS_DEPTH);
  const [self] = inRole("process");
  return {
    process: self === undefined ? {} : described(self),
    // The walk through a circle, which only false events can make, ends where it begins anew.
    ancestors: ancestors.filter((row, at) =>
      ancestors.findIndex(({ process_id: id }) => id === row["process_id"]) === at
    ).map(described),
    ancestors_cut: ancestors.some(({ depth }) => Number(depth) >= ANCESTORS_DEPTH),
    descendants: {
      total,
      cut: total > DESCENDANTS_MAX || isDeep,
      processes: descendants.map((row) => ({ ...described(row), depth: row["depth"] })),
    },
  };
}

/** What its own events say, else what those of others say of it; absent fields are left out. */
function describe(row: SqlRow, facts: SqlRow | undefined): Values {
  const id = String(row["process_id"]);
  const parent = row["parent"] ?? null;
  const { process_id: _id, told: _told, rows, forked, exited, ...known } = facts ?? {};
  const { duration_ms: lived, ...more } = known;
  return present({
    process_id: id,
    pid: pidOf(id),
    parent_process_id: parent,
    ppid: parent === null ? null : pidOf(String(parent)),
    started: forked ?? startOf(exited, lived),
    ended: exited,
    duration_ms: lived,
    ...more,
    exe: facts?.["exe"] ?? row["exe"],
    comm: facts?.["comm"] ?? row["comm"],
    events: rows ?? 0,
  });
}

function pidOf(id: string): number | null {
  const pid = Number(id.split("-")[1]);
  return Number.isSafeInteger(pid) ? pid : null;
}

function startOf(exited: JsonValue | undefined, livedMs: JsonValue | undefined): string | null {
  if (typeof exited !== "string" || typeof livedMs !== "number") return null;
  const endMs = Date.parse(exited);
  return formatTime((endMs - livedMs) * 1000);
}

function activityOf(deeds: readonly SqlRow[]): Values {
  const of = (kind: string): readonly SqlRow[] => deeds.filter((row) => row["kind"] === kind);
  const list = (rows: readonly SqlRow[], fields: readonly string[]): Values => ({
    total: Number(rows[0]?.["total"] ?? 0),
    values: rows.map((row) =>
      present({
        ...Object.fromEntries(fields.map((name) => [name, row[name]])),
        count: row["rows"],
        first: row["first"],
        last: row["last"],
      })
    ),
  });
  const peer = ["direction", "address", "port", "protocol", "bytes_in", "bytes_out"];
  return {
    topics: list(of("topic"), ["topic"]),
    peers: list(of("peer"), peer),
    files: list(of("file"), ["path", "topics"]),
  };
}

function present(values: Values): Values {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== null && value !== undefined),
  );
}
