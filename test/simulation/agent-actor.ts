/** A host with an agent: a real producer with its spool on the simulated disk, and somebody who makes events. */
import type { Log } from "../../src/runtime/log.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import type { Producer } from "../../src/producer/producer.ts";
import type { DiskCopy } from "./disk.ts";
import { Machine } from "./machine.ts";
import type { Random } from "./random.ts";
import { SIMULATED_ROOT } from "./file-modules.ts";
import type { SpoolWatch } from "./spool-watch.ts";
import { stage } from "./stage.ts";

export interface AgentActorOptions {
  readonly name: string;
  readonly shard: string;
  readonly random: Random;
  readonly log: Log;
  readonly flushMs: number;
  /** Longest pause between two bursts of events, µs. */
  readonly pauseUs: number;
}

/** Never full here; zeros ahead of what is written are a part of it, and a simulated disk is memory. */
const SPOOL_BYTES_MAX = 32 * 1024 * 1024;
const BURST_MAX = 4;
const DOWN_US = 8_000_000;
const REOPEN_US = 1_000_000;

/** The disk of an agent at some moment, and what a watcher knew of it. */
export interface AgentCopy {
  readonly disk: DiskCopy;
  readonly remember: (() => void) | undefined;
}

export class AgentActor {
  readonly machine: Machine;
  watch: SpoolWatch | undefined;
  readonly #options: AgentActorOptions;
  #producer: Producer | undefined;
  /** Events made so far, by all lives. */
  made = 0;
  isMaking = true;
  /** Its disk was once set back. */
  isRestored = false;

  constructor(options: AgentActorOptions) {
    this.#options = options;
    this.machine = new Machine(options.name);
  }

  /** A machine like it, on a copy of its disk. */
  clone(random: Random): AgentActor {
    const twin = new AgentActor({ ...this.#options, name: `${this.machine.name}-twin`, random });
    const { disk } = this.copyDisk();
    twin.machine.disk.restore(disk);
    // Whichever of the two comes second sends what both have once more, in an epoch of its own.
    this.isRestored = true;
    twin.isRestored = true;
    return twin;
  }

  start(): void {
    if (this.machine.isUp || stage().isNight) return;
    this.machine.start();
    void this.#live(this.machine.life);
    this.#makeLater();
  }

  kill(options: { readonly isPowerLost: boolean }): void {
    if (!this.machine.isUp) return;
    this.#producer = undefined;
    this.machine.kill(options);
    stage().time.after(this.#options.random.next() * DOWN_US, () => this.start());
  }

  /** A copy of its disk, as a snapshot of a virtual machine is. */
  copyDisk(): AgentCopy {
    return { disk: this.machine.disk.copy(), remember: this.watch?.copy() };
  }

  /** The machine goes on from a copy: what it did since then never was, but for what others know of it. */
  restoreDisk({ disk, remember }: AgentCopy): void {
    this.isRestored = true;
    this.#producer = undefined;
    const isUp = this.machine.isUp;
    if (isUp) this.machine.kill({ isPowerLost: false });
    this.machine.disk.restore(disk);
    remember?.();
    if (isUp) stage().time.after(this.#options.random.next() * DOWN_US, () => this.start());
  }

  async #live(life: number): Promise<void> {
    const { shard, log, flushMs, random } = this.#options;
    const { machine } = this;
    const { address } = machine;
    try {
      const producer = await openProducer({
        directory: `${SIMULATED_ROOT}${address}/spool`,
        host: machine.name,
        shard,
        nats: { url: `nats://${address}` },
        spoolBytesMax: SPOOL_BYTES_MAX,
        flushMs,
        clock: machine.clock(),
        log: log.with({ at: address }),
      });
      if (machine.isUp && machine.life === life) this.#producer = producer;
    } catch (error) {
      log.error("agent not opened", { at: address, error: String(error) });
      // A disk that refuses at the start: the process ends, and is started again.
      machine.kill({ isPowerLost: false });
      stage().time.after(REOPEN_US * (1 + random.next()), () => this.start());
    }
  }

  #makeLater(): void {
    const { random, pauseUs } = this.#options;
    const { life } = this.machine;
    stage().time.after(random.next() * pauseUs, () => {
      if (!this.machine.isUp || this.machine.life !== life) return;
      if (this.isMaking && this.#producer !== undefined) this.#make(this.#producer);
      if (this.isMaking) this.#makeLater();
    });
  }

  #make(producer: Producer): void {
    const { random } = this.#options;
    const { time } = stage();
    for (let left = random.between(1, BURST_MAX); left > 0; left--) {
      this.made += 1;
      producer.emit({
        timeUs: time.nowUs + Math.round(this.machine.skewUs),
        topic: "app/simulation/event",
        severity: "info",
        message: `${this.machine.name}#${this.made}`,
      });
    }
  }
}
