/**
 * The `logins` source: who logs in and out, and who is refused.
 *
 * Invariants: one log that cannot be read does not hide the others, and the status names it; what two of them tell is told
 * once (login-book.ts).
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { HookStatus, SourceStatus } from "../../../source.ts";
import { createUserNames, type UserNames } from "../../../user-names.ts";
import type { Collection, Collector, CollectorContext, Memory } from "../collector.ts";
import { atIntervals } from "../differential.ts";
import { type FollowedLog, type LogEntries, readOnIn, stateOfLog } from "./followed-log.ts";
import { createJournalLog, JOURNAL_PLACE, type JournalLogOptions } from "./journal-log.ts";
import { type Journalctl, JournalError } from "./journalctl.ts";
import { parseAuthLog } from "./auth-log.ts";
import { isNoLogin } from "./auth-messages.ts";
import {
  LoginDatabaseError,
  type LoginDatabaseReader,
  readLastlog2,
  readWtmpdb,
} from "./login-databases.ts";
import { createLoginBook, type LoginBook, type OpenLogin } from "./login-book.ts";
import { loginEvent, present } from "./login-events.ts";
import { loginIdentityOf } from "./login-identity.ts";
import type { LoginIdentity, LoginRecord, LoginSource } from "./login-record.ts";
import { utmpLayoutOf, type UtmpRecord } from "./utmp.ts";
import { utmpLog } from "./utmp-log.ts";

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
}

interface Told {
  readonly record: LoginRecord;
  readonly identity: LoginIdentity;
}

interface TurnOptions {
  readonly book: LoginBook;
  readonly isBaseline: boolean;
  readonly proc: string;
}

/** Makes something to tell of an entry, and notes who is there. */
type Turn<T> = (entry: T, options: TurnOptions) => Told | undefined;

interface LookOptions {
  readonly memory: Memory;
  readonly context: CollectorContext;
  readonly signal: AbortSignal;
  readonly book: LoginBook;
  readonly userNames: UserNames;
  readonly root: string;
  readonly proc: string;
}

interface FollowedLogins {
  readonly name: LoginSource;
  /** What its reader needs. */
  readonly remedy: string;
  state(): ReturnType<typeof stateOfLog>;
  look(options: LookOptions): AsyncGenerator<Collection>;
}

export function createLoginsCollector(options: LoginsCollectorOptions = {}): Collector {
  const { root = "/", intervalMs = LOGINS_INTERVAL_MS, proc = "/proc" } = options;
  const { journalctl = ["journalctl"] } = options;
  const userNames = createUserNames({ path: join(root, "etc/passwd") });
  const logs = logsIn(root, journalctl);
  return {
    name: "logins",
    probe: () => probeLogs(logs),
    async *collect(memory, context, signal) {
      const book = createLoginBook(memory);
      const told = new Set<string>();
      for await (const _ of atIntervals(context.clock, intervalMs, signal)) {
        userNames.refresh();
        for (const log of logs) {
          const state = await log.state();
          const lost = (reason: string): void => {
            if (!told.has(reason)) context.lost({ class: "unreadable", count: null, reason });
            told.add(reason);
          };
          if (typeof state === "object") lost(state.reason);
          try {
            yield* log.look({ memory, context, signal, book, userNames, root, proc });
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

/** The most trusted first: of what several tell, it is told of the first that has it. */
function logsIn(root: string, journalctl: Journalctl): readonly FollowedLogins[] {
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
      if (told === undefined || isBaseline || !book.isNews(told.record)) continue;
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

/** Of wtmp: logins and logouts; what the boot ended has no record of its own. */
function comeOrGone(entry: UtmpRecord, options: TurnOptions): Told | undefined {
  const { book, isBaseline, proc } = options;
  const { kind, pid, tty, user, timeUs, escaped } = entry;
  if (kind === "boot") book.closeAll();
  const from = { remote: textOr(entry.host), address: entry.address };
  const common = { source: "wtmp", timeUs, pid: pid === 0 ? undefined : pid, tty } as const;
  if (kind === "user" && user !== "") {
    const identity = isBaseline ? {} : loginIdentityOf(pid, { timeUs, proc });
    book.open(tty, { user, pid, ...present(from), ...identity });
    return { record: { ...common, what: "login", user, ...from, escaped }, identity };
  }
  if (kind !== "dead") return undefined;
  const login = book.close(tty);
  // What init and getty end on a terminal that nobody was on is no logout.
  if (login === undefined) return undefined;
  const { identity, who } = partsOf(login);
  return { record: { ...common, ...who, what: "logout" }, identity };
}

/** Of a log of text. Whoever came without a terminal is known by the process that let them in. */
function said(record: LoginRecord, options: TurnOptions): Told {
  const { book, isBaseline, proc } = options;
  const { what, pid, user = "", timeUs, remote, identity: written = {} } = record;
  if (pid === undefined) return { record, identity: written };
  const key = `process ${pid}`;
  if (what === "logout") {
    const login = book.close(key);
    if (login === undefined || login.user !== user) return { record, identity: written };
    const { identity, who } = partsOf(login);
    return { record: { ...record, ...who }, identity };
  }
  const running = isBaseline || what === "failure" ? {} : loginIdentityOf(pid, {
    timeUs,
    proc,
  });
  // A login gets its session after sshd has told of it; who asks for sudo had theirs before.
  const identity = what === "login" ? { ...written, ...running } : { ...running, ...written };
  if (what === "login") book.open(key, { user, pid, ...present({ remote }), ...identity });
  return { record, identity };
}

function partsOf({ session, auid, ...who }: OpenLogin) {
  return { who, identity: present({ session, auid }) };
}

/** Of btmp. */
function failed(
  { kind, pid, tty, user, host, address, ...entry }: UtmpRecord,
): Told | undefined {
  if (kind !== "login_process" && kind !== "user") return undefined;
  const { timeUs, escaped } = entry;
  const who = { user: textOr(user), pid: pid === 0 ? undefined : pid, tty: textOr(tty) };
  const from = { remote: textOr(host), address };
  const record: LoginRecord = { what: "failure", source: "btmp", timeUs, ...who, ...from, escaped };
  return { record, identity: {} };
}

function textOr(text: string): string | undefined {
  return text === "" ? undefined : text;
}

async function probeLogs(logs: readonly FollowedLogins[]): Promise<SourceStatus> {
  const states = await Promise.all(
    logs.map(async ({ name, remedy, state }) => ({ name, remedy, state: await state() })),
  );
  const hooks = states.flatMap(({ name, remedy, state }): readonly HookStatus[] => {
    if (state === "absent") return [];
    if (state === "there") return [{ name, state: "on" }];
    return [{ name, state: "off", reason: `${state.reason}; ${remedy}` }];
  });
  const isHidden = hooks.length > 0 && hooks.every(({ state }) => state === "off");
  if (isHidden) {
    const remedies = states.flatMap(({ remedy, state }) =>
      typeof state === "object" ? [remedy] : []
    );
    return { state: "off", reason: "no log of logins can be read", remedy: remedies.join("; ") };
  }
  const on = hooks.filter(({ state }) => state === "on").map(({ name }) => name);
  const isTextAbsent = states.every(({ name, state }) => !isText(name) || state === "absent");
  const missing: readonly HookStatus[] = isTextAbsent
    ? [{ name: "auth.log", state: "off", reason: NO_TEXT }]
    : [];
  return {
    state: "on",
    how: on.join(", ") || "there is no log yet",
    hooks: [...hooks, ...missing],
  };
}

const NO_TEXT = "there is neither auth.log, nor secure, nor systemd's journal, so sudo, su and " +
  "logins without a terminal are not told; let syslog write one (Debian: apt-get install rsyslog)";

function isText(name: LoginSource): boolean {
  return name === "auth.log" || name === "secure" || name === "journal";
}
