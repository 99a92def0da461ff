/**
 * Keeps one child process running: starts it, waits until it is ready, starts it again with a growing pause when it
 * dies, and ends it in order.
 *
 * Invariants: at most one instance runs; a process that never became ready is tried for a bounded time, one
 * that did is started again for ever; nothing outlives {@link Supervised}'s disposal.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { systemClock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { type Backoff, backoffMs } from "../../runtime/retry.ts";
import { CommandError, EXIT } from "../exit.ts";
import type { Account } from "./account.ts";

/** How a process is started. */
export interface ProcessPlan {
  readonly command: string;
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** User that it runs as; undefined keeps ours. */
  readonly account: Account | undefined;
}

export interface SuperviseOptions<T> {
  readonly name: string;
  /** How to start it, asked anew for every start. */
  readonly plan: () => ProcessPlan;
  /** Resolves with what the process says of itself once it is ready; rejects when the signal is aborted. */
  readonly whenReady: (child: ChildProcess, signal: AbortSignal) => Promise<T>;
  readonly log: Log;
}

/** A process under supervision. Disposing stops it (SIGTERM, then SIGKILL after {@link STOP_LIMIT_MS}). */
export interface Supervised<T> extends AsyncDisposable {
  readonly name: string;
  /** Process id of the running instance. */
  pid(): number | undefined;
  /** What the first instance said when it was ready. Rejects when none ever was. */
  readonly ready: Promise<T>;
}

/** How long a process may take to become ready, in milliseconds. */
const READY_LIMIT_MS = 60_000;
/** How long a process may take to end in order, in milliseconds. */
export const STOP_LIMIT_MS = 15_000;
/**
 * How long starting is tried before the first readiness, in milliseconds: an orphan of a killed `up` may hold what the
 * process needs until it has ended.
 */
const START_LIMIT_MS = STOP_LIMIT_MS + 5_000;
/** A process that lived this long after it was ready, in milliseconds, begins its pauses anew. */
const STEADY_MS = 2_000;
const BACKOFF: Backoff = { firstMs: 100, maximumMs: 5_000 };

export function supervise<T>(options: SuperviseOptions<T>): Supervised<T> {
  const { name } = options;
  const stop = new AbortController();
  const first = Promise.withResolvers<T>();
  let child: ChildProcess | undefined;
  const running = keepRunning({
    ...options,
    signal: stop.signal,
    onStart: (started) => child = started,
    onReady: first.resolve,
  }).catch(first.reject);
  // Whoever asks for readiness hears of the failure; when nobody does any more, it was logged.
  first.promise.catch((error) => options.log.debug("not ready", { error: String(error) }));
  return {
    name,
    pid: () => child?.exitCode === null && child.signalCode === null ? child.pid : undefined,
    ready: first.promise,
    async [Symbol.asyncDispose]() {
      stop.abort(new Error(`Stopping ${name}`));
      await running;
      first.reject(stop.signal.reason);
    },
  };
}

interface KeepRunningOptions<T> extends SuperviseOptions<T> {
  readonly signal: AbortSignal;
  readonly onStart: (child: ChildProcess) => void;
  readonly onReady: (said: T) => void;
}

async function keepRunning<T>(options: KeepRunningOptions<T>): Promise<void> {
  const { name, log, signal } = options;
  const startLimitMs = performance.now() + START_LIMIT_MS;
  let wasReady = false;
  let failures = 0;
  while (!signal.aborted) {
    const end = await runOnce(options);
    if (signal.aborted) return;
    wasReady ||= end.readyMs !== undefined;
    failures = (end.readyMs ?? 0) > STEADY_MS ? 1 : failures + 1;
    const waitMs = backoffMs(failures, { backoff: BACKOFF });
    if (!wasReady && (end.code === EXIT.usage || performance.now() > startLimitMs)) {
      const code = end.code === EXIT.usage ? EXIT.usage : EXIT.failed;
      throw new CommandError(code, `Cannot start ${name}: ${end.how}`);
    }
    log.warn(`${name} ${end.how}; starting it again`, { waitMs });
    await Promise.allSettled([systemClock.sleep(waitMs, signal)]);
  }
}

interface ProcessEnd {
  readonly code: number | undefined;
  /** `ended with code 1`, `was killed by SIGKILL`. */
  readonly how: string;
  /** How long it was ready; undefined when it never was. */
  readonly readyMs: number | undefined;
}

/** One instance, from start to end. */
async function runOnce<T>(options: KeepRunningOptions<T>): Promise<ProcessEnd> {
  const { name, plan, whenReady, log, signal, onStart, onReady } = options;
  const child = start(plan());
  onStart(child);
  const ended = endOf(child);
  if (child.pid === undefined) return { ...await ended, readyMs: undefined };
  log.info(`started ${name}`, { pid: child.pid });
  const gone = new AbortController();
  // Deno does not end while AbortSignal.timeout() runs: this one is ended.
  const readyLimit = new AbortController();
  const limitTimer = setTimeout(
    () => readyLimit.abort(new Error(`${name} was not ready within ${READY_LIMIT_MS} ms`)),
    READY_LIMIT_MS,
  );
  let readyAtMs: number | undefined;
  const readiness = whenReady(child, AbortSignal.any([gone.signal, readyLimit.signal])).then(
    (said) => {
      readyAtMs = performance.now();
      onReady(said);
    },
    (error: unknown) => {
      if (gone.signal.aborted) return;
      log.warn(`${name} is not ready`, { error: String(error) });
      child.kill("SIGKILL");
    },
  ).finally(() => clearTimeout(limitTimer));
  const stopping = (): void => void stopChild(child, { name, log });
  signal.addEventListener("abort", stopping);
  if (signal.aborted) stopping();
  const end = await ended;
  signal.removeEventListener("abort", stopping);
  gone.abort(new Error(`${name} ${end.how}`));
  await readiness;
  return { ...end, readyMs: readyAtMs === undefined ? undefined : performance.now() - readyAtMs };
}

/**
 * Starts detached, so that Ctrl-C in a terminal reaches the supervisor alone and the order of ending is its own. The
 * child's standard input is a pipe that ends with us: however we die, it learns of it.
 */
function start({ command, words, environment, account }: ProcessPlan): ChildProcess {
  return spawn(command, [...words], {
    stdio: ["pipe", "pipe", "inherit"],
    detached: true,
    env: { ...environment },
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
  });
}

function endOf(child: ChildProcess): Promise<Omit<ProcessEnd, "readyMs">> {
  return new Promise((resolve) => {
    child.once("error", (error) => {
      if (child.pid === undefined) {
        resolve({ code: undefined, how: `cannot run: ${error.message}` });
      }
    });
    child.once("exit", (code, signal) => {
      if (signal === null) resolve({ code: code ?? undefined, how: `ended with code ${code}` });
      else resolve({ code: undefined, how: `was killed by ${signal}` });
    });
  });
}

async function stopChild(
  child: ChildProcess,
  { name, log }: { readonly name: string; readonly log: Log },
): Promise<void> {
  const limit = new AbortController();
  const ended = once(child, "exit").then(() => limit.abort());
  child.kill("SIGTERM");
  await Promise.allSettled([systemClock.sleep(STOP_LIMIT_MS, limit.signal)]);
  if (!limit.signal.aborted) {
    log.warn(`${name} did not end in time and is killed`, { limitMs: STOP_LIMIT_MS });
    child.kill("SIGKILL");
  }
  await ended;
}
