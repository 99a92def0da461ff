/**
 * What a request must pass before a route sees it: its size, who asks, whether they may, and how often they did of late.
 *
 * Invariants: who cannot say who they are gets no further and learns nothing else; what is refused again and again is
 * told to the audit once in a while, not each time; a token that stands is never refused for what others at the same
 * address do.
 */
import type { Audit } from "./audit.ts";
import type { Authenticator, Caller } from "./auth.ts";
import type { Action, Principal } from "./principal.ts";
import { ProblemError } from "./problem.ts";
import { createRateLimit } from "./rate-limit.ts";
import { rolesThatMay } from "./roles.ts";
import type { Route } from "./route.ts";

const ROLE_WORDS = new Intl.ListFormat("en-GB", { type: "disjunction" });

export interface Door {
  /** Lets a request in. Throws {@link ProblemError} 401, 403, 413, 414, 429, 431 or 503. */
  enter(visit: Visit): Promise<Caller>;
  /** The same for what is no request of HTTP. Throws {@link ProblemError} 401, 403, 429 or 503. */
  admit(authorization: string | undefined, visit: Admittance): Promise<Caller>;
  /** Counts one more request of a principal who was let in. Throws {@link ProblemError} 429 when there are too many. */
  charge(principal: Principal, visit: Pick<Visit, "remote">): void;
  /** Tells the audit, once in a while, that a principal is refused since they ask for too much. */
  refused(caller: Pick<Caller, "principal">, visit: Pick<Visit, "remote">): void;
}

export interface Visit {
  readonly request: Request;
  readonly route: Pick<Route, "action">;
  /** Address of the client; undefined when the server does not know it. */
  readonly remote: string | undefined;
}

export interface Admittance extends Pick<Visit, "remote"> {
  readonly action: Action;
}

export interface DoorOptions {
  readonly authenticator: Authenticator;
  readonly audit: Audit;
  readonly elapsedMs: () => number;
  readonly requestsPerSecond?: number;
}

/** Requests of one principal: on average, and how many seconds' worth of them at once. */
export const REQUESTS_PER_SECOND = 200;
const BURST_SECONDS = 10;
/** Refused tokens from one address: at once, and for each second. */
export const FAILURES_BURST = 30;
const FAILURES_PER_SECOND = 0.5;
/** Longest address, in characters; most bytes of headers; largest body that any route takes, in bytes. */
export const URL_LENGTH_MAX = 24_576;
export const HEADER_BYTES_MAX = 16_384;
/** What the server must let through of both together, so that the refusal is ours and says why. */
export const HEAD_BYTES_MAX = URL_LENGTH_MAX + HEADER_BYTES_MAX + 4_096;
export const BODY_BYTES_MAX = 1_048_576;

const NOBODY: Caller = {
  principal: { name: "", scopes: { actions: new Set(), topics: [], hosts: [] } },
  ended: undefined,
};

export function createDoor(options: DoorOptions): Door {
  const { authenticator, audit, elapsedMs, requestsPerSecond = REQUESTS_PER_SECOND } = options;
  const failures = createRateLimit({
    ...{ burst: FAILURES_BURST, perSecond: FAILURES_PER_SECOND, elapsedMs },
  });
  const requests = createRateLimit({
    ...{ burst: requestsPerSecond * BURST_SECONDS, perSecond: requestsPerSecond, elapsedMs },
  });

  const callerOf = async (
    authorization: string | undefined,
    remote: string | undefined,
  ): Promise<Caller> => {
    const isBrief = remote !== undefined && !failures.has(networkOf(remote));
    try {
      return await authenticator.authenticate(authorization, { isBrief });
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      // A server that knows no addresses has nobody to tell from others.
      const failure = error.problem.status === 401 && remote !== undefined
        ? failures.take(networkOf(remote))
        : undefined;
      if (failure?.isAllowed === false) {
        if (failure.untold > 0) {
          audit.blocked({ remote, reason: "too many requests without a token that is known" });
        }
        throw tooMany("Too many requests without a token that is known", failure);
      }
      audit.refused({ remote, reason: reasonOf(error) });
      throw error;
    }
  };
  const charge: Door["charge"] = (principal, { remote }) => {
    const allowance = requests.take(principal.name);
    if (allowance.isAllowed) return;
    audit.limited({ principal, remote, refused: allowance.untold });
    throw tooMany("Too many requests of yours", allowance);
  };
  const admit: Door["admit"] = async (authorization, { action, remote }) => {
    const caller = await callerOf(authorization, remote);
    const { principal } = caller;
    charge(principal, { remote });
    if (principal.scopes.actions.has(action)) return caller;
    audit.refused({ remote, reason: `"${principal.name}" may not ${action}` });
    throw new ProblemError(403, "The token does not allow this", {
      parameter: "Authorization",
      accepted: `a token of the role ${ROLE_WORDS.format(rolesThatMay(action))}`,
    });
  };
  return {
    admit,
    charge,
    async enter({ request, route: { action }, remote }) {
      refuseSize(request);
      if (action === undefined) return NOBODY;
      return await admit(request.headers.get("authorization") ?? undefined, { action, remote });
    },
    refused({ principal }, { remote }) {
      audit.limited({ principal, remote, refused: requests.refused(principal.name) });
    },
  };
}

function refuseSize(request: Request): void {
  if (request.url.length > URL_LENGTH_MAX) {
    throw new ProblemError(414, `The address is longer than ${URL_LENGTH_MAX} characters`);
  }
  let headerBytes = 0;
  for (const [name, value] of request.headers) headerBytes += name.length + value.length;
  if (headerBytes > HEADER_BYTES_MAX) {
    throw new ProblemError(431, `The headers are longer than ${HEADER_BYTES_MAX} bytes`);
  }
  if (Number(request.headers.get("content-length") ?? 0) > BODY_BYTES_MAX) {
    throw new ProblemError(413, `The body is larger than ${BODY_BYTES_MAX} bytes`);
  }
}

function tooMany(
  detail: string,
  { retryAfterSeconds }: { readonly retryAfterSeconds: number },
): ProblemError {
  return new ProblemError(429, detail, { headers: { "Retry-After": String(retryAfterSeconds) } });
}

/** Whoever has one address of IPv6 has the 2^64 others of its network as well. */
function networkOf(remote: string): string {
  if (!remote.includes(":")) return remote;
  const [head = "", tail] = remote.split("::");
  const groups = head.split(":").filter((each) => each !== "");
  const end = (tail ?? "").split(":").filter((each) => each !== "");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - end.length);
  const all = [...groups, ...Array.from({ length: zeros }, () => "0"), ...end];
  return `${all.slice(0, 4).map((each) => each.replace(/^0+(?=.)/, "")).join(":")}::/64`;
}

function reasonOf({ message }: ProblemError): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}
