/** `GET /v1/hosts` and `GET /v1/hosts/{host}`: what there is of hosts, and when which of their sources watched. */
import { formatTime } from "../../event/event.ts";
import { JSON_TYPE } from "../answer.ts";
import { coverHost, hostDetail, hostSummary } from "../coverage/host-coverage.ts";
import { type ReadCoverage, readCoverage, seesAgents } from "../coverage/read-coverage.ts";
import { figuresAnswer, figuresOf, type FiguresParts } from "../figures-answer.ts";
import { conditionOn } from "../filter.ts";
import type { Tallies } from "../metric/tallies.ts";
import { planHosts } from "../planner/figures.ts";
import type { Plan } from "../planner.ts";
import { ProblemError } from "../problem.ts";
import { parseRangeRequest } from "../request.ts";
import { type DeletionReader, goneOfAgents } from "../reports/deletions.ts";
import type { Call, Route } from "../route.ts";
import type { Span } from "../coverage/layers.ts";
import { RANGE_PARAMETERS } from "../schemas.ts";
import { HOST_SCHEMA, HOSTS_SCHEMA } from "./host-schema.ts";

export interface HostsParts extends FiguresParts {
  /** Know which hosts there were, however long ago. */
  readonly tallies: Pick<Tallies, "book" | "tallyOf">;
  /** Where is told what left the table. */
  readonly deletions: DeletionReader;
}

/** Longest name of a host, as names in DNS. */
const NAME_LENGTH_MAX = 253;

export function hostsRoute({ executor, acquire, tallies, deletions }: HostsParts): Route {
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
      const coverage = await readCoverage(call, {
        ...{ request, executor, tallies, view: lease.view },
        goneOf: await readGone(call, { deletions, upTo: lease.view.version }),
      });
      const counted = new Map(
        rows.filter(({ host }) => host !== null).map((row) => [String(row["host"]), row]),
      );
      const names = new Set([
        ...counted.keys(),
        ...coverage.hosts.keys(),
        ...coverage.lastHeard.keys(),
      ]);
      const hosts = [...names].toSorted().map((host) => {
        const row = counted.get(host);
        const known = coverage.hosts.get(host);
        return {
          host,
          last_seen: row?.["last_seen"] ?? lastSeen(host, coverage),
          count: row?.["rows"] ?? 0,
          gaps: row?.["gaps"] ?? 0,
          ...(known === undefined ? { state: "unknown" } : hostSummary(known)),
        };
      });
      const value = {
        ...rangeOf(coverage),
        agents_visible: seesAgents(call.principal),
        cut: coverage.isCut,
        ...(coverage.knownFromUs === 0 ? {} : { known_from: formatTime(coverage.knownFromUs) }),
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

export function hostRoute({ executor, acquire, tallies, deletions }: HostsParts): Route {
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
      const coverage = await readCoverage(call, {
        ...{ request, executor, tallies, view: lease.view },
        goneOf: await readGone(call, { deletions, upTo: lease.view.version }),
      });
      const known = coverage.hosts.get(host);
      if (row === undefined && known === undefined && !coverage.lastHeard.has(host)) {
        const span = `${formatTime(request.fromUs)} to ${formatTime(request.toUs)}`;
        throw new ProblemError(404, `Nothing is known of this host from ${span}`, {
          parameter: "host",
          accepted: "a host that was heard of in the range or before it",
        });
      }
      const value = {
        ...rangeOf(coverage),
        host,
        last_seen: row?.["last_seen"] ?? lastSeen(host, coverage),
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

/** Of which times what agents said of themselves is not kept any more, by host. */
async function readGone(
  { time: { nowUs }, signal }: Call,
  { deletions, upTo }: { readonly deletions: DeletionReader; readonly upTo: number },
): Promise<(host: string) => readonly Span[]> {
  const read = await deletions.read({ nowUs, upTo, signal });
  return goneOfAgents(read === "behind" ? undefined : read);
}

/** When a host was heard of that told nothing in the range. */
function lastSeen(host: string, { hosts, lastHeard }: ReadCoverage): string | null {
  const lastUs = Math.max(hosts.get(host)?.lastSignUs ?? 0, lastHeard.get(host) ?? 0);
  return lastUs === 0 ? null : formatTime(lastUs);
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
