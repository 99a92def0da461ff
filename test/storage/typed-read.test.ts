import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { type AuditEvent, formatTime, lineFields } from "../../src/event/event.ts";
import { BATCH_SPAN_US } from "../../src/event/wire.ts";
import { compressFrame } from "../../src/runtime/zstd.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import {
  createMessageTable,
  faultsAmong,
  gapFileName,
  messageRow,
  payloadFileName,
  type PlacedMessage,
  rowFaults,
  sqlTypeOf,
  typedRead,
} from "../../src/storage/typed-read.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const LAST_US = Date.UTC(2026, 5, 15, 12) * 1000 + 654_321;
const MESSAGES = "messages";

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;
let folders = 0;

beforeAll(async () => {
  folder = await openTemporaryFolder("typed-read");
  database = await openDatabase({
    memoryLimitBytes: 200_000_000,
    threads: 2,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 100_000_000,
  });
  connection = await database.connect();
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

function placed(sequence: number, more: Partial<PlacedMessage> = {}): PlacedMessage {
  return {
    incarnation: "0123abcd",
    sequence,
    loggedAtUs: LAST_US + 5_000_000,
    host: `host-${sequence}`,
    agent: `agent-${sequence}`,
    epoch: "e1",
    batch: 7,
    lastUs: LAST_US,
    rows: 1,
    ...more,
  };
}

interface Given {
  readonly message: PlacedMessage;
  readonly text?: string;
  readonly gapText?: string;
}

async function prepare(given: readonly Given[]): Promise<string[]> {
  const path = join(folder.path, String(++folders));
  await mkdir(path);
  await connection.run(createMessageTable(MESSAGES));
  await connection.append(MESSAGES, given.map(({ message }) => messageRow(message)));
  const files: string[] = [];
  for (const { message, text, gapText } of given) {
    if (text !== undefined) {
      const file = join(path, payloadFileName(message.sequence));
      await writeFile(file, await compressFrame(new TextEncoder().encode(text)));
      files.push(file);
    }
    if (gapText !== undefined) {
      const file = join(path, gapFileName(message.sequence));
      await writeFile(file, gapText);
      files.push(file);
    }
  }
  return files;
}

async function read(given: readonly Given[]) {
  const files = await prepare(given);
  const { rows } = await connection.query(
    `SELECT * FROM (${typedRead({ files, messages: MESSAGES })}) ORDER BY seq, idx`,
  );
  return rows;
}

function lineOf(idx: number, fields: Readonly<Record<string, unknown>>): string {
  return `${JSON.stringify({ idx, time: formatTime(LAST_US), ...fields })}\n`;
}

test("all columns come in order with their types, also of nothing", async () => {
  for (const given of [[], [{ message: placed(1), text: lineOf(0, {}) }]]) {
    const files = await prepare(given);
    const { columns } = await connection.describe(typedRead({ files, messages: MESSAGES }));
    const types = columns.map(({ name, type }) => [
      name,
      type.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ"),
    ]);
    expect(types).toEqual(COLUMNS.map((column) => [column.name, sqlTypeOf(column)]));
  }
  expect(await read([])).toEqual([]);
});

test("what a message says stands in its rows, whatever the line claims", async () => {
  const lies = { host: "liar", seq: 99, incarnation: "ffffffff", agent: "x", epoch: "y", batch: 1 };
  const rows = await read([
    { message: placed(2), text: lineOf(0, { ...lies, logged_at: "2001-01-01", event_date: "x" }) },
    { message: placed(1, { host: null, agent: null, epoch: null, batch: null }) },
  ]);
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject({
    incarnation: "0123abcd",
    seq: 2,
    host: "host-2",
    agent: "agent-2",
    epoch: "e1",
    batch: 7,
    logged_at: formatTime(LAST_US + 5_000_000),
    event_date: "2026-06-15",
  });
});

test("fields that are not known are passed over", async () => {
  const newer = { topic: "app/x", colour: "red", shape: { sides: [3] }, "": 1, detail: { a: 1 } };
  const [row = {}, ...more] = await read([{ message: placed(1), text: lineOf(0, newer) }]);
  expect(row).toMatchObject({ topic: "app/x", detail: '{"a":1}' });
  expect(Object.keys(row)).toEqual(COLUMNS.map(({ name }) => name));
  expect(more).toEqual([]);
});

describe("a line's time", () => {
  const timeOf = async (time: string | undefined, detail?: unknown) => {
    const line = JSON.stringify({ idx: 0, time, detail });
    const [row] = await read([{ message: placed(1), text: `${line}\n` }]);
    return row;
  };

  test.each([
    ["the last of its batch", LAST_US],
    ["64 days before it", LAST_US - BATCH_SPAN_US],
  ])("is kept when it is %s", async (_, timeUs) => {
    const row = await timeOf(formatTime(timeUs));
    expect(row).toMatchObject({ time: formatTime(timeUs), detail: null });
    expect(row?.event_date).toBe(formatTime(timeUs).slice(0, 10));
  });

  test.each([
    ["after the last", formatTime(LAST_US + 1)],
    ["more than 64 days before it", formatTime(LAST_US - BATCH_SPAN_US - 1)],
    ["infinite", "infinity"],
    ["long ago", "0044-03-15 (BC) 12:00:00"],
  ])("is the last of its batch when it is %s, and the claim is kept", async (_, claimed) => {
    const row = await timeOf(claimed, { a: null, b: [1] });
    expect(row).toMatchObject({ time: formatTime(LAST_US), event_date: "2026-06-15" });
    expect(JSON.parse(String(row?.detail))).toEqual({ a: null, b: [1], claimed_time: claimed });
  });

  test.each([
    [undefined, {}],
    [{}, {}],
    [[1], { value: [1] }],
    [{ claimed_time: "x", a: 1 }, { value: { claimed_time: "x", a: 1 } }],
  ])("its claim is told beside the detail %j", async (detail, kept) => {
    const claimed = "2020-01-01T00:00:00.000000Z";
    const row = await timeOf(claimed, detail);
    expect(JSON.parse(String(row?.detail))).toEqual({ ...kept, claimed_time: claimed });
  });

  test("its claim is told however deeply the detail is nested", async () => {
    const depth = 200_000;
    const detail = `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`;
    const claimed = "2020-01-01T00:00:00.000000Z";
    const [row] = await read([{
      message: placed(1),
      text: `{"idx":0,"time":"${claimed}","detail":${detail}}\n`,
    }]);
    expect(row?.["detail"]).toBe(`{"claimed_time":"${claimed}",${detail.slice(1)}`);
  });

  test("is the last of its batch when it has none", async () => {
    expect(await timeOf(undefined, { a: 1 }))
      .toMatchObject({ time: formatTime(LAST_US), detail: '{"a":1}' });
  });

  test.each(["yesterday", "", "2026-13-01T00:00:00Z", "5"])(
    "is refused when it is %j",
    (time) => expect(timeOf(time)).rejects.toMatchObject({ name: "SqlError" }),
  );
});

test("gap rows keep their time although it is the broker's", async () => {
  const time = formatTime(LAST_US + 5_000_000);
  const rows = await read([{
    message: placed(4, { rows: 2 }),
    text: lineOf(0, { topic: "process/exec" }),
    gapText: `{"idx":1,"time":"${time}","topic":"agent/gap","detail":{"count":null}}\n`,
  }]);
  expect(rows).toMatchObject([
    { seq: 4, idx: 0, topic: "process/exec" },
    { seq: 4, idx: 1, topic: "agent/gap", time, detail: '{"count":null}' },
  ]);
});

test("a detail that is no object is put into one", async () => {
  const text = [[1], "x", 5, true].map((detail, idx) => lineOf(idx, { detail })).join("");
  const rows = await read([{ message: placed(1, { rows: 4 }), text }]);
  expect(rows.map(({ detail }) => JSON.parse(String(detail))))
    .toEqual([{ value: [1] }, { value: "x" }, { value: 5 }, { value: true }]);
});

describe("rows are checked against what their message counts:", () => {
  const faultsOf = async (counts: number, indexes: readonly (number | null)[]) => {
    const text = indexes.map((idx) => `${JSON.stringify({ idx, time: formatTime(LAST_US) })}\n`);
    const messages = [placed(1, { rows: counts }), placed(2, { rows: 0 }), placed(3)];
    const texts = [text.join(""), undefined, lineOf(0, {})];
    const files = await prepare(messages.map((message, at) => {
      const lines = texts[at];
      return { message, ...(lines === undefined ? {} : { text: lines }) };
    }));
    const rows = `(${typedRead({ files, messages: MESSAGES })})`;
    const found = await connection.query(rowFaults({ rows, expected: MESSAGES }));
    const sequences = found.rows.map(({ seq }) => seq);
    const places = (await connection.query(`SELECT seq, idx FROM ${rows}`)).rows.map((row) => ({
      seq: Number(row["seq"]),
      idx: row["idx"] === null ? null : Number(row["idx"]),
    }));
    // The database and the rows at hand come to the same.
    expect(faultsAmong(places, messages)).toEqual(sequences);
    return sequences;
  };

  test.each([
    [0, []],
    [1, [0]],
    [3, [0, 1, 2]],
    [3, [2, 0, 1]],
  ])("%i are right as %j", async (count, indexes) => {
    expect(await faultsOf(count, indexes)).toEqual([]);
  });

  test.each([
    [1, []],
    [2, [0]],
    [1, [0, 1]],
    [2, [0, 0]],
    [2, [1, 2]],
    [3, [0, 2, 3]],
    [2, [-1, 0]],
    [2, [0, null]],
    [4, [0, 0, 3, 3]],
  ])("%i are wrong as %j", async (count, indexes) => {
    expect(await faultsOf(count, indexes)).toEqual([1]);
  });
});

describe("any event comes back as it was sent:", () => {
  const text = fc.string({ unit: "binary", maxLength: 20 }).filter((each) => each.isWellFormed());
  const long = fc.maxSafeInteger();
  const integer = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const values = {
    string: text,
    long,
    integer,
    strings: fc.array(text, { maxLength: 3 }),
    json: fc.dictionary(text, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 }),
    timestamp: fc.constant(undefined),
    date: fc.constant(undefined),
  };
  const lineColumns = COLUMNS.filter(({ origin, name }) =>
    origin === "line" && name !== "time" && name !== "idx"
  );
  const fields = fc.record(
    Object.fromEntries(lineColumns.map(({ name, type }) => [name, values[type]])),
    { requiredKeys: [] },
  );
  const event = fc.tuple(fields, fc.integer({ min: LAST_US - BATCH_SPAN_US, max: LAST_US })).map(
    ([given, timeUs]): AuditEvent => ({ topic: "app/x", severity: "info", ...given, timeUs }),
  );

  test("in every column, in any number of batches", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(event, { maxLength: 4 }), { minLength: 1, maxLength: 4 }),
        async (batches) => {
          const rows = await read(batches.map((events, place) => ({
            message: placed(place + 1, { rows: events.length }),
            text: events.map((each, idx) => `{"idx":${idx},${lineFields(each)}\n`).join(""),
          })));
          const sent = batches.flatMap((events, place) =>
            events.map((each, idx) => ({ each, place, idx }))
          );
          expect(rows.map(({ seq, idx }) => [seq, idx]))
            .toEqual(sent.map(({ place, idx }) => [place + 1, idx]));
          rows.forEach((row, place) => expectRow(row, sent[place]?.each));
        },
      ),
      { numRuns: 60, verbose: true },
    );
  });

  function expectRow(row: Readonly<Record<string, unknown>>, each: AuditEvent | undefined): void {
    const { timeUs, detail, ...plain } = each ?? { timeUs: 0 };
    expect(row.time).toBe(formatTime(timeUs));
    for (const { name } of lineColumns) {
      if (name === "detail") continue;
      expect(row[name], name).toEqual(
        new Map<string, unknown>(Object.entries(plain)).get(name) ?? null,
      );
    }
    const found = row.detail === null ? undefined : JSON.parse(String(row.detail));
    expect(found).toEqual(detail === undefined ? undefined : JSON.parse(JSON.stringify(detail)));
  }
});
