/**
 * Events as rows of a PostgreSQL table: one INSERT for a batch, which leaves alone what is there already by its id.
 *
 * Invariant: a batch is taken as a whole or not at all (one statement is one transaction), and is committed when the
 * delivery ends. Without TLS that is verified, nothing leaves this machine unless the settings allow it.
 */
import { Socket } from "node:net";
import { Client, DatabaseError, escapeIdentifier } from "pg";
import { isLoopbackHost } from "./address.ts";
import { takeLeave } from "./farewell.ts";
import { readSecretFile } from "./secret-file.ts";
import { RefusedError, type SinkEvent, type SinkTarget, type TargetSettings } from "./target.ts";
import { readTls, tlsFault } from "./tls.ts";
import { untilAborted } from "./until-aborted.ts";

type PostgresSettings = Omit<Extract<TargetSettings, { readonly type: "postgres" }>, "type">;

const CONNECT_LIMIT_MS = 10_000;
const STATEMENT_LIMIT_MS = 30_000;
/** Classes of SQLSTATE that are about the values: data exception, constraint violation, limits of the program. */
const REFUSALS = ["22", "23", "54"];

export function createPostgresTarget(settings: PostgresSettings): SinkTarget {
  const sql = insertInto(settings.table);
  let client: Client | undefined;
  let socket: Socket | undefined;

  const leave = (leaving: Client, of: Socket): Promise<void> =>
    takeLeave(() => leaving.end(), () => of.destroy());
  const close = async (): Promise<void> => {
    const [closing, of] = [client, socket];
    client = undefined;
    if (closing !== undefined && of !== undefined) await leave(closing, of);
  };
  const connected = async (signal: AbortSignal): Promise<Client> => {
    if (client !== undefined) return client;
    const used = new Socket();
    socket = used;
    const opening = new Client({ ...await clientOptions(settings), stream: () => used });
    // A connection that breaks while nothing is asked of it is made anew with the next delivery.
    opening.on("error", () => {
      if (client === opening) client = undefined;
    });
    try {
      await untilAborted(opening.connect(), { signal, discard: () => used.destroy() });
    } catch (error) {
      if (signal.aborted) {
        used.destroy();
        throw error;
      }
      await leave(opening, used);
      throw error;
    }
    return client = opening;
  };

  return {
    async deliver(events, signal) {
      signal.throwIfAborted();
      const stop = (): void => void close();
      signal.addEventListener("abort", stop, { once: true });
      try {
        await (await connected(signal)).query(sql, columnsOf(events));
      } catch (error) {
        if (!(error instanceof DatabaseError)) {
          await close();
          throw tlsFault(error);
        }
        const isRefused = REFUSALS.some((kind) => error.code?.startsWith(kind) === true);
        // Its text may quote values of the event: only the state is told.
        const message = `PostgreSQL answered with SQLSTATE ${error.code ?? "unknown"}`;
        if (isRefused) throw new RefusedError(message, { cause: error });
        await close();
        throw new Error(message, { cause: error });
      } finally {
        signal.removeEventListener("abort", stop);
      }
    },
    [Symbol.asyncDispose]: close,
  };
}

async function clientOptions({ url, passwordFile, isInsecure, ...files }: PostgresSettings) {
  const { hostname, port, username, pathname, searchParams } = new URL(url);
  // A socket's folder stands in the query, as libpq has it.
  const socketFolder = searchParams.get("host");
  const host = socketFolder ?? hostname;
  const isLocal = socketFolder?.startsWith("/") === true || isLoopbackHost(host);
  const password = passwordFile === undefined ? undefined : await readSecretFile(passwordFile);
  const isTls = files.caFile !== undefined || files.certFile !== undefined ||
    !(isLocal || isInsecure);
  return {
    host,
    port: port === "" ? 5432 : Number(port),
    user: decodeURIComponent(username),
    database: decodeURIComponent(pathname.slice(1)),
    password,
    ssl: isTls ? { rejectUnauthorized: true, ...await readTls(files) } : false,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    query_timeout: STATEMENT_LIMIT_MS,
    statement_timeout: STATEMENT_LIMIT_MS,
    application_name: "probity",
    keepAlive: true,
  };
}

function insertInto(table: string): string {
  const name = table.split(".").map((part) => escapeIdentifier(part)).join(".");
  const columns = "id, time, topic, host, severity, event";
  return `INSERT INTO ${name} (${columns}) SELECT id, time, topic, host, severity, event FROM ` +
    `unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::jsonb[]) ` +
    `AS given (${columns}) ON CONFLICT (id) DO NOTHING`;
}

function columnsOf(events: readonly SinkEvent[]): unknown[] {
  return [
    events.map(({ id }) => id),
    events.map(({ time }) => time),
    events.map(({ topic }) => topic),
    events.map(({ host }) => host),
    events.map(({ severity }) => severity),
    events.map(({ json }) => json),
  ];
}
