/** The logs of logins of a host, each as something that is looked at again and again, in the order in which they are trusted. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { UserNames } from "../../../user-names.ts";
import type { Collection, CollectorContext, Memory } from "../collector.ts";
import { stateOfLog } from "../log-file.ts";
import { createAuditLogins } from "./audit-logins.ts";
import type { AuditState, AuditTap } from "./audit-tap.ts";
import { parseAuthLog } from "./auth-log.ts";
import { isNoLogin } from "./auth-messages.ts";
import { type FollowedLog, type LogEntries, readOnIn } from "./followed-log.ts";
import { createJournalLog, JOURNAL_PLACE, type JournalLogOptions } from "./journal-log.ts";
import type { Journalctl } from "./journalctl.ts";
import type { LoginBook } from "./login-book.ts";
import { type LoginDatabaseReader, readLastlog2, readWtmpdb } from "./login-databases.ts";
import { loginEvent } from "./login-events.ts";
import type { LoginRecord, LoginSource } from "./login-record.ts";
import { audited, comeOrGone, failed, said, type Turn } from "./login-turns.ts";
import { utmpLayoutOf } from "./utmp.ts";
import { utmpLog } from "./utmp-log.ts";

export interface LookOptions {
  readonly memory: Memory;
  readonly context: CollectorContext;
  readonly signal: AbortSignal;
  readonly book: LoginBook;
  readonly userNames: UserNames;
  readonly root: string;
  readonly proc: string;
}

export interface FollowedLogins {
  readonly name: LoginSource;
  /** What its reader needs. */
  readonly remedy: string;
  state(): ReturnType<typeof stateOfLog>;
  look(options: LookOptions): AsyncGenerator<Collection>;
}

/** The most trusted first: of what several tell, it is told of the first that has it. */
export function logsIn(root: string, journalctl: Journalctl): readonly FollowedLogins[] {
  const folder = join(root, "var/log");
  const layout = utmpLayoutOf(process.arch);
  const text = (name: "auth.log" | "secure"): FollowedLogins =>
    inFile({
      name,
      path: join(folder, name),
      parse: (bytes, nowUs) => parseAuthLog(bytes, { source: name, nowUs }),
    }, said);
  const texts = [text("auth.log"), text("secure")];
  return [
    ...texts,
    inJournal({ folders: [join(folder, "journal"), join(root, "run/log/journal")], journalctl }, {
      isRead: async () => !await isAnyText(folder),
    }),
    inFile(utmpLog("wtmp", { path: join(folder, "wtmp"), layout }), comeOrGone),
    inFile(utmpLog("btmp", { path: join(folder, "btmp"), layout }), failed),
    inDatabase("wtmpdb", { path: join(root, "var/lib/wtmpdb/wtmp.db"), read: readWtmpdb }),
    inDatabase("lastlog2", { path: join(root, "var/lib/lastlog/lastlog2.db"), read: readLastlog2 }),
  ];
}

/** Also while a log that was rotated away has no successor yet. */
async function isAnyText(folder: string): Promise<boolean> {
  const names = ["auth.log", "auth.log.1", "secure", "secure.1"];
  const states = await Promise.all(names.map((name) => stateOfLog(join(folder, name))));
  return states.some((state) => state !== "absent");
}

function inFile<T extends { readonly timeUs: number }>(
  log: FollowedLog<T>,
  turn: Turn<T>,
): FollowedLogins {
  return {
    name: log.name,
    remedy: remedyFor(log.path),
    state: () => stateOfLog(log.path),
    look: (options) => tell(readOnIn(log, options.memory, options.context), turn, options),
  };
}

function inJournal(
  options: JournalLogOptions,
  { isRead }: { readonly isRead: () => Promise<boolean> },
): FollowedLogins {
  const log = createJournalLog(options);
  const [folder = ""] = options.folders;
  return {
    name: "journal",
    remedy: `let the agent's user read it (setfacl -R -m u:USER:rX,d:u:USER:rX ${folder})`,
    state: async () => await isRead() ? await log.state() : "absent",
    async *look(look) {
      if (await isRead()) yield* tell(log.readOn(look), said, look);
      else if (look.memory.get(JOURNAL_PLACE) !== undefined) {
        yield { events: [], forget: [JOURNAL_PLACE] };
      }
    },
  };
}

/** Both know the service of PAM, and no process. */
function inDatabase(
  name: "wtmpdb" | "lastlog2",
  { path, read }: { readonly path: string; readonly read: LoginDatabaseReader },
): FollowedLogins {
  return {
    name,
    remedy: remedyFor(path),
    state: () => stateOfLog(path),
    look: (options) =>
      tell(
        read(path, options.memory, options.context),
        (record) => isNoLogin(record.service ?? "") ? undefined : { record, identity: {} },
        options,
      ),
  };
}

function remedyFor(path: string): string {
  return `let the agent's user read it (setfacl -m u:USER:r ${path}, and after each rotation)`;
}

export interface AuditedLogins extends Pick<FollowedLogins, "look"> {
  /** What was heard last; undefined while nothing was. */
  state(): AuditState | undefined;
  /** See {@link AuditTap.stir}. */
  stir(): void;
}

/** What the kernel's audit tells while somebody listens: before that there is nothing to be read. */
export function inAudit(tap: AuditTap): AuditedLogins {
  const logins = createAuditLogins();
  let heard: AuditState | undefined;
  return {
    state: () => heard,
    stir: () => tap.stir(),
    look(options) {
      const { records, unreadable, lost, isTurnedOff, state } = tap.take();
      heard = state;
      const { context, userNames } = options;
      if (unreadable > 0) {
        const reason = "records of the kernel's audit cannot be read";
        context.lost({ class: "unreadable", count: unreadable, reason });
      }
      if (lost > 0) {
        const reason = "the kernel's audit told more of logins than was read in time";
        context.lost({ class: "overflow", count: lost, reason });
      }
      if (isTurnedOff) {
        const reason =
          "the kernel's audit was turned off, and tells no logins until it is on again";
        context.lost({ class: "log", count: null, reason });
      }
      const entries = logins.take(records, (uid) => userNames.nameOf(uid));
      return tell(only(entries), audited, options);
    },
  };
}

async function* only(entries: readonly LoginRecord[]): AsyncGenerator<LogEntries<LoginRecord>> {
  if (entries.length > 0) {
    yield await Promise.resolve({ entries, isBaseline: false, put: new Map() });
  }
}

async function* tell<T>(
  pieces: AsyncIterable<LogEntries<T>>,
  turn: Turn<T>,
  { book, userNames, root, proc }: LookOptions,
): AsyncGenerator<Collection> {
  for await (const { entries, isBaseline, put, forget = [] } of pieces) {
    const uids = entries.length === 0 ? new Map<string, number>() : await uidsIn(root);
    const events = [];
    for (const entry of entries) {
      const told = turn(entry, { book, isBaseline, proc });
      if (told === undefined || isBaseline || !book.isNews(told.record, told.identity.session)) {
        continue;
      }
      const failures = told.record.what === "failure" ? book.failuresLately(told.record) : 0;
      const uidOf = (user: string) => uids.get(user);
      const nameOf = (uid: number) => userNames.nameOf(uid);
      events.push(loginEvent(told.record, { ...told.identity, failures, uidOf, nameOf }));
    }
    const changes = book.changes();
    yield {
      events,
      put: new Map([...changes.put, ...put]),
      forget: [...changes.forget, ...forget],
    };
  }
}

/** Names as programs write them: the first line of a name counts. */
async function uidsIn(root: string): Promise<ReadonlyMap<string, number>> {
  const uids = new Map<string, number>();
  try {
    const text = await readFile(join(root, "etc/passwd"), "utf8");
    for (const line of text.split("\n")) {
      const [name = "", , uid = ""] = line.split(":");
      if (/^[0-9]{1,10}$/.test(uid) && !uids.has(name)) uids.set(name, Number(uid));
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
  return uids;
}
