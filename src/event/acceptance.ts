/**
 * Acceptance: what turns a message of the stream into part of the record. A pure function of (state, next message),
 * used alike by roll-up, hot table, live tail and subscriptions, so that all of them see the same record.
 *
 * Invariant: what is accepted of an epoch is always an unbroken prefix 1 … n whose digests form one chain. Only this
 * file and `producer/resend.ts` compare batch numbers.
 */
import type { BatchHeader } from "./wire.ts";
import type { Fork, Watermark } from "./watermark.ts";

/** Highest accepted batch of one epoch. */
export interface Standing {
  readonly number: number;
  readonly digest: string;
}

export interface AgentStanding {
  /** The epoch that was opened last; "" while none was. */
  readonly current: string;
  readonly epochs: Readonly<Record<string, Standing>>;
  readonly fork: Fork | undefined;
}

export interface AcceptanceState {
  readonly incarnation: string;
  /** Sequence of the last message decided; 0 before the first. */
  readonly sequence: number;
  /** Digest of the whole message at `sequence` (see `messageDigestOf`); "" before the first. */
  readonly digest: string;
  readonly agents: Readonly<Record<string, AgentStanding>>;
}

/** A message as acceptance sees it: its place, and its headers or why they cannot be trusted. */
export interface Arrival {
  readonly sequence: number;
  /** The agent its subject names; undefined when that is none of the shard's. */
  readonly agent: string | undefined;
  readonly messageDigest: string;
  readonly batch:
    | { readonly ok: true; readonly header: BatchHeader }
    | { readonly ok: false; readonly reason: string };
}

/** Loss that acceptance itself reveals; it becomes an `agent/gap` row at the sequence that revealed it. */
export interface Gap {
  readonly class: "fork" | "void" | "unreadable" | "epoch" | "stream";
  readonly count: number | null;
  readonly reason: string;
  readonly agent: string | undefined;
  readonly epoch: string | undefined;
  /** First and last batch concerned. */
  readonly batches: readonly [number, number] | undefined;
}

export type Verdict =
  /** Part of the record; rows follow unless it is a void or turns out unreadable. */
  | "accepted"
  /** A batch the agent no longer has; accepted as a gap. */
  | "void"
  /** Already part of the record. */
  | "duplicate"
  /** Does not continue the chain that the record holds: quarantined. */
  | "fork"
  /** A batch before it is missing: kept as evidence, sent again later. */
  | "ahead"
  /** Headers, digest or signature wrong: quarantined, as if never received. */
  | "refused";

export interface Decision {
  readonly verdict: Verdict;
  readonly gaps: readonly Gap[];
  /** Why, for every verdict but `accepted`. */
  readonly reason: string | undefined;
}

/** Acceptance under way: the state, moved on by one message at a time. */
export interface Acceptance {
  /** Decides on the next message. Throws RangeError when its sequence was decided before. */
  decide(arrival: Arrival): Decision;
  /** The state after the last decision; later decisions do not change what was returned. */
  state(): AcceptanceState;
}

export function emptyAcceptance(incarnation: string): AcceptanceState {
  return { incarnation, sequence: 0, digest: "", agents: {} };
}

/** The state with which another incarnation of the stream begins: places start anew, standings stay. */
export function startIncarnation(state: AcceptanceState, incarnation: string): AcceptanceState {
  return { ...state, incarnation, sequence: 0, digest: "" };
}

export function createAcceptance(initial: AcceptanceState): Acceptance {
  const agents = new Map(Object.entries(initial.agents));
  let { sequence, digest } = initial;
  return {
    decide(arrival: Arrival): Decision {
      if (arrival.sequence <= sequence) {
        throw new RangeError(
          `Cannot decide on sequence ${arrival.sequence}: ${sequence} was decided already`,
        );
      }
      const holes = streamHole(sequence, arrival.sequence);
      sequence = arrival.sequence;
      digest = arrival.messageDigest;
      if (!arrival.batch.ok) {
        // Known by name, so that a watermark tells the agent that nothing of it was taken.
        const { agent } = arrival;
        if (agent !== undefined && !agents.has(agent)) agents.set(agent, UNHEARD);
        return { verdict: "refused", gaps: holes, reason: arrival.batch.reason };
      }
      const { header } = arrival.batch;
      const { standing, decision } = decideBatch(agents.get(header.agent), header);
      if (standing !== undefined) agents.set(header.agent, standing);
      return { ...decision, gaps: [...holes, ...decision.gaps] };
    },
    state: () => ({ ...initial, sequence, digest, agents: Object.fromEntries(agents) }),
  };
}

/** What the record says to an agent of itself; undefined when it never heard of it. */
export function watermarkOf(
  state: AcceptanceState,
  agent: string,
  atUs: number,
): Watermark | undefined {
  const standing = named(state.agents, agent);
  if (standing === undefined) return undefined;
  const { current, epochs, fork } = standing;
  const { number, digest } = named(epochs, current) ?? NOTHING;
  const { incarnation, sequence } = state;
  return { incarnation, sequence, epoch: current, number, digest, fork, atUs };
}

/** What an agent's standing is of one of its epochs; undefined when the record never heard of it. */
export function standingOf(
  state: AcceptanceState,
  { agent, epoch }: { readonly agent: string; readonly epoch: string },
): Standing | undefined {
  const epochs = named(state.agents, agent)?.epochs;
  return epochs === undefined ? undefined : named(epochs, epoch);
}

/** Agents and epochs choose their names, which may be those of what every object inherits: "constructor". */
function named<T>(all: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(all, name) ? all[name] : undefined;
}

const NOTHING: Standing = { number: 0, digest: "" };
const UNHEARD: AgentStanding = { current: "", epochs: {}, fork: undefined };

/** What a batch changes of its agent's standing; undefined when nothing. */
interface Outcome {
  readonly standing: AgentStanding | undefined;
  readonly decision: Decision;
}

/** A hole in the stream's own sequence is passed and reported, never waited for; a stream may begin anywhere. */
function streamHole(last: number, next: number): Gap[] {
  if (last === 0 || next === last + 1) return [];
  return [{
    class: "stream",
    count: null,
    reason: `the stream has no messages ${last + 1} to ${next - 1}`,
    agent: undefined,
    epoch: undefined,
    batches: undefined,
  }];
}

/** The rule itself: pure in the agent's standing and the batch's header. */
function decideBatch(agent: AgentStanding | undefined, header: BatchHeader): Outcome {
  const highest = named(agent?.epochs ?? {}, header.epoch) ?? NOTHING;
  if (header.number > highest.number + 1) {
    const reason = `batch ${header.number} came after batch ${highest.number}`;
    return {
      standing: withEpochSeen(agent, header),
      decision: { verdict: "ahead", gaps: [], reason },
    };
  }
  if (header.number <= highest.number) {
    const isSame = header.number < highest.number || header.digest === highest.digest;
    if (!isSame) return fork(agent, header, "another batch of this number is part of the record");
    const reason = "already part of the record";
    return { standing: undefined, decision: { verdict: "duplicate", gaps: [], reason } };
  }
  if (header.number > 1 && header.previous !== highest.digest) {
    return fork(agent, header, "its previous digest is not the record's");
  }
  const standing = withStanding(agent, header);
  const gaps = header.number === 1 ? epochGap(agent, header) : [];
  if (header.void === undefined) {
    return { standing, decision: { verdict: "accepted", gaps, reason: undefined } };
  }
  const lost = gapOf(header, "void", header.void, header.count);
  return { standing, decision: { verdict: "void", gaps: [...gaps, lost], reason: header.void } };
}

/** A new epoch continues the digest of one the record knows, or is the agent's first; else something may be missing. */
function epochGap(agent: AgentStanding | undefined, header: BatchHeader): Gap[] {
  const standings = Object.values(agent?.epochs ?? {}).filter(({ number }) => number > 0);
  const continues = header.previous === undefined
    ? standings.length === 0
    : standings.some(({ digest }) => digest === header.previous);
  if (continues) return [];
  const reason = header.previous === undefined
    ? "a new spool began without the end of the one before it"
    : "a new spool continues a batch that is not the last one recorded";
  return [gapOf(header, "epoch", reason, null)];
}

function fork(agent: AgentStanding | undefined, header: BatchHeader, reason: string): Outcome {
  const { epoch, number, digest } = header;
  const known = agent ?? { current: epoch, epochs: {}, fork: undefined };
  return {
    standing: { ...known, fork: { epoch, number, digest } },
    decision: { verdict: "fork", gaps: [gapOf(header, "fork", reason, header.count)], reason },
  };
}

function withStanding(agent: AgentStanding | undefined, header: BatchHeader): AgentStanding {
  const { epoch, number, digest } = header;
  const opensEpoch = number === 1;
  return {
    current: opensEpoch ? epoch : agent?.current ?? epoch,
    epochs: { ...agent?.epochs, [epoch]: { number, digest } },
    fork: opensEpoch ? undefined : agent?.fork,
  };
}

/** An agent whose first batches are missing is known by name, so that a watermark of nothing can be given to it. */
function withEpochSeen(
  agent: AgentStanding | undefined,
  header: BatchHeader,
): AgentStanding | undefined {
  if (named(agent?.epochs ?? {}, header.epoch) !== undefined) return undefined;
  return {
    current: header.epoch,
    epochs: { ...agent?.epochs, [header.epoch]: NOTHING },
    fork: agent?.fork,
  };
}

function gapOf(
  header: BatchHeader,
  kind: Gap["class"],
  reason: string,
  count: number | null,
): Gap {
  const { agent, epoch, number } = header;
  return { class: kind, count, reason, agent, epoch, batches: [number, number] };
}
