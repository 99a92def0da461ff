/** Routes about the service itself: health, readiness, figures. */
import { type } from "arktype";
import { JSON_TYPE, jsonAnswer } from "../answer.ts";
import { FLAG, TEXT } from "../json-schema.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { Route } from "../route.ts";

/** What of the service is not ready, by part. */
export interface Readiness {
  readonly ready: boolean;
  readonly parts: readonly { readonly name: string; readonly reason: string }[];
}

export interface StatusParts {
  readonly ready: () => Readiness;
  readonly metrics: Metrics;
}

const HEALTH_SCHEMA = type({ healthy: "true" });
const READINESS_SCHEMA = type({
  ready: FLAG,
  parts: type({ name: TEXT, reason: TEXT }).array().describe("those that are not ready"),
});

export function statusRoutes({ ready, metrics }: StatusParts): Route[] {
  return [
    {
      method: "GET",
      path: "/healthz",
      summary: "Whether the process works",
      action: undefined,
      answers: { [JSON_TYPE]: HEALTH_SCHEMA },
      handle: () => Promise.resolve(jsonAnswer({ healthy: true })),
    },
    {
      method: "GET",
      path: "/readyz",
      summary: "Whether every part is ready, and which is not",
      action: undefined,
      answers: { [JSON_TYPE]: READINESS_SCHEMA },
      statuses: [200, 503],
      handle: () => {
        const readiness = ready();
        return Promise.resolve(jsonAnswer(readiness, readiness.ready ? 200 : 503));
      },
    },
    {
      method: "GET",
      path: "/metrics",
      summary: "Figures of the process for Prometheus",
      action: "operate",
      answers: { "text/plain": { type: "string" } },
      handle: async () => {
        const headers = { "Content-Type": metrics.contentType, "Cache-Control": "no-store" };
        return new Response(await metrics.text(), { headers });
      },
    },
  ];
}
