/**
 * Whether this machine's clock can be believed where rows and objects are removed by their age: a bucket that is another
 * machine's is asked for its time. The times of a folder are this machine's own and prove nothing.
 */
import { randomUUID } from "node:crypto";
import { probeKey } from "../../storage/layout.ts";
import { type MaintenanceContext, nowMsOf } from "./context.ts";

/** The clocks of machine and store may differ by so much, in milliseconds. */
export const CLOCKS_DIFFER_MS_MAX = 3_600_000;

/** Throws when the store's clock and ours differ by more than {@link CLOCKS_DIFFER_MS_MAX}, or it cannot be asked. */
export async function requireStoreClock(
  context: MaintenanceContext,
  signal?: AbortSignal,
): Promise<void> {
  const { store } = context;
  const key = probeKey(randomUUID());
  if (store.localPath(key) !== undefined) return;
  const request = signal === undefined ? {} : { signal };
  await store.put(key, new TextEncoder().encode("now\n"), request);
  const written = await store.head(key, request);
  await store.delete(key, request);
  const differenceMs = written === undefined ? NaN : nowMsOf(context) - written.modifiedAtMs;
  if (Math.abs(differenceMs) <= CLOCKS_DIFFER_MS_MAX) return;
  throw new Error(
    `Cannot remove anything by its age in ${store.url}: ` +
      (written === undefined
        ? "it does not say what time it is"
        : `our clock is ${Math.round(differenceMs / 1000)} s ahead of its`),
  );
}
