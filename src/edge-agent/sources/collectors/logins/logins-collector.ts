/**
 * The `logins` source: who logs in and out, and who is refused.
 *
 * Invariants: one log that cannot be read does not hide the others, and the status names it; what two of them tell is told
 * once (login-book.ts).
 */
import { join } from "node:path";
import { createUserNames } from "../../../user-names.ts";
import type { Collector } from "../collector.ts";
import { atIntervals } from "../differential.ts";
import type { AuditPlace } from "./audit-tap.ts";
import { type Journalctl, JournalError } from "./journalctl.ts";
import { createLoginBook } from "./login-book.ts";
import { LoginDatabaseError } from "./login-databases.ts";
import { inAudit, logsIn } from "./login-logs.ts";
import { probeLogs } from "./probe-logs.ts";

/** How often it is looked whether a log has become longer. */
export const LOGINS_INTERVAL_MS = 2_000;

export interface LoginsCollectorOptions {
  /** Folder that stands for `/`. */
  readonly root?: string;
  readonly intervalMs?: number;
  /** Where processes are. */
  readonly proc?: string;
  /** Program and first words that are journalctl. */
  readonly journalctl?: Journalctl;
  /** The kernel's audit, which is that of the whole host; none by default. */
  readonly audit?: AuditPlace;
}

export function createLoginsCollector(options: LoginsCollectorOptions = {}): Collector {
  const { root = "/", intervalMs = LOGINS_INTERVAL_MS, proc = "/proc" } = options;
  const { journalctl = ["journalctl"], audit } = options;
  const userNames = createUserNames({ path: join(root, "etc/passwd") });
  const logs = logsIn(root, journalctl);
  return {
    name: "logins",
    probe: () => probeLogs(logs, audit),
    async *collect(memory, context, signal) {
      const book = createLoginBook(memory);
      const told = new Set<string>();
      await using tap = audit?.open();
      const live = tap === undefined ? undefined : inAudit(tap);
      for await (const _ of atIntervals(context.clock, intervalMs, signal)) {
        userNames.refresh();
        const look = { memory, context, signal, book, userNames, root, proc };
        // The most trusted: it knows the session, and nobody can write into it afterwards.
        if (live !== undefined) yield* live.look(look);
        for (const log of logs) {
          const state = await log.state();
          const lost = (reason: string): void => {
            if (!told.has(reason)) context.lost({ class: "unreadable", count: null, reason });
            told.add(reason);
          };
          if (typeof state === "object") lost(state.reason);
          try {
            yield* log.look(look);
          } catch (error) {
            if (signal.aborted) return;
            const isOfOne = error instanceof JournalError || error instanceof LoginDatabaseError;
            if (!isOfOne) throw error;
            lost(error.message);
          }
        }
      }
    },
  };
}
