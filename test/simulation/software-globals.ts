/** Time and chance that the software and its libraries take from the global scope, replaced for the whole process. */
import process from "node:process";
import type { Timer } from "./simulated-time.ts";
import { stage } from "./stage.ts";

/** What a global timer gives back, as far as it is used. */
class GlobalTimer {
  readonly #timer: Timer;

  constructor(timer: Timer) {
    this.#timer = timer;
  }

  cancel(): void {
    this.#timer.cancel();
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }
}

/** From now on, this process knows no time and no chance but those of the stage. */
export function replaceGlobals(): void {
  const replace = (target: object, name: string, value: unknown): void => {
    Object.defineProperty(target, name, { value, configurable: true, writable: true });
  };
  const clear = (timer: unknown): void => {
    if (timer instanceof GlobalTimer) timer.cancel();
  };
  replace(Date, "now", () => Math.floor(stage().time.nowUs / 1000));
  replace(performance, "now", () => (stage().time.nowUs - stage().time.startedUs) / 1000);
  // A part of what a process tells of itself.
  replace(process, "pid", 1);
  replace(Math, "random", () => stage().softwareRandom.next());
  replace(AbortSignal, "timeout", (ms: number): AbortSignal => {
    const limit = new AbortController();
    stage().time.after(ms * 1000, () => limit.abort(new Error("as simulated: too late")));
    return limit.signal;
  });
  replace(globalThis, "clearTimeout", clear);
  replace(globalThis, "clearInterval", clear);
  replace(
    globalThis,
    "setTimeout",
    (work: (...values: unknown[]) => void, ms = 0, ...values: unknown[]) =>
      new GlobalTimer(stage().time.after(ms * 1000, () => work(...values))),
  );
}
