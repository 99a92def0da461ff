import { execFile } from "node:child_process";
import { chmod, chown, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runProbity } from "../support/command-line.ts";
import { type DataTable, openDataTable } from "../support/data-table.ts";
import { openSmallS3 } from "../support/small-s3.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

/** For a dozen commands one after the other, each a process of its own. */
const LONG_MS = 120_000;
/** A user that owns nothing else. */
const NOBODY = 65_534;

let data: DataTable;
let folder: TemporaryFolder;
beforeAll(async () => {
  data = await openDataTable();
  folder = await openTemporaryFolder("table-cli");
  for (const day of ["2025-01-01", "2025-01-01", "2026-11-01"]) {
    await data.addRound({ rows: 10, start: `${day}T10:00:00Z` });
  }
});
afterAll(async () => {
  await data[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function table(...words: readonly string[]) {
  const result = await runProbity([
    ...["table", ...words, "--store-url", data.store.url, "--data", join(folder.path, "data")],
  ]);
  const lines = result.stdout.split("\n").filter((line) => line.startsWith("{"));
  return { ...result, rows: lines.map((line) => JSON.parse(line)) };
}

describe("probity table", () => {
  it.each([
    [["compact"]],
    [["hold", "a", "--reason", "b"]],
  ])("does not %j in a store that ignores conditions", async (words) => {
    await using server = await openSmallS3({ put: "ignored" });
    const { code, stderr } = await runProbity([
      ...["table", ...words, "--data", join(folder.path, "data")],
      ...["--store-url", "s3://bucket", "--store-endpoint", server.endpoint, "--store-path-style"],
    ], { environment: { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b", AWS_REGION: "c" } });
    expect(stderr).toContain("it does not refuse a conditional put");
    expect(code).toBe(1);
  });

  it("says what the table is made of", async () => {
    const { code, rows } = await table("status");
    expect(code).toBe(0);
    expect(rows).toMatchObject([{
      version: 3,
      files: 3,
      small_files: 3,
      rows: 30,
      days: 2,
      first_day: "2025-01-01",
      last_day: "2026-11-01",
      shards: [{ shard: "0", sequence: 3, version: 3 }],
    }]);
  });

  it("tells its history, newest first", async () => {
    const { rows } = await table("history", "--limit", "2");
    expect(rows).toMatchObject([
      { version: 3, operation: "STREAMING UPDATE", shard: "0", files_added: 1, rows_added: 10 },
      { version: 2 },
    ]);
    expect((await table("history")).rows.at(-1)).toMatchObject({ operation: "CREATE TABLE" });
  });

  it("lists files, or where they are", async () => {
    expect((await table("files")).rows).toHaveLength(3);
    const { stdout } = await table("files", "--addresses", "--from", "2026-01-01");
    const paths = stdout.trim().split("\n");
    expect(paths).toEqual([expect.stringMatching(/^\/.*event_date=2026-11-01\/.*\.parquet$/)]);
    const to = await table("files", "--to", "2026-01-01");
    expect(to.rows).toMatchObject([{ date: "2025-01-01" }, { date: "2025-01-01" }]);
  });

  it("changes nothing in a dry run, and what it says afterwards", async () => {
    const config = join(folder.path, "probity.toml");
    await writeFile(config, `[maintenance]\nkeep = {"**" = "60d"}\n`);
    const dry = [
      await table("compact", "--dry-run"),
      await table("retain", "--config", config, "--dry-run"),
      await table("vacuum", "--dry-run"),
      await table("hold", "case-7", "--reason", "court", "--host", "web-*", "--dry-run"),
    ];
    expect(dry.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
    expect(dry[0]?.rows).toMatchObject([{ date: "2025-01-01", files: 2, rows: 20 }]);
    expect(dry[1]?.rows).toMatchObject([{ rows: 10, rules: "**", held: false }, { rows: 10 }]);
    expect(dry[2]?.rows).toEqual([]);
    expect(dry[3]?.rows).toEqual([{ name: "case-7", files: 3, rows: 30 }]);
    expect((await data.snapshot()).version).toBe(3);
    expect((await table("hold")).rows).toEqual([]);
    for await (const { key } of data.store.list("registry/")) expect(key).toBe("nothing");
  });

  it("compacts, holds, and removes", async () => {
    const config = join(folder.path, "probity.toml");
    expect((await table("hold", "case-7", "--reason", "court", "--to", "2025-06-01")).rows)
      .toEqual([{ name: "case-7", files: 2, rows: 20 }]);
    expect((await table("hold")).rows).toMatchObject([{ name: "case-7", reason: "court" }]);
    expect((await table("compact")).rows).toMatchObject([{ filesAdded: 0 }]);
    expect((await table("retain", "--config", config)).rows)
      .toMatchObject([{ filesRemoved: 0, filesHeld: 2 }]);
    expect((await table("hold", "case-7", "--release")).code).toBe(0);
    expect((await table("compact")).rows).toMatchObject([{ filesAdded: 1, filesRemoved: 2 }]);
    expect((await table("retain", "--config", config)).rows)
      .toMatchObject([{ filesRemoved: 1, rowsRemoved: 20 }]);
    expect((await table("vacuum")).rows).toEqual([{ objects: 0, bytes: 0, spared: 0, names: 0 }]);
    expect(await data.query("SELECT count(*) AS n FROM events")).toEqual([{ n: 10 }]);
    let records = 0;
    for await (const _ of data.store.list("registry/admin/")) records += 1;
    expect(records).toBe(4);
  }, LONG_MS);

  it.runIf(process.getuid?.() === 0)("as root works as the owner of the folder", async () => {
    await using theirs = await openDataTable();
    for (const hour of ["10", "11"]) {
      await theirs.addRound({ rows: 10, start: `2025-01-01T${hour}:00:00Z` });
    }
    const bucket = fileURLToPath(theirs.store.url);
    await promisify(execFile)("chown", ["-R", `${NOBODY}:${NOBODY}`, bucket]);
    await chmod(dirname(bucket), 0o711);
    const home = await mkdtemp(join(tmpdir(), "probity-nobody-"));
    try {
      await chown(home, NOBODY, NOBODY);
      const words = ["table", "compact", "--store-url", theirs.store.url, "--data", home];
      const { code, stdout, stderr } = await runProbity(words);
      expect(code, stderr).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ filesAdded: 1 });
      const owners = new Set<number>();
      for await (const { key } of theirs.store.list("")) {
        owners.add((await stat(theirs.store.localPath(key) ?? "")).uid);
      }
      expect([...owners]).toEqual([NOBODY]);
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });

  it.each([
    [["retain"], 2, "[maintenance] keep"],
    [["vacuum", "--maintenance-grace", "1h"], 2, 'from "24h" to "13d"'],
    [["hold", "a/b", "--reason", "x"], 2, 'Cannot use "a/b"'],
    [["hold", "--reason", "x"], 2, "without its name"],
    [["hold", "none", "--release"], 1, "there is none"],
    [["files", "--from", "soon"], 2, "accepted: a UTC time"],
  ])("%j ends in %d", async (words, code, message) => {
    const result = await table(...words);
    expect(result.code, result.stderr).toBe(code);
    expect(result.stderr).toContain(message);
  });
});
