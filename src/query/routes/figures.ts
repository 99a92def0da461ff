/** `GET /v1/topics` and `GET /v1/hosts`: what there is, with counts over a range of time. */
import { JSON_TYPE, jsonResponse, readHeaders } from "../answer.ts";
import { type Executor, scanOf, withinTime } from "../executor.ts";
import { type Plan, planHosts, planTopics } from "../planner.ts";
import type { ViewLease } from "../read-view.ts";
import { parseRangeRequest } from "../request.ts";
import type { Call, Route } from "../route.ts";
import { RANGE_PARAMETERS } from "../schemas.ts";
import type { SqlRow } from "../../storage/duckdb.ts";

export interface FiguresParts {
  readonly executor: Executor;
  readonly acquire: () => ViewLease;
}

export function topicsRoute(parts: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/topics",
    summary: "Topics and the topics above them, with their numbers of events",
    action: "read",
    parameters: RANGE_PARAMETERS,
    takesFilters: true,
    answers: { [JSON_TYPE]: listSchema("topics", { topic: "string", count: "integer" }) },
    async handle(call) {
      using lease = parts.acquire();
      const plan = planTopics(requestOf(call), call.principal, lease.view);
      const rows = await rowsOf(parts.executor, plan, call);
      return answer(call, { plan, name: "topics", list: topicTree(rows) });
    },
  };
}

export function hostsRoute(parts: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/hosts",
    summary: "Hosts with their last event, number of events and number of gaps",
    action: "read",
    parameters: RANGE_PARAMETERS,
    takesFilters: true,
    answers: {
      [JSON_TYPE]: listSchema("hosts", {
        host: "string",
        last_seen: "string",
        count: "integer",
        gaps: "integer",
      }),
    },
    async handle(call) {
      using lease = parts.acquire();
      const plan = planHosts(requestOf(call), call.principal, lease.view);
      const rows = await rowsOf(parts.executor, plan, call);
      const list = rows.filter(({ host }) => host !== null)
        .map(({ host, last_seen, rows: count, gaps }) => ({ host, last_seen, count, gaps }));
      return answer(call, { plan, name: "hosts", list });
    },
  };
}

function requestOf({ parameters, time }: Call): ReturnType<typeof parseRangeRequest> {
  return parseRangeRequest(parameters, time);
}

function rowsOf(executor: Executor, { steps }: Plan, call: Call): Promise<SqlRow[]> {
  return withinTime(call.signal, async (signal) => {
    const rows: SqlRow[] = [];
    for (const step of steps) rows.push(...(await executor.rows(step, { signal })).rows);
    return rows;
  });
}

function answer(
  call: Call,
  { plan, name, list }: {
    readonly plan: Plan;
    readonly name: string;
    readonly list: readonly unknown[];
  },
): Response {
  const { steps, prunedFiles, missing } = plan;
  const text = JSON.stringify({ [name]: list });
  call.report({ rows: list.length, bytes: Buffer.byteLength(text) + 1 });
  const scan = scanOf(new Set(steps.flatMap(({ files }) => files)));
  return jsonResponse(text, readHeaders({ scan, prunedFiles, missing }));
}

/** Each topic and all those above it, with the events of the topic and of all below it. */
export function topicTree(rows: readonly SqlRow[]): { topic: string; count: number }[] {
  const counts = new Map<string, number>();
  for (const { topic, rows: count } of rows) {
    const segments = String(topic).split("/");
    for (let length = 1; length <= segments.length; length++) {
      const above = segments.slice(0, length).join("/");
      counts.set(above, (counts.get(above) ?? 0) + Number(count));
    }
  }
  return [...counts].map(([topic, count]) => ({ topic, count }))
    .toSorted((a, b) => (a.topic < b.topic ? -1 : 1));
}

function listSchema(name: string, fields: Readonly<Record<string, string>>) {
  const properties = Object.fromEntries(
    Object.entries(fields).map(([field, type]) => [field, { type }]),
  );
  return {
    type: "object",
    required: [name],
    properties: { [name]: { type: "array", items: { type: "object", properties } } },
  };
}
