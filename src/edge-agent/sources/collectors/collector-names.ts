/** Sources that are collectors, in the order in which they are told of. Loads nothing: options name them, too. */
export const COLLECTOR_NAMES = ["packages", "services", "logins", "host", "commands"] as const;
export type CollectorName = typeof COLLECTOR_NAMES[number];
