/**
 * The SQLite databases of wtmpdb and lastlog2, which take wtmp's and lastlog's place: who came, and who left.
 *
 * Invariants: they are read, never written; what stood there before the first look is not told; a row that cannot be read
 * hides no other, and is counted. lastlog2 keeps the last login of each user alone: of several between two looks it tells
 * one.
 */
import { DatabaseSync } from "node:sqlite";
import type { CollectorContext, Memory } from "../collector.ts";
import { stateOfLog } from "../log-file.ts";
import type { LogEntries } from "./followed-log.ts";
import { present } from "./login-events.ts";
import type { LoginRecord } from "./login-record.ts";

export class LoginDatabaseError extends Error {
  override readonly name = "LoginDatabaseError";
}

export type LoginDatabaseReader = (
  path: string,
  memory: Memory,
  context: Pick<CollectorContext, "lost">,
) => AsyncGenerator<LogEntries<LoginRecord>>;

/**
 * Rows of one look, users of lastlog2, and sessions of wtmpdb whose end is waited for; of more the latest. Three events
 * for each are fewer than one collection may have.
 */
export const DATABASE_ROWS_MAX = 3_000;
const BUSY_LIMIT_MS = 1_000;
const USER_PROCESS = "3";

type Row = Readonly<Record<string, unknown>>;

/** Names and places are short; numbers are text, so that those beyond a double stay what they are. */
const WHO = "substr(User, 1, 256) AS user, substr(TTY, 1, 256) AS tty, " +
  "substr(RemoteHost, 1, 256) AS remote, substr(Service, 1, 256) AS service";
const SESSION = `SELECT CAST(ID AS TEXT) AS id, CAST(Type AS TEXT) AS type, ${WHO}, ` +
  "CAST(Login AS TEXT) AS login, CAST(Logout AS TEXT) AS logout FROM wtmp";

const PLACE = "wtmpdb";
const OPEN = "wtmpdb:";

/** Sessions: when they began and ended, in microseconds. */
export const readWtmpdb: LoginDatabaseReader = async function* (path, memory, { lost }) {
  if (await stateOfLog(path) !== "there") return;
  using database = openDatabase(path);
  const [newest] = rowsOf(database, "SELECT CAST(max(ID) AS TEXT) AS id FROM wtmp");
  const newestId = numberIn(newest, "id") ?? 0;
  const known = memory.get(PLACE);
  const isBaseline = known === undefined;
  let [place = 0, floorUs = 0] = known?.split(" ").map(Number) ?? [];
  if (!isBaseline && newestId < place) {
    lost({ class: "log", count: null, reason: "wtmpdb was cut where it had been read already" });
    place = 0;
  } else floorUs = 0;
  const put = new Map<string, string>();
  const forget: string[] = [];
  const entries: LoginRecord[] = [];
  let unreadable = 0;
  const open = memory.entries(OPEN);
  for (const key of open.keys()) {
    const [row] = rowsOf(database, `${SESSION} WHERE ID = ?`, Number(key.slice(OPEN.length)));
    const logoutUs = numberIn(row, "logout");
    if (row !== undefined && logoutUs === undefined) continue;
    forget.push(key);
    const record = recordOf(row, { what: "logout", source: "wtmpdb", timeUs: logoutUs });
    if (record !== undefined) entries.push(record);
  }
  let lastUs = Number(known?.split(" ")[1] ?? 0);
  const order = isBaseline ? "ID > ? AND Logout IS NULL ORDER BY ID DESC" : "ID > ? ORDER BY ID";
  for (
    const row of rowsOf(database, `${SESSION} WHERE ${order} LIMIT ?`, place, DATABASE_ROWS_MAX)
  ) {
    place = Math.max(place, numberIn(row, "id") ?? 0);
    if (row["type"] !== USER_PROCESS) continue;
    const [timeUs, logoutUs] = [numberIn(row, "login"), numberIn(row, "logout")];
    const record = recordOf(row, { what: "login", source: "wtmpdb", timeUs });
    if (record === undefined) unreadable += 1;
    if (record === undefined || record.timeUs <= floorUs) continue;
    lastUs = Math.max(lastUs, record.timeUs);
    if (!isBaseline) entries.push(record);
    if (logoutUs !== undefined) {
      entries.push({ ...record, what: "logout", timeUs: logoutUs });
    } else if (open.size + put.size < DATABASE_ROWS_MAX) put.set(OPEN + String(row["id"]), "");
  }
  tellUnreadable(isBaseline ? 0 : unreadable, "wtmpdb", lost);
  const next = `${isBaseline ? newestId : place} ${lastUs}`;
  if (next !== known) put.set(PLACE, next);
  for (const key of forget) put.delete(key);
  if (put.size > 0 || forget.length > 0) yield { entries, isBaseline, put, forget };
};

const LOOKED = "lastlog2";
const LAST = "lastlog2:";

/** The last login of each user, in seconds. */
export const readLastlog2: LoginDatabaseReader = async function* (path, memory, { lost }) {
  if (await stateOfLog(path) !== "there") return;
  using database = openDatabase(path);
  const isBaseline = memory.get(LOOKED) === undefined;
  const put = new Map<string, string>(isBaseline ? [[LOOKED, "1"]] : []);
  const entries: LoginRecord[] = [];
  let unreadable = 0;
  const sql =
    `SELECT ${WHO.replace("User,", "Name,")}, CAST(Time AS TEXT) AS login FROM Lastlog2 ` +
    "ORDER BY Time DESC LIMIT ?";
  for (const row of rowsOf(database, sql, DATABASE_ROWS_MAX)) {
    const key = LAST + String(row["user"]);
    const time = String(row["login"]);
    if (memory.get(key) === time) continue;
    put.set(key, time);
    const seconds = numberIn(row, "login");
    // Who never came has none.
    if (seconds === 0) continue;
    const timeUs = seconds === undefined ? undefined : seconds * 1_000_000;
    const record = recordOf(row, { what: "login", source: "lastlog2", timeUs });
    if (record === undefined) unreadable += 1;
    else entries.push(record);
  }
  tellUnreadable(isBaseline ? 0 : unreadable, "lastlog2", lost);
  if (put.size > 0) yield { entries, isBaseline, put };
};

function recordOf(
  row: Row | undefined,
  { what, source, timeUs }: {
    readonly what: "login" | "logout";
    readonly source: "wtmpdb" | "lastlog2";
    readonly timeUs: number | undefined;
  },
): LoginRecord | undefined {
  const user = textIn(row, "user");
  if (user === undefined || timeUs === undefined || !Number.isSafeInteger(timeUs)) return undefined;
  const [tty, remote, service] = ["tty", "remote", "service"].map((name) => textIn(row, name));
  return { what, source, timeUs, user, ...present({ tty, remote, service }) };
}

function openDatabase(path: string): DatabaseSync {
  try {
    return new DatabaseSync(path, { readOnly: true, timeout: BUSY_LIMIT_MS });
  } catch (cause) {
    throw new LoginDatabaseError(`Cannot open "${path}": ${reasonOf(cause)}`, { cause });
  }
}

function rowsOf(database: DatabaseSync, sql: string, ...values: number[]): readonly Row[] {
  try {
    return database.prepare(sql).all(...values);
  } catch (cause) {
    const reason = `Cannot read a database of logins: ${reasonOf(cause)}`;
    throw new LoginDatabaseError(reason, { cause });
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function tellUnreadable(count: number, name: string, lost: CollectorContext["lost"]): void {
  if (count === 0) return;
  lost({ class: "unreadable", count, reason: `rows of ${name} cannot be read` });
}

function textIn(row: Row | undefined, name: string): string | undefined {
  const value = row?.[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

function numberIn(row: Row | undefined, name: string): number | undefined {
  const value = row?.[name];
  if (typeof value !== "string" || !/^[0-9]{1,16}$/.test(value)) return undefined;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : undefined;
}
