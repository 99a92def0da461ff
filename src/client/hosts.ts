/**
 * Hosts and when which of their sources watched, as the service answers it.
 *
 * as: an object with the list that is asked for is taken for the answer; its members are what the service says
 */
import { type AnswerFacts, type Connection, factsOf, jsonOf, request } from "./request.ts";
import type { RequestOptions } from "./request.ts";
import type { Condition } from "./record.ts";

/** At the end of the range. */
export type HostState = "watched" | "blind" | "silent" | "stopped" | "unknown";

export interface HostSummary {
  readonly host: string;
  readonly last_seen: string | null;
  /** Events in the range, and those of them that tell gaps. */
  readonly count: number;
  readonly gaps: number;
  readonly state: HostState;
  /** Of the state. */
  readonly since?: string;
  /** Of the agent. */
  readonly version?: string;
  /** Of the host. */
  readonly boot?: string;
  /** Sources that are off. */
  readonly off?: readonly string[];
}

/** A part of a host's time; `cause` and `reason` say why it was not watched, or not whole. */
export interface CoverageRange {
  readonly from: string;
  readonly to: string;
  readonly state: string;
  readonly cause?: string;
  readonly reason?: string;
  /** Events that are missing. */
  readonly count?: number;
}

export interface Cut<T> {
  readonly total: number;
  readonly values: readonly T[];
}

export interface HostCoverage extends Omit<HostSummary, "gaps"> {
  readonly from: string;
  readonly to: string;
  /** Whether the token may see what agents say. */
  readonly agents_visible: boolean;
  /** Whether there was more than one answer reads. */
  readonly cut: boolean;
  readonly presence: Cut<
    CoverageRange & {
      readonly version?: string;
      readonly version_before?: string;
      readonly boot?: string;
    }
  >;
  readonly sources: readonly { readonly source: string; readonly ranges: Cut<CoverageRange> }[];
  readonly gaps: Cut<
    Omit<CoverageRange, "state"> & {
      readonly class: string;
      readonly sources?: readonly string[];
      readonly agent: string;
      readonly events: number;
      readonly id: string;
    }
  >;
  readonly changes: Cut<Readonly<Record<string, unknown>>>;
}

export interface HostQuery {
  /** Inclusive; 24 hours before `to` unless given. */
  readonly from?: string;
  /** Exclusive; now unless given. */
  readonly to?: string;
}

export interface HostList {
  readonly hosts: readonly HostSummary[];
  readonly cut: boolean;
  readonly knownFrom?: string;
}

export interface HostClient {
  /**
   * Hosts of the range and those before it, and whether that are all; a host that was heard of only before `knownFrom`
   * may be missing.
   */
  list(
    query?: Readonly<Record<string, Condition | undefined>>,
    options?: RequestOptions,
  ): Promise<HostList & AnswerFacts>;
  /** One of them; throws `ProblemError` 404 when nothing is known of it. */
  read(
    host: string,
    query?: HostQuery,
    options?: RequestOptions,
  ): Promise<HostCoverage & AnswerFacts>;
}

export function createHosts(connection: Connection): HostClient {
  return {
    async list(query, options) {
      const parameters = { ...query };
      const response = await request(connection, "v1/hosts", { ...options, parameters });
      const value = await jsonOf(response);
      if (typeof value !== "object" || value === null || !("hosts" in value)) {
        throw new TypeError("Cannot read hosts: the answer has no list of them");
      }
      const { hosts } = value as { readonly hosts: readonly HostSummary[] };
      const knownFrom = "known_from" in value ? value.known_from : undefined;
      return {
        ...{ ...factsOf(response), hosts, cut: "cut" in value && value.cut === true },
        ...(typeof knownFrom === "string" ? { knownFrom } : {}),
      };
    },
    async read(host, query, options) {
      const path = `v1/hosts/${encodeURIComponent(host)}`;
      const response = await request(connection, path, { ...options, parameters: { ...query } });
      const value = await jsonOf(response);
      if (typeof value !== "object" || value === null || !("presence" in value)) {
        throw new TypeError("Cannot read a host: the answer has none");
      }
      return { ...factsOf(response), ...value as unknown as HostCoverage };
    },
  };
}
