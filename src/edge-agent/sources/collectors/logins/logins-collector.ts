/**
 * The `logins` source: who logs in and out, and who is refused.
 *
 * Invariants: one log that cannot be read does not hide the others, and the status names it, also when that changes while
 * it runs; what two of them tell is told once (login-book.ts).
 */
import { join } from "node:path";
import { createUserNames } from "../../../user-names.ts";
import type { Collector } from "../collector.ts";
import { atIntervals } from "../differential.ts";
import type { SourceStatus } from "../../../source.ts";
import type { AuditPlace, AuditState } from "./audit-tap.ts";
import { type Journalctl, JournalError } from "./journalctl.ts";
import { createLoginBook } from "./login-book.ts";
import { LoginDatabaseError } from "./login-databases.ts";
import { inAudit, logsIn } from "./login-logs.ts";
import { type LogState, statesOf, statusOfLogs } from "./probe-logs.ts";

/** How often it is looked whether a log has become longer. */
export const LOGINS_INTERVAL_MS = 2_000;
/** How often the kernel is made to say whether its audit, which was off, is on; whoever tells it something says so, too. */
export const AUDIT_INTERVAL_MS = 60_000;

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
  /** {@link AUDIT_INTERVAL_MS} by default. */
  readonly auditIntervalMs?: number;
}

export function createLoginsCollector(options: LoginsCollectorOptions = {}): Collector {
  const { root = "/", intervalMs = LOGINS_INTERVAL_MS, proc = "/proc" } = options;
  const { journalctl = ["journalctl"], audit, auditIntervalMs = AUDIT_INTERVAL_MS } = options;
  const userNames = createUserNames({ path: join(root, "etc/passwd") });
  const logs = logsIn(root, journalctl);
  let audited: AuditState | undefined;
  let status: SourceStatus | undefined;
  return {
    name: "logins",
    async probe() {
      audited = await audit?.probe();
      return statusOfLogs(await statesOf(logs), audited);
    },
    status: () => status,
    async *collect(memory, context, signal) {
      const book = createLoginBook(memory);
      const told = new Set<string>();
      await using tap = audit?.open();
      const live = tap === undefined ? undefined : inAudit(tap);
      let stirredMs = context.clock.elapsedMs();
      for await (const _ of atIntervals(context.clock, intervalMs, signal)) {
        userNames.refresh();
        const look = { memory, context, signal, book, userNames, root, proc };
        // The most trusted: it knows the session, and nobody can write into it afterwards.
        if (live !== undefined) {
          yield* live.look(look);
          audited = live.state() ?? audited;
          const nowMs = context.clock.elapsedMs();
          if (audited?.state === "off" && nowMs - stirredMs >= auditIntervalMs) {
            live.stir();
            stirredMs = nowMs;
          }
        }
        const states: LogState[] = [];
        for (const log of logs) {
          const state = await log.state();
          states.push({ ...log, state });
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
        status = statusOfLogs(states, audited);
      }
    },
  };
}
