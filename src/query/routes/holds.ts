/**
 * `/v1/holds`: legal holds, listed, set and released. Each change has its record in the bucket before it is made, and a
 * roll-up tells of it, as it does for commands; so the record of a hold does not hang on this process.
 */
import { type } from "arktype";
import { JSON_TYPE, jsonAnswer } from "../answer.ts";
import { TEXT, TIME } from "../json-schema.ts";
import { ProblemError } from "../problem.ts";
import { refuseBody, single, timeOf } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import {
  type Hold,
  HOLD_HOSTS_MAX,
  HOLD_TEXT_LENGTH_MAX,
  openHolds,
  parseHold,
  releaseHold,
  setHold,
} from "../../storage/hold.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import { isRegistryName, type RegistryEntry } from "../../storage/registry.ts";
import { TIME_FORMS } from "../time-text.ts";

export interface HoldParts {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly log: Log;
}

const NAME_PARAMETER: RouteParameter = {
  name: "name",
  text: "The hold's name",
  schema: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
  example: "case-7",
};

const HOLD_SCHEMA = type({
  name: TEXT,
  reason: TEXT,
  hosts: TEXT.array().describe("all when empty"),
  "from?": TIME,
  "to?": TIME,
  "set?": TIME,
});

export function holdRoutes(parts: HoldParts): readonly Route[] {
  const holds = openHolds(parts.store);
  return [
    {
      method: "GET",
      path: "/v1/holds",
      summary: "Legal holds that stand",
      action: "operate",
      answers: { [JSON_TYPE]: type({ holds: HOLD_SCHEMA.array() }) },
      async handle({ signal }) {
        return jsonAnswer({ holds: (await holds.list({ signal })).map(describeHold) });
      },
    },
    setRoute(parts),
    {
      method: "DELETE",
      path: "/v1/holds/{name}",
      summary: "Release a legal hold",
      action: "hold",
      pathParameters: [NAME_PARAMETER],
      answers: {},
      async handle(call) {
        const name = nameOf(call);
        if (!await releaseHold(parts, { name, by: call.principal.name, signal: call.signal })) {
          throw new ProblemError(404, `There is no hold "${name}"`);
        }
        return new Response(null, { status: 204 });
      },
    },
  ];
}

function setRoute(parts: HoldParts): Route {
  return {
    method: "PUT",
    path: "/v1/holds/{name}",
    summary: "Keep rows as they are, whatever their age, until the hold is released",
    action: "hold",
    pathParameters: [NAME_PARAMETER],
    parameters: [
      {
        name: "reason",
        text: "Why, for those who find it",
        schema: { type: "string", minLength: 1, maxLength: HOLD_TEXT_LENGTH_MAX },
        example: "court order 17/26",
      },
      {
        name: "host",
        text: "A host, or with * at the end all that begin so; any number of times, all without it",
        schema: { type: "array", items: { type: "string" } },
        example: "web-*",
      },
      { name: "from", text: `Events from then on: ${TIME_FORMS}`, schema: { type: "string" } },
      { name: "to", text: `Events before then: ${TIME_FORMS}`, schema: { type: "string" } },
    ],
    answers: { [JSON_TYPE]: HOLD_SCHEMA },
    statuses: [201],
    problems: [409, 413],
    async handle(call) {
      const name = nameOf(call);
      await refuseBody(call.request);
      const hold = holdOf(call);
      if (!await setHold(parts, { name, hold, by: call.principal.name, signal: call.signal })) {
        throw new ProblemError(409, `A hold "${name}" stands; it can be released, not changed`);
      }
      return jsonAnswer(describeHold({ name, value: hold, writtenAtMs: undefined }), 201);
    },
  };
}

function nameOf({ pathValue }: Call): string {
  if (isRegistryName(pathValue)) return pathValue;
  throw new ProblemError(400, `"${pathValue.slice(0, 100)}" cannot be a name`, {
    parameter: NAME_PARAMETER.name,
    accepted: `1 to 64 of letters, digits, ".", "_" and "-", beginning with a letter or digit`,
  });
}

/** Bounds in milliseconds are taken outward: a hold may keep too much, never too little. */
function holdOf({ parameters, time }: Call): Hold {
  const boundOf = (name: "from" | "to"): number | undefined => {
    const text = single(parameters, name);
    return text === undefined ? undefined : timeOf(name, text, time) / 1000;
  };
  const [from, to] = [boundOf("from"), boundOf("to")];
  if (from !== undefined && to !== undefined && from >= to) {
    throw new ProblemError(400, `"from" is not before "to"`, {
      parameter: "from",
      accepted: `a time before "to"`,
    });
  }
  const reason = single(parameters, "reason");
  const hosts = parameters.get("host") ?? [];
  if (hosts.length > HOLD_HOSTS_MAX || !hosts.every(isShortText)) {
    throw new ProblemError(400, "The hosts cannot be used", {
      parameter: "host",
      accepted:
        `at most ${HOLD_HOSTS_MAX} names, each of at most ${HOLD_TEXT_LENGTH_MAX} characters`,
    });
  }
  if (reason === undefined || !isShortText(reason)) {
    throw new ProblemError(400, "A hold needs a reason", {
      parameter: "reason",
      accepted: `1 to ${HOLD_TEXT_LENGTH_MAX} characters`,
    });
  }
  return parseHold({
    ...{ reason, hosts },
    fromMs: from === undefined ? undefined : Math.floor(from),
    toMs: to === undefined ? undefined : Math.ceil(to),
  });
}

function isShortText(text: string): boolean {
  return text !== "" && text.length <= HOLD_TEXT_LENGTH_MAX;
}

function describeHold(
  { name, value, writtenAtMs }: Pick<RegistryEntry<Hold>, "name" | "value"> & {
    readonly writtenAtMs: number | undefined;
  },
): unknown {
  const timed = { from: value.fromMs, to: value.toMs, set: writtenAtMs };
  const times = Object.entries(timed).flatMap(([key, ms]) =>
    ms === undefined ? [] : [[key, new Date(ms).toISOString()] as const]
  );
  return { name, reason: value.reason, hosts: value.hosts, ...Object.fromEntries(times) };
}
