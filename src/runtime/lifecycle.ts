/**
 * The life of a process: one signal that ends everything that waits, and resources closed in reverse order.
 */
import process from "node:process";

export interface Lifecycle extends AsyncDisposable {
  /** Aborted by SIGINT or SIGTERM, or by {@link Lifecycle.stop}; its reason is a sentence. */
  readonly signal: AbortSignal;
  stop(reason: string): void;
  /** Closes the resource at the end, before all that were given earlier. Returns it. */
  use<T extends AsyncDisposable>(resource: T): T;
}

const ENDING_SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Listens for the signals that end a process until it is disposed. A second signal ends the process at once. */
export function openLifecycle(): Lifecycle {
  const controller = new AbortController();
  const resources = new AsyncDisposableStack();
  const listeners = ENDING_SIGNALS.map((name) => {
    const listener = (): void => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort(new Error(`Stopped by ${name}`));
    };
    process.on(name, listener);
    return { name, listener };
  });
  resources.defer(() => {
    for (const { name, listener } of listeners) process.off(name, listener);
  });
  return {
    signal: controller.signal,
    stop: (reason) => controller.abort(new Error(reason)),
    use: (resource) => resources.use(resource),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/**
 * Calls the listener for each SIGHUP until it is disposed. On a terminal the signal means that the terminal is gone, and
 * ends the process in order instead.
 */
export function onHangup(listener: () => void): Disposable {
  const onSignal = (): void => {
    if (process.stdin.isTTY) process.kill(process.pid, "SIGTERM");
    else listener();
  };
  process.on("SIGHUP", onSignal);
  return { [Symbol.dispose]: () => void process.off("SIGHUP", onSignal) };
}

/**
 * Keeps SIGHUP from ending this process from now on, also where nobody listens: while it starts, since what it reads
 * then is as new as it can be, and while it drains. Those who listen hear of it as before.
 */
export function outliveHangup(): void {
  onHangup(() => undefined);
}
