/**
 * Auditing for parts of a program that know nothing of it: they dispatch events, and what is to be recorded of these is
 * said in one place.
 */
import type { Emitter } from "./emitter.ts";
import type { Topics } from "./message.ts";

/** Topics by type of event. */
export type ObservedTopics = Readonly<Record<string, Topics>>;

/**
 * Records the events of a target: `detail` of a CustomEvent if it is an object, else the event's own enumerable
 * properties, and the event's type. Until it is disposed. What cannot be recorded is given to `onLoss`.
 */
export function observe(
  target: EventTarget,
  topics: ObservedTopics,
  options: { readonly emitter: Pick<Emitter, "audit">; readonly onLoss?: (error: unknown) => void },
): Disposable {
  const { emitter, onLoss } = options;
  const listeners = Object.entries(topics).map(([type, named]) => {
    // What an event's own getters throw is a loss, and not the business of whoever dispatched it.
    const record = async (event: Event): Promise<void> => {
      await emitter.audit(named, { type, ...dataOf(event) });
    };
    const listener = (event: Event): void => {
      record(event).catch((error: unknown) => onLoss?.(error));
    };
    target.addEventListener(type, listener);
    return { type, listener };
  });
  return {
    [Symbol.dispose]() {
      for (const { type, listener } of listeners) target.removeEventListener(type, listener);
    },
  };
}

function dataOf(event: Event): Record<string, unknown> {
  const detail: unknown = "detail" in event ? event.detail : undefined;
  if (typeof detail === "object" && detail !== null && !isOneValue(detail)) return { ...detail };
  // Own properties of subclasses; those of `Event` itself are on its prototype or symbols, but for this one.
  const { isTrusted: _, ...own } = Object.fromEntries(Object.entries(event));
  return detail === undefined || detail === null ? own : { ...own, detail };
}

/** What has no members of its own to be taken apart into. */
function isOneValue(value: object): boolean {
  return [Array, Error, Map, Set].some((kind) => value instanceof kind);
}
