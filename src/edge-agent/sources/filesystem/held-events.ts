/**
 * Observations that wait until it is known whether the file source tells the same create, from its notes. First in,
 * first out, so that order stays.
 *
 * Invariant: nothing waits longer than {@link HOLD_MAX_MS}, and at most {@link HELD_EVENTS_MAX} wait. Waiting is measured
 * by a clock that is never set, not even by a microsecond: who takes "a little before" for "long ago" tells twice.
 */
import { type CreatedFiles, deviceNumberOf } from "../../created-files.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { SureFacts } from "../../process-certainty.ts";
import type { Actor, Observation } from "./describe.ts";
import { FAN_CREATE, FAN_ONDIR } from "./fanotify-event.ts";

/** The open that created a file is reported when it returns: this much later than the name, at most. */
export const OPEN_RETURN_MS = 100;
/** A ring that is read late tells late: until then its file source's creates must not be told from here. */
export const HOLD_MAX_MS = 60_000;
export const HELD_EVENTS_MAX = 65_536;

export interface HeldEvent {
  readonly pid: number;
  readonly actor: Actor;
  readonly seen: Observation;
  /** What the process surely was, whenever it did it. */
  readonly doer: SureFacts;
}

export interface HeldEvents {
  push(event: HeldEvent): void;
  /** Events whose time has come, in order; `isSilenced` is true of those the file source tells. */
  ready(): readonly { readonly event: HeldEvent; readonly isSilenced: boolean }[];
  /** All that is left, as if its time had come. */
  rest(): readonly { readonly event: HeldEvent; readonly isSilenced: boolean }[];
  readonly length: number;
}

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

interface Waiting extends HeldEvent {
  /** `Clock.elapsedMs` when it came. */
  readonly sinceMs: number;
}

export function createHeldEvents(
  createdFiles: CreatedFiles,
  { elapsedMs }: Pick<Clock, "elapsedMs">,
): HeldEvents {
  let held: Waiting[] = [];

  const isSilenced = ({ seen, pid }: HeldEvent): boolean => {
    const inode = seen.inode?.inode ?? seen.attributes?.inode;
    return isPlainCreate(seen) && seen.device !== undefined && inode !== undefined &&
      createdFiles.take({
        device: deviceNumberOf(seen.device),
        inode,
        generation: seen.inode?.generation,
        pid,
      });
  };
  const mayStillBeNoted = ({ seen, sinceMs }: Waiting): boolean =>
    createdFiles.settledMs !== undefined && isPlainCreate(seen) &&
    createdFiles.settledMs < sinceMs + OPEN_RETURN_MS;
  const verdict = (
    event: Waiting,
    { nowMs, waiting }: { readonly nowMs: number; readonly waiting: number },
  ): "wait" | "silenced" | "tell" => {
    const isOverdue = nowMs - event.sinceMs >= HOLD_MAX_MS || waiting > HELD_EVENTS_MAX;
    if (isSilenced(event)) return "silenced";
    return mayStillBeNoted(event) && !isOverdue ? "wait" : "tell";
  };
  return {
    push: (event) => void held.push({ ...event, sinceMs: elapsedMs() }),
    ready() {
      const nowMs = elapsedMs();
      const ready: { event: HeldEvent; isSilenced: boolean }[] = [];
      for (const event of held) {
        const decided = verdict(event, { nowMs, waiting: held.length - ready.length });
        if (decided === "wait") break;
        ready.push({ event, isSilenced: decided === "silenced" });
      }
      held = held.slice(ready.length);
      return ready;
    },
    rest() {
      // What the kernel's ring still holds is told from there, by the agent that is started next.
      const all = held.map((event) => ({
        event,
        isSilenced: isSilenced(event) || mayStillBeNoted(event),
      }));
      held = [];
      return all;
    },
    get length() {
      return held.length;
    },
  };
}

/** A create that the file source tells, too, if it came by open(2): of a regular file, or of one already gone. */
function isPlainCreate({ mask, isLink, attributes }: Observation): boolean {
  if ((mask & FAN_CREATE) === 0 || (mask & FAN_ONDIR) !== 0 || isLink) return false;
  return attributes === undefined || (attributes.mode & S_IFMT) === S_IFREG;
}
