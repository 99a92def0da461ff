/** `GET /v1/events/{id}`: one event. */
import { negotiate, type Offer, withProfile } from "../accept.ts";
import { JSON_TYPE, jsonResponse, readHeaders } from "../answer.ts";
import type { Executor } from "../executor.ts";
import { parseEventId } from "../../event/event-id.ts";
import { ocsfLine } from "../ocsf/line.ts";
import { OCSF_EVENT_SCHEMA, OCSF_PROFILE } from "../ocsf/schema.ts";
import { planEvent } from "../planner.ts";
import { ProblemError } from "../problem.ts";
import type { ViewLease } from "../read-view.ts";
import type { Route } from "../route.ts";
import { EVENT_SCHEMA } from "../schemas.ts";

const OFFERS: readonly Offer<"json" | "ocsf-json">[] = [
  { form: "json", types: [JSON_TYPE] },
  { form: "ocsf-json", types: [JSON_TYPE], profile: OCSF_PROFILE },
];
const ID_FORM = "<incarnation>-<sequence>-<idx>, such as 0a1b2c3d-17-0";

export function eventRoute(parts: {
  readonly executor: Executor;
  readonly acquire: () => ViewLease;
  /** Of Probity, for events of OCSF. */
  readonly version: string;
}): Route {
  return {
    method: "GET",
    path: "/v1/events/{id}",
    summary: "One event by its id",
    action: "read",
    pathParameters: [{
      name: "id",
      text: ID_FORM,
      schema: { type: "string" },
      example: "0a1b2c3d-17-0",
    }],
    answers: {
      [JSON_TYPE]: EVENT_SCHEMA,
      [withProfile(JSON_TYPE, OCSF_PROFILE)]: OCSF_EVENT_SCHEMA,
    },
    problems: [406],
    async handle(call) {
      const form = negotiate(call.request.headers.get("accept") ?? undefined, OFFERS);
      const place = parseEventId(call.pathValue);
      if (place === undefined) {
        throw new ProblemError(400, `"${call.pathValue.slice(0, 100)}" is not the id of an event`, {
          parameter: "id",
          accepted: ID_FORM,
        });
      }
      using lease = parts.acquire();
      const { steps, prunedFiles, missing } = planEvent(place, call.principal, lease.view);
      const texts = parts.executor.texts(steps, { ...call, limit: 1 });
      let found: string | undefined;
      for await (const [line] of texts) found ??= line;
      const parameters = { id: call.pathValue };
      if (found === undefined) {
        call.report({ rows: 0, bytes: 0, parameters });
        const detail = missing.length === 0
          ? "There is no such event"
          : `There is no such event in what can be searched: ${missing.join("; ")}`;
        throw new ProblemError(404, detail, { parameter: "id" });
      }
      const text = form === "json" ? found : ocsfLine(found, { version: parts.version });
      call.report({ rows: 1, bytes: Buffer.byteLength(text) + 1, parameters });
      const headers = readHeaders({ scan: texts.scanned(), prunedFiles, missing });
      const type = withProfile(JSON_TYPE, form === "json" ? undefined : OCSF_PROFILE);
      return jsonResponse(text, { ...headers, "Content-Type": type });
    },
  };
}
