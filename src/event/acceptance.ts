/**
 * Acceptance: what turns a message of the stream into part of the record. A pure function of (state, next message),
 * used alike by roll-up, hot table, live tail and subscriptions, so that all of them see the same record.
 *
 * Invariant: what is accepted of an epoch is always an unbroken prefix 1 … n whose digests form one chain, but for the
 * payloads of voids; that of a batch which was given up for its sender may still come, once. Only this file, its
 * `outstanding.ts`, `adoption.ts` and `producer/resend.ts` compare batch numbers.
 */
import {
  type AheadRange,
  givenUpDigest,
  type GivenUpRange,
  stillAhead,
  withAhead,
  withGivenUp,
  withNamed,
  withoutGivenUp,
} from "./outstanding.ts";
import { type BatchHeader, isGivenUp, UNKNOWN_DIGEST } from "./wire.ts";
import type { Fork, Watermark } from "./watermark.ts";

/** Highest accepted batch of one epoch. */
export interface Standing {
  readonly number: number;
  readonly digest: string;
  /** Where later batches lie that could not be accepted yet; left out when there are none. */
  readonly ahead?: readonly AheadRange[];
  /** Batches up to `number` that were given up and may still come; left out when there are none. */
  readonly givenUp?: readonly GivenUpRange[];
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
  /** When the broker stored it, µs since the Unix epoch. */
  readonly storedAtUs: number;
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
  /** First and last time of what is missing, as its sender said, µs; left out when nothing said it. */
  readonly times?: readonly [number, number];
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
      const { standing, decision } = decideBatch(agents.get(header.agent), header, {
        incarnation: initial.incarnation,
        sequence,
        lastUs: arrival.storedAtUs,
      });
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
  const { number, digest, givenUp = [] } = named(epochs, current) ?? NOTHING;
  const { incarnation, sequence } = state;
  return {
    ...{ incarnation, sequence, epoch: current, number, digest, fork, atUs },
    ...(givenUp.length === 0 ? {} : { givenUp: givenUp.map(({ first, last }) => [first, last]) }),
  };
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

type Place = Pick<AheadRange, "incarnation" | "lastUs"> & { readonly sequence: number };

/** The rule itself: pure in the agent's standing, the batch's header and its place. */
function decideBatch(
  agent: AgentStanding | undefined,
  header: BatchHeader,
  place: Place,
): Outcome {
  const highest = named(agent?.epochs ?? {}, header.epoch) ?? NOTHING;
  if (header.number > highest.number + 1) {
    const reason = `batch ${header.number} came after batch ${highest.number}`;
    return {
      standing: withEpochAhead(agent, header, place),
      decision: { verdict: "ahead", gaps: [], reason },
    };
  }
  if (header.number <= highest.number) {
    const givenUp = givenUpDigest(highest.givenUp, header.number);
    if (givenUp !== undefined) return decideLate(agent, header, { highest, givenUp });
    const isSame = header.number < highest.number || header.digest === highest.digest;
    if (!isSame) return fork(agent, header, "another batch of this number is part of the record");
    const reason = "already part of the record";
    return { standing: undefined, decision: { verdict: "duplicate", gaps: [], reason } };
  }
  // After one that was given up by its number alone, the next says what its digest was.
  const isKnown = header.number > 1 && highest.digest !== UNKNOWN_DIGEST;
  if (isKnown && header.previous !== highest.digest) {
    return fork(agent, header, "its previous digest is not the record's");
  }
  const standing = withStanding(agent, header);
  const gaps = header.number === 1 ? epochGap(agent, header) : [];
  if (header.void === undefined) {
    return { standing, decision: { verdict: "accepted", gaps, reason: undefined } };
  }
  // Of a batch that never came nobody knows how much was in it.
  const count = isGivenUp(header) ? null : header.count;
  const lost = gapOf(header, "void", header.void, count);
  return { standing, decision: { verdict: "void", gaps: [...gaps, lost], reason: header.void } };
}

/** A batch whose place in the record a void of the roll-up has: it is taken once, or its own void in silence. */
function decideLate(
  agent: AgentStanding | undefined,
  header: BatchHeader,
  { highest, givenUp }: { readonly highest: Standing; readonly givenUp: string },
): Outcome {
  const { epoch, number, digest } = header;
  const reason = "it was given up already";
  const duplicate = { verdict: "duplicate", gaps: [], reason } as const;
  if (isGivenUp(header)) return { standing: undefined, decision: duplicate };
  if (givenUp !== UNKNOWN_DIGEST && givenUp !== digest) {
    return fork(agent, header, "the batch after it continues another of this number");
  }
  const late = standingWith({
    ...highest,
    // The next batch names the true one, where only the number was known.
    digest: number === highest.number ? digest : highest.digest,
    givenUp: withoutGivenUp(highest.givenUp, number),
  });
  const known = agent ?? { current: epoch, epochs: {}, fork: undefined };
  return {
    standing: { ...known, epochs: { ...known.epochs, [epoch]: late } },
    decision: header.void === undefined
      ? { verdict: "accepted", gaps: [], reason: undefined }
      : duplicate,
  };
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
  // What the roll-up gives up tells nothing of where its sender is.
  const opensEpoch = number === 1 && !isGivenUp(header);
  const before = named(agent?.epochs ?? {}, epoch);
  const standing = standingWith({
    number,
    digest,
    ahead: stillAhead(before?.ahead, number),
    givenUp: isGivenUp(header)
      ? withGivenUp(before?.givenUp, header)
      : withNamed(before?.givenUp, header),
  });
  return {
    current: opensEpoch ? epoch : agent?.current ?? epoch,
    epochs: { ...agent?.epochs, [epoch]: standing },
    fork: opensEpoch ? undefined : agent?.fork,
  };
}

/**
 * Where the batch lies is remembered. An agent whose first batches are missing is known by name as well, so that a
 * watermark of nothing can be given to it.
 */
function withEpochAhead(
  agent: AgentStanding | undefined,
  { epoch, number }: BatchHeader,
  place: Place,
): AgentStanding {
  const before = named(agent?.epochs ?? {}, epoch);
  const ahead = withAhead(before?.ahead, { ...place, number });
  return {
    current: before === undefined ? epoch : agent?.current ?? epoch,
    epochs: { ...agent?.epochs, [epoch]: standingWith({ ...(before ?? NOTHING), ahead }) },
    fork: agent?.fork,
  };
}

/** Equal standings are written alike: what is empty is left out. */
function standingWith({ number, digest, ahead = [], givenUp = [] }: Standing): Standing {
  return {
    number,
    digest,
    ...(ahead.length === 0 ? {} : { ahead }),
    ...(givenUp.length === 0 ? {} : { givenUp }),
  };
}

function gapOf(
  header: BatchHeader,
  kind: Gap["class"],
  reason: string,
  count: number | null,
): Gap {
  const { agent, epoch, number, firstUs, lastUs } = header;
  const batches = [number, number] as const;
  // What a new spool lost was before its first batch, nobody knows since when.
  const times = [firstUs, kind === "epoch" ? firstUs : lastUs] as const;
  return { class: kind, count, reason, agent, epoch, batches, times };
}
