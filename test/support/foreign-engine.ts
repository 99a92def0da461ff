/**
 * The table as an engine reads it that shares no code with ours: ClickHouse with its Delta kernel, by its embedded form
 * `chdb`, in a process of its own.
 */
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export interface ForeignQuery {
  /** A SELECT; `{table}` stands for the table. */
  readonly sql: string;
  /** Version to read; the newest by default. */
  readonly version?: number;
}

export type ForeignRow = Readonly<Record<string, unknown>>;

/** Where the table is: a folder, or an address of an S3 server with its keys. */
export type ForeignTable = { readonly folder: string } | {
  readonly url: string;
  readonly accessKey: string;
  readonly secretKey: string;
};

const SCRIPT = fileURLToPath(new URL("foreign-engine-process.ts", import.meta.url));
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

export async function askForeignEngine(
  table: ForeignTable,
  { sql, version }: ForeignQuery,
): Promise<readonly ForeignRow[]> {
  const source = "folder" in table
    ? `deltaLakeLocal('${table.folder}')`
    : `deltaLakeS3('${table.url}', '${table.accessKey}', '${table.secretKey}')`;
  const settings = [
    "session_timezone = 'UTC'",
    "output_format_json_quote_64bit_integers = 0",
    ...version === undefined ? [] : [`delta_lake_snapshot_version = ${version}`],
  ];
  const statement = `${sql.replaceAll("{table}", source)} SETTINGS ${settings.join(", ")}`;
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, statement], {
    maxBuffer: OUTPUT_BYTES_MAX,
    // It reads no files but those below its working folder.
    cwd: "folder" in table ? dirname(table.folder) : tmpdir(),
  });
  return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}
