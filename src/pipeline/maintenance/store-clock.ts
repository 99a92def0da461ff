/**
 * Whether this machine's clock can be believed where rows and objects are removed by their age: a bucket that is another
 * machine's is asked for its time. The times of a folder are this machine's own and prove nothing.
 */
import { LAST_CHECKPOINT_KEY } from "../../storage/layout.ts";
import { readStoreTimeMs } from "../../storage/store-time.ts";
import { type MaintenanceContext, nowMsOf } from "./context.ts";

/** The clocks of machine and store may differ by so much, in milliseconds. */
export const CLOCKS_DIFFER_MS_MAX = 3_600_000;

/** Throws when the store's clock and ours differ by more than {@link CLOCKS_DIFFER_MS_MAX}, or it cannot be asked. */
export async function requireStoreClock(
  context: MaintenanceContext,
  signal?: AbortSignal,
): Promise<void> {
  const { store } = context;
  if (store.localPath(LAST_CHECKPOINT_KEY) !== undefined) return;
  const storeMs = await readStoreTimeMs(store, signal === undefined ? {} : { signal });
  const differenceMs = storeMs === undefined ? NaN : nowMsOf(context) - storeMs;
  if (Math.abs(differenceMs) <= CLOCKS_DIFFER_MS_MAX) return;
  throw new Error(
    `Cannot remove anything by its age in ${store.url}: ` +
      (storeMs === undefined
        ? "it does not say what time it is"
        : `our clock is ${Math.round(differenceMs / 1000)} s ahead of its`),
  );
}
