/**
 * One run under one seed: agents make events, rivals roll them up, everything that can fail does, and in the end nothing
 * does any more and all must be in the table.
 */
import type { Log } from "../../src/runtime/log.ts";
import type { RowMaker } from "../../src/pipeline/round-rows.ts";
import { AgentActor } from "./agent-actor.ts";
import { AddressedBroker } from "./broker-connection.ts";
import { SimulatedBroker } from "./broker.ts";
import { SimulatedBucket } from "./bucket.ts";
import { drawFaults, drawMishaps, endFaults, type Mishaps } from "./faults.ts";
import { TEMPORARY_MACHINE } from "./file-modules.ts";
import { KeeperActor } from "./keeper-actor.ts";
import type { LedgerRow } from "./ledger.ts";
import { Machine } from "./machine.ts";
import { MishapMaker } from "./mishap-maker.ts";
import { createRandom, type Random } from "./random.ts";
import { Referee } from "./referee.ts";
import { RollupActor, type RollupActorOptions } from "./rollup-actor.ts";
import { type RunLimits, SimulatedTime } from "./simulated-time.ts";
import { SpoolWatch } from "./spool-watch.ts";
import { enterStage, type Stage } from "./stage.ts";
import { ViolationError } from "./violation.ts";

export interface RunOptions {
  readonly seed: number;
  readonly rows: RowMaker;
  /** Rows of a data file; undefined when files are read after the run. */
  readonly readRows: ((body: Uint8Array) => readonly LedgerRow[]) | undefined;
  /** Told of what happens, when it is wanted. */
  readonly trace?: (line: string) => void;
}

export interface RunSummary {
  readonly seed: number;
  readonly events: number;
  readonly simulatedSeconds: number;
  readonly made: number;
  readonly durable: number;
  readonly commits: number;
  readonly rows: number;
  readonly versions: number;
  readonly mismatches: number;
  /** Files whose rows moved to others; and times that somebody's picture of the table was compared. */
  readonly replaced: number;
  readonly views: number;
  readonly deletions: number;
  readonly verdicts: Readonly<Record<string, number>>;
}

const START_US = Date.UTC(2026, 4, 17, 23, 58) * 1000;
/** Most simulated time of trouble, and of the peace after it, s. */
const TROUBLE_MAX_S = 45;
const TROUBLE_LEAST_S = 10;
const PEACE_MAX_S = 1200;
const EVENTS_MAX = 200_000;
/** How likely a night is where somebody keeps the table; longer than the grace after which objects may be removed. */
const NIGHT_SHARE = 0.3;
const NIGHT_US = 30 * 3_600_000_000;
/** Until all that was sent has arrived; and what follows the night. */
const EVENING_S = 60;
const MORNING_S = 15;
/** How much of it there is, in a part of the seeds. */
const SHARDS_MAX = 3;
const KEEP_MS_MAX = 15_000;
/** Between its look at the stream and its purge, one that keeps messages for a time asks for that time's sequence, µs. */
const TRUNCATING_US = 12_000_000;

export class World {
  readonly #options: RunOptions;
  readonly #random: Random;
  readonly time = new SimulatedTime(START_US);
  readonly bucket = new SimulatedBucket();
  readonly referee: Referee;
  readonly #broker: SimulatedBroker;
  readonly #agents: AgentActor[];
  readonly #rollups: readonly RollupActor[];
  readonly #keepers: readonly KeeperActor[];
  readonly #mishaps: Mishaps;
  #violation: unknown;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#random = createRandom(options.seed);
    this.#broker = new SimulatedBroker(this.time);
    this.#mishaps = drawMishaps(this.#random);
    const keepMs = this.#random.chance(0.25) ? this.#random.between(1_000, KEEP_MS_MAX) : 0;
    this.referee = new Referee({
      bucket: this.bucket,
      streams: this.#broker.streams,
      isDurable: (event) => this.#agents.some(({ watch }) => watch?.durable.has(event) === true),
      isRestored: (sender) =>
        this.#agents.some(({ machine, isRestored }) => machine.name === sender && isRestored),
      readRows: options.readRows,
      truncatingUs: keepMs === 0 ? 0 : TRUNCATING_US,
      keepUs: Number.isFinite(this.#mishaps.clockJumped) ? 0 : keepMs * 1000,
    });
    const machines = new Map<string, Machine>();
    const faults = drawFaults(this.#random);
    const random = this.#random.fork();
    const broker = new AddressedBroker(this.#broker);
    const { time, bucket } = this;
    const softwareRandom = this.#random.fork();
    const day = { isNight: false, hasSlept: false };
    this.#stage = { time, random, softwareRandom, machines, faults, broker, bucket, ...day };
    enterStage(this.#stage);
    this.#faults = faults;
    const log = this.#log({});
    const count = this.#random.chance(0.35) ? this.#random.between(2, SHARDS_MAX) : 1;
    const shards = Array.from({ length: count }, (_, shard) => String(shard));
    this.#agents = this.#openAgents(shards, log);
    this.#rollups = this.#openRollups(shards, { log, keepMs });
    this.#keepers = this.#openKeepers(log);
    const temporary = new Machine(TEMPORARY_MACHINE);
    temporary.start();
    for (const { machine } of [...this.#agents, ...this.#rollups, ...this.#keepers]) {
      machines.set(machine.name, machine);
    }
    machines.set(temporary.name, temporary);
    this.#listen();
  }

  readonly #faults;
  readonly #stage: Stage;

  async run(): Promise<RunSummary> {
    const { time } = this;
    this.#startAll();
    const mishaps = new MishapMaker({
      random: this.#random.fork(),
      mishaps: this.#mishaps,
      agents: this.#agents,
      rollups: this.#rollups,
      keepers: this.#keepers,
      clone: (agent) => this.#clone(agent),
      note: (what) => this.#trace(`-- ${what}`),
    });
    const troubleS = this.#random.between(TROUBLE_LEAST_S, TROUBLE_MAX_S);
    const limits: RunLimits = { afterEach: () => this.#check(), eventsMax: EVENTS_MAX };
    await time.run(() => time.seconds >= troubleS, limits);
    if (this.#keepers.length > 0 && this.#random.chance(NIGHT_SHARE)) await this.#sleep(limits);
    this.#trace("-- peace");
    endFaults(this.#faults);
    mishaps.end();
    for (const agent of this.#agents) agent.isMaking = false;
    let isLeft = true;
    const look = (): void => {
      isLeft = this.#agents.some(({ watch, machine }) => watch?.isEmpty !== true || !machine.isUp);
      time.after(1_000_000, look);
    };
    // What is open in a batcher is flushed meanwhile.
    time.after(15_000_000, look);
    const peaceS = time.seconds + PEACE_MAX_S;
    await time.run(() => !isLeft || time.seconds > peaceS, limits);
    this.#finish();
    return this.#summary();
  }

  #startAll(): void {
    for (const actor of [...this.#rollups, ...this.#agents, ...this.#keepers]) {
      this.time.after(this.#random.next() * 2_000_000, () => actor.start());
    }
  }

  /** All go down, what is under way arrives, a day and more goes by, and trouble goes on. */
  async #sleep(limits: RunLimits): Promise<void> {
    const { time } = this;
    this.#trace("-- night");
    this.#stage.isNight = true;
    for (const { machine } of [...this.#rollups, ...this.#agents, ...this.#keepers]) {
      if (machine.isUp) machine.kill({ isPowerLost: false });
    }
    const eveningS = time.seconds + EVENING_S;
    await time.run(() => time.seconds >= eveningS, limits);
    time.skip(NIGHT_US);
    this.#trace("-- morning");
    this.#stage.isNight = false;
    this.#stage.hasSlept = true;
    this.#startAll();
    const morningS = time.seconds + MORNING_S;
    await time.run(() => time.seconds >= morningS, limits);
  }

  /** One copy is enough. */
  #clone(agent: AgentActor): void {
    if (this.#agents.some(({ isRestored }) => isRestored)) return;
    const twin = agent.clone(this.#random.fork());
    this.#watch(twin);
    if (agent.watch !== undefined) twin.watch?.follow(agent.watch);
    this.#agents.push(twin);
    this.#stage.machines.set(twin.machine.name, twin.machine);
    twin.start();
  }

  #watch(agent: AgentActor): void {
    const { disk, name } = agent.machine;
    agent.watch = new SpoolWatch(
      disk,
      ({ ordinal, digest }) =>
        this.#guard(() => this.referee.released(`${name}'s batch ${ordinal}`, digest)),
    );
  }

  #openAgents(shards: readonly string[], log: Log): AgentActor[] {
    const count = this.#random.between(1, 3);
    return Array.from({ length: count }, (_, at) => {
      const agent = new AgentActor({
        name: `agent-${at + 1}`,
        shard: shards[at % shards.length] ?? "0",
        random: this.#random.fork(),
        log,
        flushMs: this.#random.between(100, 1_000),
        pauseUs: this.#random.between(300, 3_000) * 1_000,
      });
      this.#watch(agent);
      return agent;
    });
  }

  /** Two rivals for each shard, or workers that share them out. */
  #openRollups(
    shards: readonly string[],
    { log, keepMs }: { readonly log: Log; readonly keepMs: number },
  ): readonly RollupActor[] {
    const isTelling = this.#random.chance(0.2);
    const isLeased = this.#random.chance(0.25);
    const intervalMs = this.#random.between(200, 3_000);
    const segmentMaxBytes = this.#random.chance(0.3) ? 2_000 : 1_000_000;
    const open = (name: string, served: RollupActorOptions["shards"]) =>
      new RollupActor({
        name: `rollup-${name}`,
        shards: served,
        random: this.#random.fork(),
        log,
        intervalMs: this.#random.chance(0.7) ? intervalMs : this.#random.between(200, 6_000),
        segmentMaxBytes,
        rows: this.#options.rows,
        keepMs,
        isTelling: isTelling && name.endsWith("a"),
      });
    return isLeased
      ? ["a", "b", "c"].map((name) => open(name, { leased: shards }))
      : shards.flatMap((shard) => ["a", "b"].map((rival) => open(`${shard}${rival}`, [shard])));
  }

  /** None where rows are made by a real database: they would have to be read by it. */
  #openKeepers(log: Log): readonly KeeperActor[] {
    const isKept = this.#random.chance(0.4) && this.#options.readRows !== undefined;
    const names = isKept ? ["keeper-1", "keeper-2"].slice(0, this.#random.between(1, 2)) : [];
    return names.map((name) =>
      new KeeperActor({
        name,
        random: this.#random.fork(),
        log,
        onView: (snapshot) => this.#guard(() => this.referee.table.viewed(snapshot)),
      })
    );
  }

  #listen(): void {
    const { referee, bucket } = this;
    bucket.onPut = (key, body) => this.#guard(() => referee.put(key, body));
    bucket.onDelete = (key) => this.#guard(() => referee.deleted(key));
    this.#broker.listener = {
      stored: (stream, message, replaced) =>
        this.#guard(() => referee.stored(stream, message, replaced)),
      purged: (stream, before, lookedAtUs) =>
        this.#guard(() => referee.purged(stream, before, lookedAtUs)),
    };
  }

  /** A violation ends the run after the event, whoever would have caught it in between. */
  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#violation ??= error;
    }
  }

  #check(): void {
    if (this.#violation !== undefined) throw this.#violation;
  }

  /** Everything that was ever durable in a spool is in the table, and no spool holds anything back. */
  #finish(): void {
    for (const { machine, watch } of this.#agents) {
      const missing = [...watch?.batches.values() ?? []].flatMap(({ events }) => events)
        // What the producer tells of itself has no name of its own.
        .filter((id) => id.startsWith(`${machine.name}#`) && !this.referee.hasEvent(id));
      if (missing.length > 0) {
        throw new ViolationError(
          `${machine.name}: ${missing.length} durable events are not in the table: ${
            missing.slice(0, 5)
          }`,
        );
      }
      if (watch?.isEmpty !== true) {
        throw new ViolationError(`${machine.name}: the spool holds on to what is in the table`);
      }
    }
  }

  #summary(): RunSummary {
    const { referee, time } = this;
    const batches = this.#agents.flatMap(({ watch }) => [...watch?.batches.values() ?? []]);
    return {
      seed: this.#options.seed,
      events: time.events,
      simulatedSeconds: Math.round(time.seconds),
      made: this.#agents.reduce((sum, { made }) => sum + made, 0),
      durable: batches.reduce((sum, { events }) => sum + events.length, 0),
      commits: referee.commits,
      rows: referee.rows,
      versions: referee.version + 1,
      mismatches: this.#rollups.reduce((sum, { mismatches }) => sum + mismatches, 0),
      replaced: referee.table.replaced,
      views: referee.table.views,
      deletions: referee.deletions,
      verdicts: Object.fromEntries(referee.verdicts),
    };
  }

  #trace(line: string): void {
    this.#options.trace?.(`${this.time.seconds.toFixed(6)} ${line}`);
  }

  #log(fields: Readonly<Record<string, unknown>>): Log {
    const emit = (level: string) => (message: string, more: object = {}): void => {
      if (this.#options.trace === undefined) return;
      this.#trace(`${level} ${message} ${JSON.stringify({ ...fields, ...more })}`);
    };
    return {
      debug: emit("debug"),
      info: emit("info"),
      warn: emit("warn"),
      error: emit("error"),
      with: (more) => this.#log({ ...fields, ...more }),
    };
  }
}
