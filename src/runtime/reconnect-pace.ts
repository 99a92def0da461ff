/**
 * How fast a lost connection is tried again.
 *
 * Invariant: pauses go by a clock that only goes forth. The broker library's own go by the time of day (3.4), so that a
 * process whose clock was set back by an hour would not connect again for an hour.
 */
import type { Clock } from "./clock.ts";

/** What the library asks before each attempt. */
export interface ReconnectPace {
  /** Milliseconds since the last attempt, by the time of day, before the server may be tried again. */
  reconnectDelayHandler(): number;
  /** The server to try, the first of those given, and the pause before, in milliseconds. */
  reconnectToServer<S>(
    servers: readonly S[],
  ): { readonly server: S; readonly delay: number } | null;
}

/** Each server is tried once in so many milliseconds, the first at once. */
export const RECONNECT_WAIT_MS = 250;

export function createReconnectPace(clock: Clock): ReconnectPace {
  let lastMs = -Infinity;
  return {
    // Always long ago to the library, whatever the time of day says.
    reconnectDelayHandler: () => -Infinity,
    reconnectToServer(servers) {
      const [server] = servers;
      if (server === undefined) return null;
      const nowMs = clock.elapsedMs();
      const delay = Math.max(0, lastMs + RECONNECT_WAIT_MS / servers.length - nowMs);
      lastMs = nowMs + delay;
      return { server, delay };
    },
  };
}
