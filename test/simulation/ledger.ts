/**
 * Acceptance once more, written down from its description and not from its code: what a shard's record holds after each
 * message, and which rows it gets. The referee compares it with what the roll-up committed.
 */
import { createHash } from "node:crypto";
import type { StreamMessage } from "../../src/runtime/stream-message.ts";
import { linesOfFrame } from "./opened-frames.ts";

export interface LedgerRow {
  readonly [column: string]: unknown;
}

/** Of a gap row only what it says; its words are nobody's contract. */
export interface LedgerGap {
  readonly class: string;
  readonly count: number | null;
  readonly agent: string | undefined;
  readonly epoch: string | undefined;
  readonly batches: readonly number[] | undefined;
}

export interface Judged {
  readonly verdict: "accepted" | "void" | "duplicate" | "fork" | "ahead" | "refused";
  /** Digest of a batch that is now part of the record. */
  readonly taken: string | undefined;
  readonly rows: readonly LedgerRow[];
  readonly gaps: readonly LedgerGap[];
}

interface Standing {
  number: number;
  digest: string;
}

/** A batch that came before one that is missing. */
export interface AheadBatch {
  readonly agent: string;
  readonly epoch: string;
  readonly number: number;
  readonly incarnation: string;
  readonly sequence: number;
}

interface Known {
  current: string;
  readonly epochs: Map<string, Standing>;
  fork: { readonly epoch: string; readonly number: number; readonly digest: string } | undefined;
}

interface Header {
  readonly host: string;
  readonly epoch: string;
  readonly number: number;
  readonly count: number;
  readonly digest: string;
  readonly previous: string | undefined;
  readonly isVoid: boolean;
}

export class Ledger {
  readonly shard: string;
  incarnation = "";
  sequence = 0;
  readonly agents = new Map<string, Known>();
  /** `<agent>/<epoch>/<number>` of everything taken, with its digest. */
  readonly taken = new Map<string, string>();
  #ahead: AheadBatch[] = [];

  constructor(shard: string) {
    this.shard = shard;
  }

  begin(incarnation: string): void {
    if (incarnation === this.incarnation) return;
    this.incarnation = incarnation;
    this.sequence = 0;
  }

  judge(message: StreamMessage): Judged {
    const isHole = this.sequence > 0 && message.sequence !== this.sequence + 1;
    this.sequence = message.sequence;
    const holes = isHole ? [gapOf("stream", null, undefined, undefined)] : [];
    const judged = this.#judge(message);
    return { ...judged, gaps: [...holes, ...judged.gaps] };
  }

  /** The state as it is stored, for comparison. */
  state(): unknown {
    const agents = [...this.agents].map(([name, { current, epochs, fork }]) => [name, {
      current,
      epochs: Object.fromEntries([...epochs].map(([epoch, each]) => [epoch, { ...each }])),
      ...(fork === undefined ? {} : { fork }),
    }]);
    const { incarnation, sequence } = this;
    return { incarnation, sequence, agents: Object.fromEntries(agents) };
  }

  /** What came ahead of a hole that is not closed yet. */
  ahead(): readonly AheadBatch[] {
    this.#ahead = this.#ahead.filter(({ agent, epoch, number }) =>
      number > (this.agents.get(agent)?.epochs.get(epoch)?.number ?? 0)
    );
    return this.#ahead;
  }

  #judge(message: StreamMessage): Judged {
    const agent = /^audit\.[a-z0-9]+\.([a-z0-9-]+)$/.exec(message.subject)?.[1] ?? "";
    const header = headerOf(message, agent);
    if (header === undefined) {
      if (!this.agents.has(agent)) {
        this.agents.set(agent, { current: "", epochs: new Map(), fork: undefined });
      }
      return { verdict: "refused", taken: undefined, rows: [], gaps: [] };
    }
    const { epoch, number, digest, previous } = header;
    const known = this.agents.get(agent);
    const before = known?.epochs.get(epoch) ?? { number: 0, digest: "" };
    const batches = [number, number];
    const mine = { agent, epoch, batches };
    if (number > before.number + 1) {
      const { incarnation, sequence } = this;
      this.#ahead.push({ agent, epoch, number, incarnation, sequence });
      if (known === undefined || !known.epochs.has(epoch)) {
        const fresh = known ?? { current: "", epochs: new Map(), fork: undefined };
        fresh.current = epoch;
        fresh.epochs.set(epoch, { number: 0, digest: "" });
        this.agents.set(agent, fresh);
      }
      return { verdict: "ahead", taken: undefined, rows: [], gaps: [] };
    }
    const isOther = number === before.number && digest !== before.digest;
    const isStray = number === before.number + 1 && number > 1 && previous !== before.digest;
    if (isOther || isStray) {
      const fresh = known ?? { current: epoch, epochs: new Map(), fork: undefined };
      fresh.fork = { epoch, number, digest };
      this.agents.set(agent, fresh);
      const gap = gapOf("fork", header.count, mine, undefined);
      return { verdict: "fork", taken: undefined, rows: [], gaps: [gap] };
    }
    if (number <= before.number) {
      return { verdict: "duplicate", taken: undefined, rows: [], gaps: [] };
    }
    return this.#take(message, agent, header);
  }

  #take(message: StreamMessage, agent: string, header: Header): Judged {
    const { epoch, number, digest, count, isVoid } = header;
    const mine = { agent, epoch, batches: [number, number] };
    const known = this.agents.get(agent) ?? { current: epoch, epochs: new Map(), fork: undefined };
    const gaps = number === 1 && !isContinued(known, header)
      ? [gapOf("epoch", null, mine, undefined)]
      : [];
    if (number === 1) {
      known.current = epoch;
      known.fork = undefined;
    }
    known.epochs.set(epoch, { number, digest });
    this.agents.set(agent, known);
    this.taken.set(`${agent}/${epoch}/${number}`, digest);
    if (isVoid) {
      return {
        verdict: "void",
        taken: digest,
        rows: [],
        gaps: [...gaps, gapOf("void", count, mine, undefined)],
      };
    }
    const lines = linesOf(message.payload, count);
    if (lines === undefined) {
      const gap = gapOf("unreadable", count, mine, undefined);
      return { verdict: "accepted", taken: digest, rows: [], gaps: [...gaps, gap] };
    }
    const { sequence, storedAtUs } = message;
    const placed = {
      incarnation: this.incarnation,
      seq: sequence,
      logged_at: storedAtUs,
      host: header.host,
      agent,
      epoch,
      batch: number,
    };
    const rows = lines.map((line) => ({ ...line, ...placed }));
    return { verdict: "accepted", taken: digest, rows, gaps };
  }
}

function isContinued(known: Known, { previous }: Header): boolean {
  const digests = [...known.epochs.values()].filter(({ number }) => number > 0)
    .map(({ digest }) => digest);
  return previous === undefined ? digests.length === 0 : digests.includes(previous);
}

function gapOf(
  kind: string,
  count: number | null,
  mine: Pick<LedgerGap, "agent" | "epoch" | "batches"> | undefined,
  nothing: undefined,
): LedgerGap {
  const { agent, epoch, batches } = mine ?? { agent: nothing, epoch: nothing, batches: nothing };
  return { class: kind, count, agent, epoch, batches };
}

/** Undefined when the message cannot be trusted. */
function headerOf({ headers, payload }: StreamMessage, agent: string): Header | undefined {
  const field = (name: string): string => headers.get(`Probity-${name}`) ?? "";
  const digest = field("Digest");
  const isVoid = headers.has("Probity-Void");
  const actual = createHash("sha256").update(payload).digest("hex");
  const isWhole = isVoid ? payload.length === 0 : actual === digest;
  if (agent === "" || field("Agent") !== agent || !isWhole || field("Batch") === "") {
    return undefined;
  }
  return {
    host: field("Host"),
    epoch: field("Epoch"),
    number: Number(field("Batch")),
    count: Number(field("Count")),
    digest,
    previous: headers.get("Probity-Prev"),
    isVoid,
  };
}

/** The lines of a payload; undefined unless they are as many as the header counts, numbered from 0. */
function linesOf(payload: Uint8Array, count: number): readonly LedgerRow[] | undefined {
  try {
    const rows = linesOfFrame(payload).map((line): LedgerRow => JSON.parse(line));
    return rows.length === count && rows.every(({ idx }, at) => idx === at) ? rows : undefined;
  } catch (error) {
    // Neither a frame nor JSON: unreadable is what it is called.
    return error instanceof Error ? undefined : [];
  }
}
