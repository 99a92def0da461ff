/** Memory of a service that sends an archive which is much larger, as one answer. */
import { setTimeout } from "node:timers/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { openDataTable } from "../support/data-table.ts";
import { type ScriptProcess, startScript } from "../support/script-process.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

/** In one file, of about 1 KB: a quarter of them has no room in the memory of a query. */
const ROWS = 700_000;
const MESSAGE = "repeat(chr((65 + range % 26)::INTEGER), 700)";
const MEMORY_LIMIT_BYTES = 256 * 1024 * 1024;
/** What DuckDB's bound means for a process, and what answers on their way and uncollected memory may take beside it. */
const GROWTH_BYTES_MAX = 1.8 * MEMORY_LIMIT_BYTES + 128 * 1024 * 1024;

async function peakBytes(service: ScriptProcess): Promise<number> {
  const before = service.said.length;
  service.go();
  while (service.said.length === before) await setTimeout(5);
  const { peakBytes } = Object(service.said.at(-1));
  return Number(peakBytes);
}

test("an export takes bounded memory, also beside one that is not read", async () => {
  await using folder = await openTemporaryFolder("export-memory");
  const bucket = join(folder.path, "bucket");
  await using store = await openDirectoryStore({ directory: bucket });
  await using table = await openDataTable(store);
  const start = "2026-03-01T10:00:00Z";
  const files = await table.addRound({ rows: ROWS, start, columns: { message: MESSAGE } });
  expect(files.length).toBe(1);

  const args = [bucket, folder.path, String(MEMORY_LIMIT_BYTES)];
  await using service = await startScript("export-process.ts", args);
  const { url, token } = Object(service.said[0]);
  const ask = async (order: string) => {
    const range = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z";
    const answer = await fetch(`${url}/v1/events?${range}&order=${order}`, {
      headers: { authorization: `Bearer ${token}`, accept: "application/x-ndjson" },
    });
    if (!answer.ok || answer.body === null) throw new Error(await answer.text());
    return answer.body;
  };
  const idle = await peakBytes(service);

  const unread = (await ask("desc")).getReader();
  expect((await unread.read()).done).toBe(false);
  let [bytes, rows, rest] = [0, 0, ""];
  for await (const text of (await ask("asc")).pipeThrough(new TextDecoderStream())) {
    bytes += text.length;
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.includes(`"detail":{"n":${rows}}`)) throw new Error(`row ${rows} is ${line}`);
      rows += 1;
    }
  }
  expect({ rows, rest }).toEqual({ rows: ROWS, rest: "" });
  const growth = await peakBytes(service) - idle;
  await unread.cancel();
  expect(bytes).toBeGreaterThan(GROWTH_BYTES_MAX);
  expect(growth).toBeLessThan(GROWTH_BYTES_MAX);
}, 120_000);
