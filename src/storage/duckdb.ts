/**
 * DuckDB as the rest of the code sees it: databases in memory with bounded memory, threads and spill space, and
 * connections that run one statement at a time, in UTC, and stop when a signal says so. This file and the one that reads
 * values alone import DuckDB's client.
 *
 * Invariants: every connection's TimeZone is UTC whatever the process's is; no extension is ever fetched; a statement
 * whose signal is aborted is interrupted, and its connection stays usable.
 */
import {
  DuckDBBlobVector,
  type DuckDBConnection,
  type DuckDBDataChunk,
  DuckDBInstance,
  DuckDBTimestampTZValue,
  DuckDBTypeId,
  StatementType,
} from "@duckdb/node-api";
import { rowsOf, textOf, typeNameOf } from "./duckdb-values.ts";
import { listOf } from "./sql-text.ts";
import { joinTexts, type TextBytes } from "./text-bytes.ts";

/** A value that goes into a statement as a parameter, or into a table by {@link Connection.append}. */
export type SqlValue = string | number | bigint | boolean | null;

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

export interface SqlColumn {
  readonly name: string;
  /** DuckDB's name of the type: `VARCHAR`, `BIGINT`, `TIMESTAMP WITH TIME ZONE`, `VARCHAR[]` … */
  readonly type: string;
}

export type SqlRow = Readonly<Record<string, JsonValue>>;

/**
 * Rows as JSON: integers beyond 2^53 as text, timestamps with a zone as RFC 3339 with six decimals and Z, maps as lists
 * of `{key, value}`, what JSON does not have as DuckDB's text. Columns of one name are told apart by a suffix.
 */
export interface SqlResult {
  readonly columns: readonly SqlColumn[];
  readonly rows: readonly SqlRow[];
}

export interface StatementOptions {
  /** Values of `$1`, `$2` … */
  readonly parameters?: readonly SqlValue[];
  readonly signal?: AbortSignal;
}

/** What a text of SQL is, found without binding it to tables or files. */
export interface ParsedSql {
  /** How many statements it holds. */
  readonly statements: number;
  /** Its syntax tree as `json_serialize_sql` gives it; undefined unless everything in it is a SELECT. */
  readonly tree: JsonValue | undefined;
}

/** What one statement is, found by binding it: what it reads at binding must be allowed. */
export interface StatementDescription {
  /** `select`, `insert`, `copy`, `set` … */
  readonly type: string;
  readonly columns: readonly SqlColumn[];
  readonly parameters: number;
}

/** A connection; statements given at the same time run one after the other. */
export interface Connection extends AsyncDisposable {
  /** Runs statements; resolves to the number of rows the last one changed. Throws {@link SqlError}. */
  run(sql: string, options?: StatementOptions): Promise<number>;
  /** Runs one statement and reads all of its rows. Throws {@link SqlError}. */
  query(sql: string, options?: StatementOptions): Promise<SqlResult>;
  /**
   * Texts of a statement's only column, in chunks of at most 2,048 as they are made; nulls are empty. Other
   * statements of the connection wait until it is read or left. Throws {@link SqlError}.
   */
  streamText(sql: string, options?: StatementOptions): AsyncIterable<readonly string[]>;
  /** The same of a column of blobs, such as `encode(text)`, as bytes in large pieces, and without a cost per text. */
  streamBytes(sql: string, options?: StatementOptions): AsyncIterable<TextBytes>;
  /** Adds rows to a table, values in its order of columns; timestamps as µs since the Unix epoch. */
  append(table: string, rows: readonly (readonly SqlValue[])[]): Promise<void>;
  /** Throws {@link SqlError} of kind `Parser` when the text is not SQL. */
  parse(sql: string, options?: { readonly signal?: AbortSignal }): Promise<ParsedSql>;
  /** Binds the first statement without running it. Throws {@link SqlError}. */
  describe(sql: string, options?: { readonly signal?: AbortSignal }): Promise<StatementDescription>;
}

export interface DatabaseOptions {
  /** Bound of DuckDB's buffers; the process takes up to about 1.8 times this. */
  readonly memoryLimitBytes: number;
  readonly threads: number;
  /** Where sorts and joins spill; made by DuckDB when first needed. */
  readonly tempDirectory: string;
  /** Bound of what is spilled. */
  readonly tempLimitBytes: number;
  /** Whether a file that is read never changes under its name, so that what was read of it may be kept in memory. */
  readonly hasUnchangingFiles?: boolean;
}

export interface LockOptions {
  /** Folders that statements may read, and write: accept only SELECT from people. */
  readonly directories?: readonly string[];
  /** Files that statements may read. */
  readonly paths?: readonly string[];
}

export interface Database extends AsyncDisposable {
  connect(): Promise<Connection>;
  /** From now on no file but those named can be reached and no setting changed, on any connection. */
  lock(options: LockOptions): Promise<void>;
}

/** A statement that DuckDB refused or could not finish. */
export class SqlError extends Error {
  /** DuckDB's own name of the kind: `Parser`, `Binder`, `Catalog`, `Conversion`, `Out of Memory`, `Permission` … */
  readonly kind: string;

  constructor(kind: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SqlError";
    this.kind = kind;
  }
}

/**
 * A database in memory has nothing to make durable, but DuckDB 1.5 checkpoints it all the same: each 16 MiB that are
 * added, one commit rewrites whole tables (0.3 s for 10,000 rows). Above every size there is, it never does.
 */
const CHECKPOINT_THRESHOLD = "1TiB";

/** An interrupt that comes before DuckDB has begun is lost: it is given again this often, in milliseconds. */
const INTERRUPT_AGAIN_MS = 10;

/** Opens a database in memory. Throws when the settings are refused. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { hasUnchangingFiles = false } = options;
  const instance = await DuckDBInstance.create(":memory:", {
    threads: String(options.threads),
    memory_limit: `${options.memoryLimitBytes}B`,
    temp_directory: options.tempDirectory,
    max_temp_directory_size: `${options.tempLimitBytes}B`,
    checkpoint_threshold: CHECKPOINT_THRESHOLD,
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    allow_community_extensions: "false",
    // DuckDB 1.5 knows a file by path and second: one made again within a second is read as it was before.
    enable_external_file_cache: String(hasUnchangingFiles),
  });
  const connections = new Set<Connection>();
  const connect = async (): Promise<Connection> => {
    const client = await instance.connect();
    const connection = createConnection(client, () => connections.delete(connection));
    connections.add(connection);
    return connection;
  };
  const own = await connect();
  // The zone is set for the whole database: a connection made after the lock could not set its own.
  await own.run("SET GLOBAL TimeZone = 'UTC'");
  // Reading the footer of a large day took as long as all the rest of a question about an hour.
  await own.run(`SET GLOBAL parquet_metadata_cache = ${hasUnchangingFiles}`);
  let closed = false;
  return {
    connect,
    async lock({ directories = [], paths = [] }) {
      await own.run(`SET allowed_directories = ${listOf(directories)}`);
      await own.run(`SET allowed_paths = ${listOf(paths)}`);
      await own.run("SET enable_external_access = false");
      await own.run("SET lock_configuration = true");
    },
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      await Promise.all([...connections].map((each) => each[Symbol.asyncDispose]()));
      instance.closeSync();
    },
  };
}

function createConnection(client: DuckDBConnection, onClose: () => void): Connection {
  const turns = createTurns();
  let closed = false;

  /** Runs one step of DuckDB's, interrupting it when the signal is aborted. */
  const step = async <T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> => {
    signal?.throwIfAborted();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const interrupt = (): void => {
      client.interrupt();
      timer = setTimeout(interrupt, INTERRUPT_AGAIN_MS);
    };
    signal?.addEventListener("abort", interrupt, { once: true });
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted();
      throw sqlErrorOf(error);
    } finally {
      signal?.removeEventListener("abort", interrupt);
      clearTimeout(timer);
    }
  };
  const inTurn = async <T>(
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
  ): Promise<T> => {
    if (closed) throw new Error("Cannot run a statement: the connection is closed");
    const release = await turns.take();
    try {
      return await step(signal, work);
    } finally {
      release();
    }
  };
  const execute = (sql: string, { parameters, signal }: StatementOptions) =>
    inTurn(
      signal,
      () => parameters === undefined ? client.run(sql) : client.run(sql, [...parameters]),
    );

  const streamChunks = async function* (
    sql: string,
    { parameters, signal }: StatementOptions,
  ): AsyncGenerator<DuckDBDataChunk> {
    const release = await turns.take();
    let drained = false;
    try {
      const values = parameters === undefined ? undefined : [...parameters];
      const result = await step(signal, () => client.stream(sql, values));
      while (!drained) {
        const chunk = await step(signal, () => result.fetchChunk());
        drained = chunk === null || chunk.rowCount === 0;
        if (chunk !== null && !drained) yield chunk;
      }
    } finally {
      // A result that is left half-read goes on being made until the next statement ends it.
      if (!drained) await client.run("SELECT NULL").finally(release);
      else release();
    }
  };

  return {
    run: async (sql, options = {}) => (await execute(sql, options)).rowsChanged,
    query: async (sql, options = {}) => rowsOf(await execute(sql, options)),
    async *streamText(sql, options = {}) {
      for await (const chunk of streamChunks(sql, options)) {
        yield chunk.getColumnValues(0).map(textOf);
      }
    },
    async *streamBytes(sql, options = {}) {
      for await (const chunk of streamChunks(sql, options)) yield* bytesOf(chunk);
    },
    append: (table, rows) => inTurn(undefined, () => appendRows(client, table, rows)),
    async parse(sql, { signal } = {}) {
      const statements = await inTurn(signal, () => countStatements(client, sql));
      const { rows } = await this.query("SELECT json_serialize_sql($1::VARCHAR) AS tree", {
        parameters: [sql],
        ...(signal === undefined ? {} : { signal }),
      });
      const tree: JsonValue = JSON.parse(String(rows[0]?.["tree"]));
      return { statements, tree: statements > 0 && isSelectTree(tree) ? tree : undefined };
    },
    describe: (sql, { signal } = {}) => inTurn(signal, () => describeFirst(client, sql)),
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      const release = await turns.take();
      client.closeSync();
      onClose();
      release();
    },
  };
}

/** Lets one at a time through, in order of asking. */
function createTurns(): { take(): Promise<() => void> } {
  let last: Promise<void> = Promise.resolve();
  return {
    async take() {
      const before = last;
      const turn = Promise.withResolvers<void>();
      last = turn.promise;
      await before;
      return turn.resolve;
    },
  };
}

/** @duckdb/node-api 1.5 gives blobs one by one only; the records of a vector of them are private to it. */
function bytesOf(chunk: DuckDBDataChunk): Iterable<TextBytes> {
  const vector = chunk.getColumnVector(0);
  const records: unknown = Reflect.get(vector, "dataView");
  const validity: unknown = Reflect.get(vector, "validity");
  const isKnown = vector instanceof DuckDBBlobVector && records instanceof DataView;
  if (!isKnown || !isValidity(validity)) throw new Error("Cannot read bytes: no vector of blobs");
  return joinTexts({
    records,
    isPresent: (place) => validity.itemValid(place),
    read: (place) => vector.getItemBytes(place) ?? new Uint8Array(),
  }, chunk.rowCount);
}

function isValidity(value: unknown): value is { itemValid(place: number): boolean } {
  return typeof value === "object" && value !== null && "itemValid" in value;
}

async function appendRows(
  client: DuckDBConnection,
  table: string,
  rows: readonly (readonly SqlValue[])[],
): Promise<void> {
  const appender = await client.createAppender(table);
  try {
    for (const row of rows) {
      row.forEach((value, place) => {
        const type = appender.columnType(place);
        if (value === null) appender.appendNull();
        else if (type.typeId === DuckDBTypeId.TIMESTAMP_TZ) {
          appender.appendTimestampTZ(new DuckDBTimestampTZValue(BigInt(value)));
        } else if (type.typeId === DuckDBTypeId.BIGINT) appender.appendBigInt(BigInt(value));
        else appender.appendValue(value, type);
      });
      appender.endRow();
    }
    appender.flushSync();
  } finally {
    appender.closeSync();
  }
}

async function countStatements(client: DuckDBConnection, sql: string): Promise<number> {
  try {
    return (await client.extractStatements(sql)).count;
  } catch (error) {
    // @duckdb/node-api 1.5.6 throws this, and no error of DuckDB's, when a text holds nothing but space and comments.
    if (error instanceof Error && error.message === "Error in native callback") return 0;
    throw error;
  }
}

async function describeFirst(client: DuckDBConnection, sql: string): Promise<StatementDescription> {
  const extracted = await client.extractStatements(sql);
  const prepared = await extracted.prepare(0);
  try {
    const columns = Array.from({ length: prepared.columnCount }, (_, place) => ({
      name: prepared.columnName(place),
      type: typeNameOf(prepared.columnType(place)),
    }));
    const type = (StatementType[prepared.statementType] ?? "unknown").toLowerCase();
    return { type, columns, parameters: prepared.parameterCount };
  } finally {
    prepared.destroySync();
  }
}

/** `json_serialize_sql` answers an object with `error: true` for what is not a SELECT. */
function isSelectTree(tree: JsonValue): boolean {
  return typeof tree === "object" && tree !== null && "error" in tree && tree["error"] === false;
}

function sqlErrorOf(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const match = /^(?:Failed to [a-z ]+: )?([A-Za-z ]+?) Error: ([^]*)$/.exec(error.message);
  if (match === null) return error;
  return new SqlError(String(match[1]), String(match[2]), { cause: error });
}
