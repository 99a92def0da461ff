/**
 * One of the rivals that roll up a shard: the real roll-up over the simulated bucket and broker, started again whenever
 * it ends, and the operator who is asked where the software must not decide.
 */
import type { Log } from "../../src/runtime/log.ts";
import type { Metrics } from "../../src/runtime/metrics.ts";
import { openRollup } from "../../src/pipeline/rollup.ts";
import type { RowMaker } from "../../src/pipeline/round-rows.ts";
import { StreamMismatchError } from "../../src/pipeline/stream-start.ts";
import { openS3Store } from "../../src/storage/s3-store.ts";
import { SIMULATED_ROOT } from "./file-modules.ts";
import { Machine } from "./machine.ts";
import type { Random } from "./random.ts";
import { stage } from "./stage.ts";

export interface RollupActorOptions {
  readonly name: string;
  readonly shard: string;
  readonly random: Random;
  readonly log: Log;
  readonly intervalMs: number;
  readonly segmentMaxBytes: number;
  readonly rows: RowMaker;
  /** Whether it tells of itself by a producer of its own. */
  readonly isTelling: boolean;
}

const DOWN_US = 6_000_000;
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
    if (this.machine.isUp) return;
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
    const { shard, log, intervalMs, segmentMaxBytes, rows, isTelling } = this.#options;
    const { machine } = this;
    const { address } = machine;
    const own = log.with({ at: address });
    const isAccepted = this.#isAccepted();
    const producer = {
      directory: `${SIMULATED_ROOT}${address}/spool`,
      host: machine.name,
      version: "simulated",
    };
    try {
      await using store = openS3Store({
        url: "s3://bucket",
        endpoint: `sim://${address}`,
        log: own,
      });
      await using rollup = await openRollup({
        store,
        nats: { url: `nats://${address}` },
        shard,
        intervalMs,
        segmentMaxBytes,
        scratchDirectory: `${SIMULATED_ROOT}${address}/scratch`,
        acceptNewStream: isAccepted,
        ...(isTelling ? { producer } : {}),
        rows,
        log: own,
        metrics: NO_METRICS,
        clock: machine.clock(),
        signal: this.#stop.signal,
      });
      await rollup.run(this.#stop.signal);
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
