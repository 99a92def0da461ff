/**
 * Checks what may never happen, at the moment it would: at every object that appears in the bucket, every watermark,
 * every purge, every release of a spool. It reads what was written, not what the software believes.
 */
import type { AcceptanceState } from "../../src/event/acceptance.ts";
import { incarnationOf } from "../../src/event/event-id.ts";
import { LEASE_BUCKET, messageDigestOf, streamOf } from "../../src/event/wire.ts";
import { parseSegment, type Segment } from "../../src/pipeline/segment.ts";
import type { SimulatedBucket } from "./bucket.ts";
import type { SimulatedStream, StoredMessage } from "./broker-stream.ts";
import { openFrame } from "./opened-frames.ts";
import { stage } from "./stage.ts";
import { Ledger, type LedgerGap, type LedgerRow } from "./ledger.ts";
import { TableWatch } from "./table-watch.ts";
import { canonical, demand, demandSame, ViolationError } from "./violation.ts";

export interface RefereeOptions {
  readonly bucket: SimulatedBucket;
  readonly streams: ReadonlyMap<string, SimulatedStream>;
  /** Whether an event is, or was, on the disk of an agent for good. */
  readonly isDurable: (event: string) => boolean;
  /** Whether the disk of a sender was set back: it may send anew, in a new epoch, what the record has. */
  readonly isRestored: (sender: string) => boolean;
  /** The rows of a data file; undefined when they are read only at the end. */
  readonly readRows: ((body: Uint8Array) => readonly LedgerRow[]) | undefined;
  /** How long one that truncates may be at it after its look at the stream, µs. */
  readonly truncatingUs: number;
  /** Messages stay in the stream for so long, µs, as far as all clocks agree. */
  readonly keepUs: number;
}

interface Tip {
  readonly version: number;
  readonly incarnation: string;
  readonly sequence: number;
  readonly state: string;
}

/** What a commit must have written, for readers at the end. */
export interface ExpectedFiles {
  readonly keys: readonly string[];
  readonly rows: readonly LedgerRow[];
  readonly gaps: readonly PlacedGap[];
}

interface PlacedGap extends LedgerGap {
  readonly seq: number;
  readonly idx: number;
}

interface CommitEntry {
  readonly startedFrom: number | null;
  readonly incarnation: string;
  readonly sequence: number;
  readonly digest: string;
  readonly state: string;
  readonly firstSequence: number;
  readonly evidence: readonly string[];
}

const KEPT_FOR_GOOD = /^(evidence|quarantine|registry)\/|^table\/_delta_log\/\d{20}\.json$/;
const LOG_KEY = /^table\/_delta_log\/(\d{20})\.json$/;

export class Referee {
  readonly #options: RefereeOptions;
  readonly #ledgers = new Map<string, Ledger>();
  readonly #tips = new Map<string, Tip>();
  readonly #pastIncarnations = new Set<string>();
  /** Highest committed sequence of every incarnation. */
  readonly #committed = new Map<string, number>();
  readonly #eventsSeen = new Set<string>();
  readonly #lastOfSender = new Map<string, number>();
  readonly #takenDigests = new Set<string>();
  /** Digests of the messages the broker ever stored at a place. */
  readonly #stored = new Map<string, Set<string>>();
  readonly expected: ExpectedFiles[] = [];
  readonly table: TableWatch;
  #version = -1;
  commits = 0;
  /** Objects that left the bucket. */
  deletions = 0;
  rows = 0;
  readonly verdicts = new Map<string, number>();

  constructor(options: RefereeOptions) {
    this.#options = options;
    this.table = new TableWatch(options.bucket, options.readRows);
  }

  get version(): number {
    return this.#version;
  }

  hasEvent(id: string): boolean {
    return this.#eventsSeen.has(id);
  }

  isTaken(digest: string): boolean {
    return this.#takenDigests.has(digest);
  }

  stored(
    stream: SimulatedStream,
    message: StoredMessage,
    replaced: StoredMessage | undefined,
  ): void {
    const { name } = stream.settings;
    // Nothing depends on leases.
    if (name === `KV_${LEASE_BUCKET}`) return;
    if (name.startsWith("KV_")) {
      // Where revisions were given twice, a write may meet the wrong one; the next rewriting mends that.
      return this.#watermark(message, stream.hasLostTail ? undefined : replaced);
    }
    const place = `${incarnationOf(name, stream.created)}-${message.sequence}`;
    const digests = this.#stored.get(place) ?? new Set();
    const headers = new Map([...message.headers ?? []].map(([key, [value = ""]]) => [key, value]));
    const { subject, data: payload } = message;
    this.#stored.set(place, digests.add(messageDigestOf({ subject, headers, payload })));
  }

  /**
   * No purge can name the incarnation it is meant for, so one that was on its way, or whose sender had just looked, may
   * meet a stream made again; spools repair that. Any other is of what the table holds.
   */
  purged(stream: SimulatedStream, beforeSequence: number, lookedAtUs: number): void {
    const { name } = stream.settings;
    const { truncatingUs, keepUs } = this.#options;
    if (name.startsWith("KV_") || stream.createdAtUs > lookedAtUs - truncatingUs) return;
    const tip = this.#tips.get(name.replace("AUDIT_", ""));
    const isCommitted = tip !== undefined && beforeSequence <= tip.sequence &&
      tip.incarnation === incarnationOf(name, stream.created);
    demand(isCommitted, `"${name}" was purged before ${beforeSequence}: ${JSON.stringify(tip)}`);
    for (const { sequence, atUs } of stream.messages.values()) {
      const isYoung = sequence < beforeSequence && atUs > stage().time.nowUs - keepUs;
      demand(!isYoung, `message ${sequence} of "${name}" was purged before its time`);
    }
  }

  /** A spool says that it needs a batch no more. */
  released(batch: string, digest: string): void {
    demand(this.isTaken(digest), `${batch} was released, but it is no part of the table`);
  }

  put(key: string, body: Uint8Array): void {
    const version = LOG_KEY.exec(key)?.[1];
    if (version !== undefined) this.#logEntry(Number(version), new TextDecoder().decode(body));
  }

  deleted(key: string): void {
    if (!key.startsWith("probe/")) this.deletions += 1;
    demand(!KEPT_FOR_GOOD.test(key), `"${key}" was deleted, which stays for good`);
    this.table.deleted(key, stage().time.nowUs);
    const isState = [...this.#tips.values()].some(({ state }) => state === key);
    demand(!isState, `"${key}" was deleted, and a shard goes on from it`);
  }

  #watermark({ subject, data }: StoredMessage, replaced: StoredMessage | undefined): void {
    const [, , shard = "", agent = ""] = subject.split(".");
    const mark = JSON.parse(new TextDecoder().decode(data));
    const what = `watermark "${shard}.${agent}" ${JSON.stringify(mark)}`;
    const before = replaced === undefined
      ? {}
      : JSON.parse(new TextDecoder().decode(replaced.data));
    // One of nothing is written when a stream was made again, and may be late.
    const isBack = before.incarnation === mark.incarnation && mark.sequence > 0 &&
      mark.sequence < before.sequence;
    demand(!isBack, `${what} goes back from ${before.sequence}`);
    const committed = this.#committed.get(mark.incarnation) ?? 0;
    demand(mark.sequence <= committed, `${what} is ahead of the table, which is at ${committed}`);
    if (mark.number === 0) return;
    const batch = `${agent}/${mark.epoch}/${mark.number}`;
    const digest = this.#ledgers.get(shard)?.taken.get(batch);
    demand(digest === mark.digest, `${what} names a batch that the table has as ${digest}`);
  }

  #logEntry(version: number, text: string): void {
    demand(version === this.#version + 1, `version ${version} follows ${this.#version}`);
    this.#version = version;
    const actions = text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    const appId: string | undefined = actions.find(({ txn }) => txn !== undefined)?.txn.appId;
    const keys: string[] = actions.flatMap(({ add }) =>
      add === undefined ? [] : [`table/${decodeURIComponent(add.path)}`]
    );
    const changed = (kind: "add" | "remove"): string[] =>
      actions.flatMap((action) =>
        action[kind] === undefined ? [] : [decodeURIComponent(action[kind].path)]
      );
    const atUs = stage().time.nowUs;
    const files = { version, atUs, added: changed("add"), removed: changed("remove") };
    if (appId === undefined) return this.table.add({ ...files, position: undefined });
    const shard = appId.replace("shard:", "");
    const entry: CommitEntry = actions.find(({ commitInfo }) => commitInfo !== undefined)
      .commitInfo.probity;
    const txn = actions.find(({ txn }) => txn !== undefined).txn;
    demand(txn.version === version, `txn of version ${version} names ${txn.version}`);
    this.commits += 1;
    const { incarnation, sequence } = entry;
    this.table.add({ ...files, position: { shard, version, incarnation, sequence } });
    this.#follow(shard, version, entry);
    this.#account(shard, entry, keys);
  }

  /** The commit continues the shard's last one, in the same incarnation or in one that never was before. */
  #follow(shard: string, version: number, entry: CommitEntry): void {
    const { startedFrom, incarnation, sequence, firstSequence } = entry;
    const tip = this.#tips.get(shard);
    const what = `version ${version} of shard ${shard}`;
    demand(
      startedFrom === (tip?.version ?? null),
      `${what} started from ${startedFrom}, but ${tip?.version} is the last: a zombie`,
    );
    if (tip !== undefined && tip.incarnation === incarnation) {
      demand(firstSequence > tip.sequence, `${what} begins at ${firstSequence} again`);
    } else if (tip !== undefined) this.#pastIncarnations.add(tip.incarnation);
    const isPast = this.#pastIncarnations.has(incarnation);
    demand(!isPast, `${what} goes back to incarnation ${incarnation}`);
    this.#tips.set(shard, { version, incarnation, sequence, state: entry.state });
    this.#committed.set(incarnation, Math.max(sequence, this.#committed.get(incarnation) ?? 0));
  }

  /** Evidence, state, files and position tell of the same messages. */
  #account(shard: string, entry: CommitEntry, keys: readonly string[]): void {
    const { incarnation, sequence, firstSequence } = entry;
    const { bucket, readRows } = this.#options;
    const bodies = [...keys, ...entry.evidence, entry.state].map((key) => {
      const body = bucket.at(key)?.body;
      if (body === undefined) throw new ViolationError(`"${key}" is committed, but not there`);
      return body;
    });
    const segments = entry.evidence.map((_, at) =>
      parseSegment(bodies[keys.length + at] ?? new Uint8Array())
    );
    const ledger = this.#ledgers.get(shard) ?? new Ledger(shard);
    this.#ledgers.set(shard, ledger);
    ledger.begin(incarnation);
    const { rows, gaps, last } = this.#judge(ledger, segments);
    demand(
      last?.sequence === sequence && last.digest === entry.digest,
      `evidence ends at ${last?.sequence}, the commit at ${sequence}`,
    );
    demand(last.first === firstSequence, `evidence begins at ${last.first}, not ${firstSequence}`);
    this.#compareState(ledger, entry, bodies.at(-1) ?? new Uint8Array());
    this.expected.push({ keys, rows, gaps });
    this.rows += rows.length + gaps.length;
    if (readRows === undefined) return;
    compareRows({ keys, rows, gaps }, bodies.slice(0, keys.length).flatMap(readRows));
  }

  #judge(ledger: Ledger, segments: readonly Segment[]) {
    const rows: LedgerRow[] = [];
    const gaps: PlacedGap[] = [];
    let last: { first: number; sequence: number; digest: string } | undefined;
    for (const message of segments.flatMap(({ messages }) => messages)) {
      const digest = messageDigestOf(message);
      const place = `${ledger.incarnation}-${message.sequence}`;
      demand(
        this.#stored.get(place)?.has(digest) === true,
        `evidence holds a message at ${place} that the broker never had there`,
      );
      last = { first: last?.first ?? message.sequence, sequence: message.sequence, digest };
      this.#requireHole(ledger, message.sequence);
      const judged = ledger.judge(message);
      this.verdicts.set(judged.verdict, (this.verdicts.get(judged.verdict) ?? 0) + 1);
      if (judged.taken !== undefined) this.#takenDigests.add(judged.taken);
      for (const row of judged.rows) this.#countEvent(row);
      rows.push(...judged.rows);
      for (const [at, gap] of judged.gaps.entries()) {
        gaps.push({ ...gap, seq: message.sequence, idx: judged.rows.length + at });
      }
    }
    return { rows, gaps, last };
  }

  /** What is passed over is not there. */
  #requireHole({ incarnation, sequence, shard }: Ledger, next: number): void {
    const name = streamOf(shard);
    const stream = this.#options.streams.get(name);
    if (stream === undefined || incarnationOf(name, stream.created) !== incarnation) return;
    for (let at = sequence + 1; at < next; at++) {
      demand(!stream.messages.has(at), `message ${at} of "${name}" is passed over`);
    }
  }

  /** Messages of events are `<sender>#<number>`: each once, and a sender's in order. */
  #countEvent({ message, epoch }: LedgerRow): void {
    const [, sender = "", number = ""] = /^(.*)#(\d+)$/.exec(String(message)) ?? [];
    if (sender === "") return;
    const within = this.#options.isRestored(sender) ? `/${String(epoch)}` : "";
    const event = `${String(message)}${within}`;
    demand(!this.#eventsSeen.has(event), `event ${event} is in the table twice`);
    this.#eventsSeen.add(event).add(String(message));
    const isDurable = this.#options.isDurable(String(message));
    demand(isDurable, `event ${String(message)} travelled before it was durable`);
    const line = `${sender}${within}`;
    const before = this.#lastOfSender.get(line) ?? 0;
    demand(Number(number) > before, `event ${String(message)} comes after number ${before}`);
    this.#lastOfSender.set(line, Number(number));
  }

  #compareState(ledger: Ledger, { digest }: CommitEntry, body: Uint8Array): void {
    const stored: AcceptanceState = JSON.parse(new TextDecoder().decode(openFrame(body)));
    requireFindable(ledger, stored);
    const expected = { ...ledger.state() as object, digest };
    const [found, wanted] = [canonical(withoutPlaces(stored)), canonical(expected)];
    demand(found === wanted, `the state is not what its messages make:\n${found}\n${wanted}`);
  }
}

/** What came ahead of a hole can be found again in the stream's evidence, should its sender never close the hole. */
function requireFindable(ledger: Ledger, { agents }: AcceptanceState): void {
  for (const { agent, epoch, number, incarnation, sequence } of ledger.ahead()) {
    const ranges = agents[agent]?.epochs[epoch]?.ahead ?? [];
    const range = ranges.find((each) => each.incarnation === incarnation);
    demand(
      range !== undefined && range.first <= sequence && sequence <= range.last &&
        range.highest >= number,
      `batch ${number} of "${agent}" came ahead at ${sequence} of ${incarnation} and is forgotten`,
    );
  }
}

/** The state without the places of what came ahead, which the ledger need not know. */
function withoutPlaces(state: AcceptanceState): unknown {
  const agents = Object.entries(state.agents).map(([name, standing]) => {
    const epochs = Object.entries(standing.epochs)
      .map(([epoch, { ahead: _, ...each }]) => [epoch, each] as const);
    return [name, { ...standing, epochs: Object.fromEntries(epochs) }] as const;
  });
  return { ...state, agents: Object.fromEntries(agents) };
}

/** The rows of a commit are those that its messages make, each once, and no others. */
export function compareRows(expected: ExpectedFiles, found: readonly LedgerRow[]): void {
  // Agents tell of gaps by events of their own, so it is the place that shows which is acceptance's.
  const places = new Set(expected.gaps.map(({ seq, idx }) => `${seq}-${idx}`));
  const isGap = ({ seq, idx, topic }: LedgerRow): boolean =>
    topic === "agent/gap" && places.has(`${seq}-${idx}`);
  const events = found.filter((row) => !isGap(row));
  const gaps = found.filter(isGap).map(({ seq, idx, detail }) => {
    const { class: kind, count, agent, epoch, batches } = { ...detail as LedgerGap };
    return { class: kind, count, agent, epoch, batches, seq, idx };
  });
  demandSame("rows", events, expected.rows);
  demandSame("gap rows", gaps, expected.gaps);
}
