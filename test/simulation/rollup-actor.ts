/**
 * One of the rivals that roll up a shard: the real roll-up over the simulated bucket and broker, started again whenever
 * it ends, and the operator who is asked where the software must not decide.
 */
import type { Log } from "../../src/runtime/log.ts";
import type { Metrics } from "../../src/runtime/metrics.ts";
import { openRollup, type RollupOptions } from "../../src/pipeline/rollup.ts";
import type { RowMaker } from "../../src/pipeline/round-rows.ts";
import { StreamMismatchError } from "../../src/pipeline/stream-start.ts";
import { openWorker } from "../../src/pipeline/worker.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { openS3Store } from "../../src/storage/s3-store.ts";
import { SIMULATED_ROOT } from "./file-modules.ts";
import { Machine } from "./machine.ts";
import type { Random } from "./random.ts";
import { stage } from "./stage.ts";

export interface RollupActorOptions {
  readonly name: string;
  /** One; or all there are, of which it serves those it has a lease for. */
  readonly shards: readonly [string] | { readonly leased: readonly string[] };
  readonly random: Random;
  readonly log: Log;
  readonly intervalMs: number;
  readonly segmentMaxBytes: number;
  readonly rows: RowMaker;
  /** How long messages stay in the stream, ms. */
  readonly keepMs: number;
  /** Whether it tells of itself by a producer of its own. */
  readonly isTelling: boolean;
}

const DOWN_US = 6_000_000;
const LEASE_MS = 3_000;
/** What a read may show that is older; only after twice as long somebody believes that something is wrong. */
const DOUBT_US = 10_000_000;

const nothing = (): void => undefined;
const NO_METRICS: Metrics = {
  counter: () => ({ add: nothing }),
  gauge: () => ({ set: nothing }),
  histogram: () => ({ observe: nothing }),
  observed: nothing,
  observedEach: nothing,
  text: () => Promise.resolve(""),
  contentType: "",
};

export class RollupActor {
  readonly machine: Machine;
  readonly #options: RollupActorOptions;
  #stop = new AbortController();
  /** Since when it says that stream and bucket do not belong together. */
  #mismatchUs: number | undefined;
  mismatches = 0;

  constructor(options: RollupActorOptions) {
    this.#options = options;
    this.machine = new Machine(options.name);
  }

  start(): void {
    if (this.machine.isUp || stage().isNight) return;
    this.machine.start();
    this.#stop = new AbortController();
    void this.#live(this.machine.life);
  }

  kill(options: { readonly isPowerLost: boolean }): void {
    if (!this.machine.isUp) return;
    this.machine.kill(options);
    this.#startLater();
  }

  /** As a process is told to end: what is under way ends in order. */
  stop(): void {
    this.#stop.abort(new Error("stopped, as simulated"));
  }

  async #live(life: number): Promise<void> {
    const { machine } = this;
    const { address } = machine;
    const own = this.#options.log.with({ at: address });
    try {
      await using store = openS3Store({
        url: "s3://bucket",
        endpoint: `sim://${address}`,
        log: own,
      });
      await this.#serve(this.#work(store, own));
      this.#mismatchUs = undefined;
    } catch (error) {
      own.error("roll-up ended", { error: String(error) });
      if (error instanceof StreamMismatchError) {
        this.mismatches += 1;
        this.#mismatchUs ??= stage().time.nowUs;
      }
    }
    if (!machine.isUp || machine.life !== life) return;
    machine.kill({ isPowerLost: false });
    this.#startLater();
  }

  async #serve(work: Omit<RollupOptions, "shard">): Promise<void> {
    const { shards, isTelling } = this.#options;
    const { signal } = this.#stop;
    if ("leased" in shards) {
      await using worker = await openWorker({ ...work, shards: shards.leased, leaseMs: LEASE_MS });
      return await worker.run(signal);
    }
    const { name, address } = this.machine;
    const directory = `${SIMULATED_ROOT}${address}/spool`;
    const producer = { directory, host: name, version: "simulated" };
    const [shard] = shards;
    const own = isTelling ? { producer } : {};
    await using rollup = await openRollup({ ...work, shard, ...own });
    await rollup.run(signal);
  }

  #work(store: ObjectStore, log: Log): Omit<RollupOptions, "shard"> {
    const { intervalMs, segmentMaxBytes, rows, keepMs } = this.#options;
    const { address } = this.machine;
    return {
      store,
      nats: { url: `nats://${address}` },
      intervalMs,
      segmentMaxBytes,
      truncation: { keepMs },
      scratchDirectory: `${SIMULATED_ROOT}${address}/scratch`,
      acceptNewStream: this.#isAccepted(),
      rows,
      log,
      metrics: NO_METRICS,
      clock: this.machine.clock(),
      signal: this.#stop.signal,
    };
  }

  /** The operator says yes once it is sure that the bucket is the right one and not seen through a stale cache. */
  #isAccepted(): boolean {
    const { time, faults } = stage();
    const isSure = this.#mismatchUs !== undefined && time.nowUs - this.#mismatchUs > DOUBT_US &&
      faults.storeStale === 0;
    if (isSure) this.#mismatchUs = undefined;
    return isSure;
  }

  #startLater(): void {
    stage().time.after(this.#options.random.next() * DOWN_US, () => this.start());
  }
}
