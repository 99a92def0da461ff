/**
 * What events of a topic are like: bytes of one in a sorted file of the topic alone and, of each column, how many values
 * there are, how many different ones, how long their text is and what they take of those bytes. Recorded and invented
 * events go through the same writer.
 */
import { COLUMNS, PARTITION_COLUMN } from "../src/event/columns.ts";
import { rowsOfFiles } from "../src/storage/data-rows.ts";
import type { Connection, Database } from "../src/storage/duckdb.ts";
import { type SourceFile, writeSortedFile } from "../src/storage/sorted-file.ts";
import { identifierOf, literalOf } from "../src/storage/sql-text.ts";

export interface ColumnFigures {
  /** Values that are not null, of one event. */
  readonly filled: number;
  readonly different: number;
  /** Characters, on average. */
  readonly characters: number;
  /** Compressed bytes of one event. */
  readonly bytes: number;
}

export interface TopicFigures {
  readonly events: number;
  readonly bytes: number;
  readonly columns: Readonly<Record<string, ColumnFigures>>;
}

export interface FiguresRequest {
  /** All rows, in the order in which they came. */
  readonly source: SourceFile;
  /** For files that are removed by whoever made it. */
  readonly folder: string;
  readonly threads: number;
}

const NAMES = COLUMNS.map(({ name }) => name).filter((name) => name !== PARTITION_COLUMN);
let written = 0;

/** Of these topics; of all when undefined. */
export async function figuresByTopic(
  { database, connection }: { readonly database: Database; readonly connection: Connection },
  request: FiguresRequest & { readonly topics?: readonly string[] },
): Promise<Record<string, TopicFigures>> {
  const { source, folder, threads } = request;
  const rows = rowsOfFiles([source.path]);
  const topics = request.topics ?? (await connection.query(
    `SELECT topic FROM ${rows} GROUP BY topic ORDER BY count(*) DESC, topic`,
  )).rows.map(({ topic }) => String(topic));
  const figures: Record<string, TopicFigures> = {};
  for (const topic of topics) {
    const file = await writeSortedFile(database, {
      ...{ sources: [source], folder, threads },
      where: `topic = ${literalOf(topic)}`,
      id: `topic-${++written}`,
    });
    if (file === undefined) {
      throw new RangeError(`Cannot measure events "${topic}": there are none`);
    }
    figures[topic] = {
      events: file.file.rows,
      bytes: rounded(file.file.sizeBytes / file.file.rows),
      columns: await columnsOf(connection, file.path),
    };
  }
  return figures;
}

async function columnsOf(
  connection: Connection,
  path: string,
): Promise<Record<string, ColumnFigures>> {
  const file = literalOf(path);
  const counted = NAMES.map((name) => {
    const column = identifierOf(name);
    return `{filled: count(${column}), different: count(DISTINCT ${column}),
      characters: avg(length(${column}::VARCHAR))} AS ${column}`;
  });
  const { rows: [values] } = await connection.query(
    `SELECT count(*) AS "rows in all", ${counted.join(", ")} FROM read_parquet(${file})`,
  );
  const { rows: chunks } = await connection.query(
    `SELECT path_in_schema AS name, sum(total_compressed_size)::BIGINT AS bytes
     FROM parquet_metadata(${file}) GROUP BY 1`,
  );
  const all = Number(values?.["rows in all"]);
  const figures: Record<string, ColumnFigures> = {};
  for (const name of NAMES) {
    // as: a struct of three numbers, by the statement above
    const { filled, different, characters } = values?.[name] as unknown as Record<string, unknown>;
    const bytes = chunks.find((chunk) => String(chunk["name"]).split(",")[0] === name)?.["bytes"];
    if (Number(filled) === 0) continue;
    figures[name] = {
      filled: rounded(Number(filled) / all),
      different: Number(different),
      characters: rounded(Number(characters)),
      bytes: rounded(Number(bytes) / all),
    };
  }
  return figures;
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}
