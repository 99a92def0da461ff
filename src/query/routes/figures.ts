/** `GET /v1/topics`: what there is, with counts over a range of time. */
import { type } from "arktype";
import { JSON_TYPE } from "../answer.ts";
import { figuresAnswer, figuresOf, type FiguresParts } from "../figures-answer.ts";
import { TEXT, WHOLE } from "../json-schema.ts";
import type { KnownTallies } from "../metric/counted-kinds.ts";
import { countTopics } from "../metric/topics.ts";
import { parseRangeRequest } from "../request.ts";
import type { Call, Route } from "../route.ts";
import { RANGE_PARAMETERS } from "../schemas.ts";
import type { SqlRow } from "../../storage/duckdb.ts";

const TOPICS_SCHEMA = type({ topics: type({ topic: TEXT, count: WHOLE }).array() });

export interface TopicsParts extends FiguresParts {
  readonly tallies: KnownTallies;
}

export function topicsRoute(parts: TopicsParts): Route {
  return {
    method: "GET",
    path: "/v1/topics",
    summary: "Topics and the topics above them, with their numbers of events",
    action: "read",
    parameters: RANGE_PARAMETERS,
    takesFilters: true,
    answers: { [JSON_TYPE]: TOPICS_SCHEMA },
    async handle(call) {
      using lease = parts.acquire();
      const asked = { view: lease.view, principal: call.principal };
      const { rows, plan } = countTopics(parts.tallies, requestOf(call), asked);
      const topics = topicTree([...rows, ...await figuresOf(parts.executor, plan, call)]);
      return figuresAnswer(call, { plan, value: { topics }, rows: topics.length });
    },
  };
}

function requestOf({ parameters, time }: Call): ReturnType<typeof parseRangeRequest> {
  return parseRangeRequest(parameters, time);
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
