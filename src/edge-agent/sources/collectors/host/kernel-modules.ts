/** Loaded modules of the kernel (proc(5), /proc/modules), and events of those that differ. Pure. */
import type { AuditEvent } from "../../../../event/event.ts";
import type { Difference } from "../differential.ts";

/** Names of what is loaded, each with an empty text; those that are on their way in or out are left out. */
export function parseModules(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [, name] = /^(\S+) [0-9]+ \S+ \S+ Live /.exec(line) ?? [];
      return name === undefined ? [] : [[name, ""] as const];
    }),
  );
}

export function moduleEvents({ key, now }: Difference, timeUs: number): readonly AuditEvent[] {
  const isLoaded = now !== undefined;
  return [{
    timeUs,
    topic: "kernel/module",
    severity: "info",
    outcome: "success",
    message: `The kernel module ${key} was ${isLoaded ? "loaded" : "unloaded"}`,
    detail: { name: key, how: isLoaded ? "load" : "unload", noticed: true },
  }];
}
