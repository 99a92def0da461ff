/**
 * What is known of logins that were told: who is on which terminal, so that a logout, which has no name, gets one; and
 * which login was told by which source, so that no other source tells it again.
 *
 * Invariant: the n-th login (or logout, or failure) of a process or session is told by the first source that has it; changes are
 * those of {@link LoginBook.changes}, which go into the same transaction as the events.
 */
import type { Memory } from "../collector.ts";
import type { LoginIdentity, LoginRecord } from "./login-record.ts";

/** How far apart the times of two sources are that tell of the same. */
export const SAME_WITHIN_US = 120_000_000;
/** Terminals, and processes, that are remembered; more are not, and so may be told without a name, or twice. */
export const BOOK_ENTRIES_MAX = 10_000;
/** From so many failures from one place on, within this time, they are no single mistake. */
export const FAILURES_MANY = 5;
export const FAILURES_WITHIN_US = 600_000_000;
const PLACES_MAX = 1000;

const OPEN = "open:";
const TOLD = "told:";
/** No source's name: how many of a user's logins a database told before any log. */
const OWED = "owed";

interface Told {
  readonly lastUs: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** Who is on a terminal, or came by a process. */
export interface OpenLogin extends LoginIdentity {
  readonly user: string;
  readonly pid: number;
  readonly remote?: string;
  readonly address?: string;
}

export interface LoginBook {
  /** Whether no other source told it; counts it. `session`: the kernel's, as far as it is known. */
  isNews(record: LoginRecord, session?: string): boolean;
  /** How many failures from the same place there were lately, with this one. */
  failuresLately(record: LoginRecord): number;
  open(tty: string, login: OpenLogin): void;
  /** Who was there; nobody is any more. */
  close(tty: string): OpenLogin | undefined;
  /** A boot ends everything. */
  closeAll(): void;
  /** What is to be remembered since the last call. */
  changes(): { readonly put: Map<string, string>; readonly forget: readonly string[] };
}

export function createLoginBook(memory: Memory): LoginBook {
  const open = entriesOf<OpenLogin>(memory, OPEN);
  const told = new Map(
    [...entriesOf<Told>(memory, TOLD)].toSorted(([, a], [, b]) => a.lastUs - b.lastUs),
  );
  const places = new Map<string, readonly number[]>();
  let [put, forgotten] = [new Map<string, string>(), new Set<string>()];
  const remember = <T>(entries: Map<string, T>, key: string, value: T): void => {
    if (!entries.has(key) && entries.size >= BOOK_ENTRIES_MAX) return;
    // The one that changed last is the last.
    entries.delete(key);
    entries.set(key, value);
    put.set(key, JSON.stringify(value));
    forgotten.delete(key);
  };
  const forget = (entries: Map<string, unknown>, key: string): void => {
    if (!entries.delete(key)) return;
    put.delete(key);
    forgotten.add(key);
  };
  const countsOf = (key: string, timeUs: number): Told["counts"] => {
    const known = told.get(key);
    return known !== undefined && Math.abs(timeUs - known.lastUs) <= SAME_WITHIN_US
      ? known.counts
      : {};
  };
  return {
    isNews({ what, source, pid, user, target, isRefused, timeUs }, session) {
      for (const [key, { lastUs }] of told) {
        // In the order in which they came: the oldest first.
        if (timeUs - lastUs <= SAME_WITHIN_US) break;
        forget(told, key);
      }
      const isNewsOf = (key: string): boolean => {
        const counts = countsOf(key, timeUs);
        const count = (counts[source] ?? 0) + 1;
        remember(told, key, { lastUs: timeUs, counts: { ...counts, [source]: count } });
        return Object.entries(counts).every(([name, other]) =>
          name === source || name === OWED || other < count
        );
      };
      const userKey = `${TOLD}${what}:of ${user}`;
      const isOfUser = what === "login" || what === "logout";
      const isNewsOfUser = !isOfUser || isNewsOf(userKey);
      const isDatabase = source === "wtmpdb" || source === "lastlog2";
      // Of one login sshd's processes differ, its session does not. sudo does not always name its process.
      const keys = [
        ...(pid === undefined ? [] : [String(pid)]),
        ...(isOfUser && session !== undefined ? [`in ${session}`] : []),
        ...(what === "sudo" ? [isRefused === true ? `refused ${user}` : `${user} ${target}`] : []),
      ];
      const isNews = isDatabase
        ? isNewsOfUser
        : keys.map((key) => isNewsOf(`${TOLD}${what}:${key}`)).every(Boolean);
      if (!isNews || !isOfUser) return isNews;
      // What a database told, which knows no process, is owed to the log that tells it later.
      const counts = countsOf(userKey, timeUs);
      const owed = counts[OWED] ?? 0;
      const next = isDatabase ? owed + 1 : owed - 1;
      if (next < 0) return true;
      remember(told, userKey, { lastUs: timeUs, counts: { ...counts, [OWED]: next } });
      return isDatabase;
    },
    failuresLately({ remote, tty, user, timeUs }) {
      const place = remote ?? tty ?? user ?? "";
      const lately = (places.get(place) ?? []).filter((at) => timeUs - at <= FAILURES_WITHIN_US);
      const times = [...lately, timeUs].slice(-FAILURES_MANY);
      places.delete(place);
      places.set(place, times);
      const [oldest] = places.keys();
      if (places.size > PLACES_MAX && oldest !== undefined) places.delete(oldest);
      return times.length;
    },
    open: (tty, login) => remember(open, OPEN + tty, login),
    close(tty) {
      const login = open.get(OPEN + tty);
      forget(open, OPEN + tty);
      return login;
    },
    closeAll() {
      for (const key of [...open.keys()]) forget(open, key);
    },
    changes() {
      const changes = { put, forget: [...forgotten] };
      [put, forgotten] = [new Map(), new Set()];
      return changes;
    },
  };
}

/** Written by {@link createLoginBook} alone. */
function entriesOf<T>(memory: Memory, prefix: string): Map<string, T> {
  return new Map(
    [...memory.entries(prefix)].map(([key, text]): [string, T] => [key, JSON.parse(text)]),
  );
}
