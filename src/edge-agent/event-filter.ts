/**
 * Filters of the configuration for sources that see events outside the kernel's programs. Pure.
 *
 * Invariant: an event is filtered only if every condition is known to hold: what the source does not know of an event (its
 * cgroup, or an executable that is gone) keeps it.
 */
import type { FilterRule } from "./rules.ts";

export interface FilteredEvent {
  readonly topic: string;
  /** Whether the event's file lies in or below a folder. */
  readonly isBelow: (folder: string) => boolean;
  /** JSON members of the actor's columns, each followed by a comma. */
  readonly columns: string;
}

/** Whether a filter takes the event away. */
export function isFilteredBy(filters: readonly FilterRule[], event: FilteredEvent): boolean {
  return filters.some((filter) => {
    const { topics, path, uid, exe, cgroup } = filter;
    const isTopic = topics === undefined ||
      topics.some((topic) => event.topic === topic || event.topic.startsWith(`${topic}/`));
    if (!isTopic || cgroup !== undefined) return false;
    if (path !== undefined && !event.isBelow(path)) return false;
    if (uid === undefined && exe === undefined) return true;
    const columns = JSON.parse(`{${event.columns.replace(/,$/, "")}}`);
    return (uid === undefined || columns["euid"] === uid) &&
      (exe === undefined || columns["exe"] === exe);
  });
}
