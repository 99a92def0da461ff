/**
 * A machine: a disk that outlives its processes, and one life after the other. A process that was killed never goes on:
 * whatever it waits for does not come.
 */
import type { Clock } from "../../src/runtime/clock.ts";
import { Disk } from "./disk.ts";
import { never, stage } from "./stage.ts";

export class Machine {
  readonly name: string;
  readonly disk: Disk;
  life = 0;
  isUp = false;
  /** How far its clock is off, µs. */
  skewUs = 0;
  /** Ends what it holds elsewhere, such as connections. */
  readonly onDeath: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
    this.disk = new Disk(name);
  }

  /** Path of its disk as its present life sees it, also the address of that life. */
  get address(): string {
    return `${this.name}.${this.life}`;
  }

  start(): void {
    this.life += 1;
    this.isUp = true;
  }

  /** The process is killed; with it the power may go, and what was not synced. */
  kill(options: { readonly isPowerLost: boolean }): void {
    this.isUp = false;
    for (const end of this.onDeath.splice(0)) end();
    if (options.isPowerLost) this.disk.losePower(stage().random);
  }

  /** The clock of the present life. */
  clock(): Clock {
    const { time } = stage();
    const { life } = this;
    const isAlive = (): boolean => this.isUp && this.life === life;
    const clock = {
      nowUs: () => time.nowUs + Math.round(this.skewUs),
      elapsedMs: () => time.seconds * 1_000,
      sleep: (ms: number, signal?: AbortSignal) =>
        time.sleep(ms, signal).then(
          () => isAlive() ? undefined : never<void>(),
          (error) => isAlive() ? Promise.reject(error) : never<void>(),
        ),
    };
    return clock;
  }
}
