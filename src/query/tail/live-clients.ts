/**
 * Who may follow the record at the same time: as many as the service can serve, of which nobody has more than half, and
 * with filters that can be looked at for every event.
 *
 * Invariant: whoever is admitted is counted until it leaves, once.
 */
import { type Activity, createActivity } from "../activity.ts";
import type { Condition } from "../filter.ts";
import type { Principal } from "../principal.ts";
import { ProblemError } from "../problem.ts";
import { costOf } from "./matcher.ts";

export interface LiveClients extends Pick<Activity, "count" | "settled"> {
  /**
   * The function that is returned states its end. Throws {@link ProblemError}: 400 when the filter alone is too much,
   * 429 when the principal has too many, 503 when all have.
   */
  admit(principal: Principal, conditions?: readonly Condition[]): () => void;
}

/** Live clients of all. Well below the connections that the server takes, so that there is room for other questions. */
export const CLIENTS_MAX = 2_048;
const CLIENTS_EACH_MAX = CLIENTS_MAX / 2;
/** Parts of patterns in one filter: `/home/*` has two. */
export const FILTER_COST_MAX = 256;
const COST_EACH_MAX = 4_096;
/** How long a client that was refused should wait. */
const RETRY_AFTER_SECONDS = 5;

export interface LiveLimits {
  readonly clientsMax: number;
  readonly clientsEachMax: number;
  readonly costEachMax: number;
}

const LIMITS: LiveLimits = {
  clientsMax: CLIENTS_MAX,
  clientsEachMax: CLIENTS_EACH_MAX,
  costEachMax: COST_EACH_MAX,
};

export function createLiveClients(limits: LiveLimits = LIMITS): LiveClients {
  const { clientsMax, clientsEachMax, costEachMax } = limits;
  const activity = createActivity();
  const shares = new Map<string, { clients: number; cost: number }>();
  return {
    get count() {
      return activity.count;
    },
    settled: (limitMs) => activity.settled(limitMs),
    admit({ name }, conditions = []) {
      const cost = costOf(conditions);
      refuseDear(cost);
      if (activity.count >= clientsMax) {
        throw refused(503, `${clientsMax} clients follow the record already`);
      }
      const share = shares.get(name) ?? { clients: 0, cost: 0 };
      if (share.clients >= clientsEachMax || share.cost + cost > costEachMax) {
        throw refused(429, "You follow the record too many times already");
      }
      share.clients += 1;
      share.cost += cost;
      shares.set(name, share);
      const end = activity.begin();
      let hasEnded = false;
      return () => {
        if (hasEnded) return;
        hasEnded = true;
        share.clients -= 1;
        share.cost -= cost;
        if (share.clients === 0) shares.delete(name);
        end();
      };
    },
  };
}

/** Throws {@link ProblemError} 400 when a live filter costs more than it may. */
export function refuseDear(cost: number): void {
  if (cost <= FILTER_COST_MAX) return;
  throw new ProblemError(400, "The filter has too many patterns to be looked at for every event", {
    accepted:
      `${FILTER_COST_MAX} runs of text and wildcards in all patterns; a,b (any of) costs nothing`,
  });
}

function refused(status: 429 | 503, detail: string): ProblemError {
  return new ProblemError(status, detail, {
    headers: { "Retry-After": String(RETRY_AFTER_SECONDS) },
  });
}
