/** `GET /v1/hosts` and `GET /v1/hosts/{host}`: what there is of hosts, and when which of their sources watched. */
import { formatTime } from "../../event/event.ts";
import { JSON_TYPE } from "../answer.ts";
import { coverHost, hostDetail, hostSummary } from "../coverage/host-coverage.ts";
import { type ReadCoverage, readCoverage, seesAgents } from "../coverage/read-coverage.ts";
import { figuresAnswer, figuresOf, type FiguresParts } from "../figures-answer.ts";
import { conditionOn } from "../filter.ts";
import { planHosts } from "../planner/figures.ts";
import type { Plan } from "../planner.ts";
import { ProblemError } from "../problem.ts";
import { parseRangeRequest } from "../request.ts";
import type { Route } from "../route.ts";
import { RANGE_PARAMETERS } from "../schemas.ts";
import { HOST_SCHEMA, HOSTS_SCHEMA } from "./host-schema.ts";

/** Longest name of a host, as names in DNS. */
const NAME_LENGTH_MAX = 253;

export function hostsRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/hosts",
    summary: "Hosts with their state, last event, number of events and number of gaps",
    action: "read",
    parameters: RANGE_PARAMETERS,
    takesFilters: true,
    answers: { [JSON_TYPE]: HOSTS_SCHEMA },
    async handle(call) {
      const request = parseRangeRequest(call.parameters, call.time);
      using lease = acquire();
      const counts = planHosts(request, call.principal, lease.view);
      const rows = await figuresOf(executor, counts, call);
      const coverage = await readCoverage(call, { request, executor, view: lease.view });
      const counted = new Map(
        rows.filter(({ host }) => host !== null).map((row) => [String(row["host"]), row]),
      );
      const names = [...new Set([...counted.keys(), ...coverage.hosts.keys()])].toSorted();
      const hosts = names.map((host) => {
        const row = counted.get(host);
        const known = coverage.hosts.get(host);
        const signUs = known?.lastSignUs;
        return {
          host,
          last_seen: row?.["last_seen"] ?? (signUs === undefined ? null : formatTime(signUs)),
          count: row?.["rows"] ?? 0,
          gaps: row?.["gaps"] ?? 0,
          ...(known === undefined ? { state: "unknown" } : hostSummary(known)),
        };
      });
      const value = {
        ...rangeOf(coverage),
        agents_visible: seesAgents(call.principal),
        cut: coverage.isCut,
        hosts,
      };
      return figuresAnswer(call, {
        plan: planOf([counts, ...coverage.plans]),
        value,
        rows: hosts.length,
      });
    },
  };
}

export function hostRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/hosts/{host}",
    summary: "A host, and when which of its sources watched",
    action: "read",
    pathParameters: [{
      name: "host",
      text: "Its name, as it is",
      schema: { type: "string" },
      example: "web-1",
    }],
    parameters: RANGE_PARAMETERS,
    answers: { [JSON_TYPE]: HOST_SCHEMA },
    async handle(call) {
      const host = call.pathValue;
      if (host.length > NAME_LENGTH_MAX) {
        throw new ProblemError(400, "The name of the host is too long", {
          parameter: "host",
          accepted: `at most ${NAME_LENGTH_MAX} characters`,
        });
      }
      const isHost = { ...conditionOn("host"), matches: [{ kind: "equal", value: host }] } as const;
      const range = parseRangeRequest(call.parameters, call.time);
      const request = { ...range, conditions: [isHost] };
      using lease = acquire();
      const counts = planHosts(request, call.principal, lease.view);
      const [row] = await figuresOf(executor, counts, call);
      const coverage = await readCoverage(call, { request, executor, view: lease.view });
      const known = coverage.hosts.get(host);
      if (row === undefined && known === undefined) {
        const span = `${formatTime(request.fromUs)} to ${formatTime(request.toUs)}`;
        throw new ProblemError(404, `Nothing is known of this host from ${span}`, {
          parameter: "host",
          accepted: `a host that was heard of in the range or the day before it`,
        });
      }
      const signUs = known?.lastSignUs;
      const value = {
        ...rangeOf(coverage),
        host,
        last_seen: row?.["last_seen"] ?? (signUs === undefined ? null : formatTime(signUs)),
        count: row?.["rows"] ?? 0,
        agents_visible: seesAgents(call.principal),
        cut: coverage.isCut,
        ...hostDetail(
          known ?? coverHost(host, { signs: [], gaps: [], range: coverage.range }),
        ),
      };
      const plan = planOf([counts, ...coverage.plans]);
      return figuresAnswer(call, { plan, value, rows: 1, parameters: { host } });
    },
  };
}

function rangeOf({ range }: ReadCoverage): { readonly from: string; readonly to: string } {
  return { from: formatTime(range.fromUs), to: formatTime(range.toUs) };
}

/** Several plans as one, for what is said of their cost. */
export function planOf(plans: readonly Plan[]): Plan {
  return {
    steps: plans.flatMap(({ steps }) => steps),
    prunedFiles: Math.min(...plans.map(({ prunedFiles }) => prunedFiles)),
    missing: plans[0]?.missing ?? [],
  };
}
