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
  /** Since when, and until when, its process stands still; answers that come meanwhile wait. */
  frozenAtUs = 0;
  frozenUntilUs = 0;
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
    this.frozenUntilUs = 0;
    for (const end of this.onDeath.splice(0)) end();
    if (options.isPowerLost) this.disk.losePower(stage().random);
  }

  /** Its process stands still for a while, as one does whose machine is moved or has no memory left. */
  freeze(forUs: number): void {
    const { nowUs } = stage().time;
    if (nowUs >= this.frozenUntilUs) this.frozenAtUs = nowUs;
    this.frozenUntilUs = Math.max(this.frozenUntilUs, nowUs + forUs);
  }

  /** When it last could have looked at what it acts upon now, having waited for nothing but this long. */
  lookedAtUs(travelUs: number): number {
    const { nowUs } = stage().time;
    const isThawing = nowUs - this.frozenUntilUs <= travelUs;
    return (isThawing ? Math.min(nowUs, this.frozenAtUs) : nowUs) - travelUs;
  }

  /** Resolves once the life goes on; never when it has ended. */
  async thaw(life: number): Promise<void> {
    const { time } = stage();
    for (;;) {
      if (!this.isUp || this.life !== life) return await never<void>();
      const restUs = this.frozenUntilUs - time.nowUs;
      if (restUs <= 0) return;
      await time.sleep(restUs / 1000);
    }
  }

  /** The clock of the present life. */
  clock(): Clock {
    const { time } = stage();
    const { life } = this;
    const clock = {
      nowUs: () => time.nowUs + Math.round(this.skewUs),
      elapsedMs: () => time.seconds * 1_000,
      sleep: (ms: number, signal?: AbortSignal) =>
        time.sleep(ms, signal).then(
          () => this.thaw(life),
          (error) => this.thaw(life).then(() => Promise.reject(error)),
        ),
    };
    return clock;
  }
}
