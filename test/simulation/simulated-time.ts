/**
 * Time that passes only by what is due next: events in order, each run to the end of all that follows from it at once.
 *
 * Invariant: while an event runs nothing else does, so a run depends on its seed alone. What waits for the real world
 * (a real database, real files) is waited for before the next event.
 */
import process from "node:process";

export interface Timer {
  cancel(): void;
}

interface Due {
  atUs: number;
  readonly order: number;
  fire: (() => void) | undefined;
}

export interface RunLimits {
  /** Throws to end the run. */
  readonly afterEach: () => void;
  readonly eventsMax: number;
}

/** Ends a run in which events follow each other without end. */
export class EndlessRunError extends Error {
  override readonly name = "EndlessRunError";
}

/** Runs once every promise that can go on has done so. */
const afterPromises = process.nextTick;

export class SimulatedTime {
  nowUs: number;
  events = 0;
  readonly startedUs: number;
  readonly #heap: Due[] = [];
  #order = 0;
  #held = 0;
  #release: () => void = () => undefined;

  constructor(startUs: number) {
    this.nowUs = startUs;
    this.startedUs = startUs;
  }

  get seconds(): number {
    return (this.nowUs - this.startedUs) / 1_000_000;
  }

  after(delayUs: number, fire: () => void): Timer {
    const due: Due = {
      atUs: this.nowUs + Math.max(1, Math.ceil(delayUs)),
      order: this.#order++,
      fire,
    };
    push(this.#heap, due);
    return {
      cancel() {
        due.fire = undefined;
      },
    };
  }

  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      const abort = (): void => {
        timer.cancel();
        reject(signal?.reason);
      };
      const timer = this.after(ms * 1000, () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Much time passes in which nothing happens; what was due later is as much later. */
  skip(us: number): void {
    this.nowUs += us;
    for (const due of this.#heap) due.atUs += us;
  }

  /** Work of the real world: time stands still until it is done. */
  async hold<T>(work: Promise<T>): Promise<T> {
    this.#held += 1;
    try {
      return await work;
    } finally {
      this.#held -= 1;
      if (this.#held === 0) this.#release();
    }
  }

  /** Runs what is due until `isDone`, or nothing is due. */
  async run(
    isDone: () => boolean,
    options: RunLimits,
  ): Promise<void> {
    await this.#settle();
    options.afterEach();
    while (!isDone()) {
      const due = pop(this.#heap);
      if (due === undefined) return;
      if (due.fire === undefined) continue;
      this.nowUs = Math.max(this.nowUs, due.atUs);
      this.events += 1;
      if (this.events > options.eventsMax) {
        throw new EndlessRunError(`Cannot end the run: more than ${options.eventsMax} events`);
      }
      due.fire();
      await this.#settle();
      options.afterEach();
    }
  }

  /** Until no promise can go on by itself. */
  async #settle(): Promise<void> {
    do {
      if (this.#held > 0) await new Promise<void>((resolve) => this.#release = resolve);
      await new Promise<void>((resolve) => afterPromises(resolve));
    } while (this.#held > 0);
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.atUs === b.atUs ? a.order < b.order : a.atUs < b.atUs;
}

function push(heap: Due[], due: Due): void {
  let at = heap.length;
  heap.push(due);
  while (at > 0) {
    const above = (at - 1) >> 1;
    const parent = heap[above];
    if (parent === undefined || !isBefore(due, parent)) break;
    heap[at] = parent;
    at = above;
  }
  heap[at] = due;
}

function pop(heap: Due[]): Due | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (first === undefined || last === undefined || heap.length === 0) return first;
  let at = 0;
  for (;;) {
    const left = 2 * at + 1;
    const [one, two] = [heap[left], heap[left + 1]];
    const isTwo = two !== undefined && one !== undefined && isBefore(two, one);
    const child = isTwo ? two : one;
    if (child === undefined || !isBefore(child, last)) break;
    heap[at] = child;
    at = isTwo ? left + 1 : left;
  }
  heap[at] = last;
  return first;
}
