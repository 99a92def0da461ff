/**
 * What reading and writing a checkpoint of the table get for DuckDB: the actions as lines of JSON, as they are given,
 * in a file that is called Parquet.
 */
import type { Connection, Database } from "../../src/storage/duckdb.ts";
import { readSimulated, writeFileSync } from "./file-modules.ts";

const refuse = (): never => {
  throw new Error("Cannot simulate a database: only checkpoints are read and written");
};

const CONNECTION: Connection = {
  run: refuse,
  append: refuse,
  parse: refuse,
  describe: refuse,
  streamBytes: refuse,
  query(sql) {
    const [, from, to] = /read_json\('([^']+)'.*\bTO '([^']+)'/s.exec(sql) ?? [];
    if (from === undefined || to === undefined) return refuse();
    const body = readSimulated(from);
    writeFileSync(to, body);
    return Promise.resolve({
      rows: [{ count: linesOf(body).length, file_size_bytes: body.length }],
      columns: [],
    });
  },
  async *streamText(sql) {
    const [, from] = /read_parquet\('([^']+)'/.exec(sql) ?? [];
    yield await Promise.resolve(linesOf(readSimulated(from ?? "")));
  },
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

export function openDatabase(): Promise<Database> {
  return Promise.resolve({
    connect: () => Promise.resolve(CONNECTION),
    lock: refuse,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}

function linesOf(body: Uint8Array): string[] {
  return new TextDecoder().decode(body).split("\n").filter((line) => line !== "");
}
