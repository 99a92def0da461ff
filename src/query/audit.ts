/**
 * The audit of the auditors: every read of the record becomes an `audit/query` event, every refused token an
 * `audit/login` failure, every change of what the service keeps `audit/admin`. They enter the log like all others.
 *
 * Invariant: what an attacker can repeat without a token is bounded: of refused tokens at most
 * {@link FAILURES_PER_MINUTE} events a minute are written, and the rest are counted in the next.
 */
import type { AuditEvent } from "../event/event.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Principal } from "./principal.ts";

/** Read of the record, as it is told to the log. */
export interface ReadReport {
  readonly principal: Principal;
  /** Method and path of the route, such as `GET /v1/events`. */
  readonly route: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Rows and bytes that were answered; of a stream, when it begins: undefined. */
  readonly rows: number | undefined;
  readonly bytes: number | undefined;
  /** Address of the client. */
  readonly remote: string | undefined;
  readonly outcome: "success" | "failure";
}

/** Change of something that the service keeps. */
export interface ChangeReport {
  readonly principal: Pick<Principal, "name">;
  /** "" when nobody asked for it. */
  readonly route: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** What was done, in words that follow the principal's name. */
  readonly what: string;
  readonly remote: string | undefined;
}

export interface Audit {
  read(report: ReadReport): void;
  changed(report: ChangeReport): void;
  /** A principal was refused so many times since that was last told, as they ask for too much; for 0 nothing is told. */
  limited(limit: {
    readonly principal: Pick<Principal, "name">;
    readonly remote: string | undefined;
    readonly refused: number;
  }): void;
  refused(refusal: Refusal): void;
  /** An address is refused from now on whatever it says; bounded by itself, so that its refusals do not hide it. */
  blocked(refusal: Refusal): void;
}

export interface Refusal {
  readonly remote: string | undefined;
  readonly reason: string;
}

export interface AuditOptions {
  readonly emit: (event: AuditEvent) => void;
  readonly clock: Clock;
}

export const FAILURES_PER_MINUTE = 10;
/** Longest text, or JSON of another value, of one parameter in an event, in characters. */
const PARAMETER_LENGTH_MAX = 8_192;
const MINUTE_US = 60_000_000;
/** The `service` of its events. */
export const AUDIT_SERVICE = "probity-query";

export function createAudit({ emit, clock }: AuditOptions): Audit {
  const refused = createRefusals({ emit, clock });
  const blocked = createRefusals({ emit, clock });
  return {
    refused,
    blocked,
    read({ principal, route, parameters, rows, bytes, remote, outcome }) {
      const said = shortenedAll(parameters);
      const count = rows === undefined ? "events" : rows === 1 ? "1 row" : `${rows} rows`;
      const verb = outcome === "failure"
        ? "failed to read"
        : rows === undefined
        ? "began to read"
        : "read";
      emit({
        timeUs: clock.nowUs(),
        topic: "audit/query",
        severity: "info",
        outcome,
        user: principal.name,
        service: AUDIT_SERVICE,
        ...addressOf(remote),
        message: `${principal.name} ${verb} ${count} by ${route}.`,
        detail: {
          principal: principal.name,
          route,
          parameters: said,
          ...(rows === undefined ? {} : { rows }),
          ...(bytes === undefined ? {} : { bytes }),
          ...(remote === undefined ? {} : { remote }),
        },
      });
    },
    changed({ principal, route, parameters, what, remote }) {
      emit({
        timeUs: clock.nowUs(),
        topic: "audit/admin",
        severity: "info",
        outcome: "success",
        user: principal.name,
        service: AUDIT_SERVICE,
        ...addressOf(remote),
        message: `${principal.name} ${what}.`,
        detail: {
          principal: principal.name,
          ...(route === "" ? {} : { route }),
          parameters: shortenedAll(parameters),
          ...(remote === undefined ? {} : { remote }),
        },
      });
    },
    limited({ principal, remote, refused }) {
      if (refused === 0) return;
      emit({
        timeUs: clock.nowUs(),
        topic: "audit/query",
        severity: "low",
        outcome: "failure",
        user: principal.name,
        service: AUDIT_SERVICE,
        ...addressOf(remote),
        message: `${principal.name} asks for too much: ${
          refused === 1 ? "a request was" : `${refused} requests were`
        } refused.`,
        detail: {
          principal: principal.name,
          refused,
          ...(remote === undefined ? {} : { remote }),
        },
      });
    },
  };
}

/** Tells of refusals within a bound of its own. */
function createRefusals({ emit, clock }: AuditOptions): (refusal: Refusal) => void {
  let minuteUs = 0;
  let written = 0;
  let suppressed = 0;
  return ({ remote, reason }) => {
    const nowUs = clock.nowUs();
    if (nowUs - minuteUs >= MINUTE_US) {
      minuteUs = nowUs;
      written = 0;
    }
    if (written >= FAILURES_PER_MINUTE) {
      suppressed += 1;
      return;
    }
    written += 1;
    emit({
      timeUs: nowUs,
      topic: "audit/login",
      severity: "medium",
      outcome: "failure",
      service: AUDIT_SERVICE,
      ...addressOf(remote),
      message: `A request${remote === undefined ? "" : ` from ${remote}`} was refused: ${reason}.`,
      detail: {
        reason,
        ...(remote === undefined ? {} : { remote }),
        ...(suppressed === 0 ? {} : { suppressed }),
      },
    });
    suppressed = 0;
  };
}

function addressOf(remote: string | undefined): { readonly src_ip?: string } {
  return remote === undefined ? {} : { src_ip: remote };
}

function shortenedAll(
  parameters: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, value]) => [name, shortened(value)]),
  );
}

/** Of what is too long, however deep, the beginning of its JSON is told as a text. */
function shortened(value: unknown): unknown {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  if (text.length <= PARAMETER_LENGTH_MAX) return value;
  return `${text.slice(0, PARAMETER_LENGTH_MAX)}…`;
}
