/**
 * Filters of the configuration for sources that see events outside the kernel's programs.
 *
 * Invariant: an event is filtered only if every condition is known to hold of the time at which it happened: what the
 * source does not know of an event (its cgroup, or what its process was before an exec) keeps it.
 */
import type { Clock } from "../runtime/clock.ts";
import type { SureFacts } from "./process-certainty.ts";
import { rulePlaces } from "./rule-places.ts";
import type { FileIdentity, FilterRule, RulePlaces } from "./rules.ts";

/** How often it is looked whether what filters name is still the same file. */
const FILES_CHECK_MS = 5_000;

export interface FilteredEvent {
  readonly topic: string;
  /** Whether the event's file lies in or below a folder. */
  readonly isBelow: (folder: string) => boolean;
  /** What its process surely was. */
  readonly doer: SureFacts;
}

export interface EventFilters {
  /** Whether one of them asks who did it. */
  readonly askForDoers: boolean;
  /** Whether a filter takes the event away. */
  take(event: FilteredEvent): boolean;
}

export interface EventFiltersOptions {
  readonly filters: readonly FilterRule[];
  readonly clock: Pick<Clock, "elapsedMs">;
  readonly places?: Pick<RulePlaces, "fileAt">;
}

export function createEventFilters(options: EventFiltersOptions): EventFilters {
  const { filters, clock, places = rulePlaces } = options;
  let files = new Map<string, FileIdentity | undefined>();
  let lookedAtMs = -Infinity;
  const fileOf = (path: string): FileIdentity | undefined => {
    if (clock.elapsedMs() - lookedAtMs >= FILES_CHECK_MS) {
      lookedAtMs = clock.elapsedMs();
      files = new Map();
    }
    if (!files.has(path)) files.set(path, places.fileAt(path));
    return files.get(path);
  };
  const isExecuted = (path: string, { exe }: SureFacts): boolean => {
    const file = exe === undefined ? undefined : fileOf(path);
    return file !== undefined && Number(file.inode) === exe?.inode && file.device === exe.device;
  };
  return {
    askForDoers: filters.some(({ uid, exe }) => uid !== undefined || exe !== undefined),
    take: ({ topic, isBelow, doer }) =>
      filters.some(({ topics, path, uid, exe, cgroup }) => {
        const isTopic = topics === undefined ||
          topics.some((each) => topic === each || topic.startsWith(`${each}/`));
        if (!isTopic || cgroup !== undefined) return false;
        if (path !== undefined && !isBelow(path)) return false;
        return (uid === undefined || doer.uid === uid) &&
          (exe === undefined || isExecuted(exe, doer));
      }),
  };
}
