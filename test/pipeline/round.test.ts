import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { emptyAcceptance } from "../../src/event/acceptance.ts";
import { formatTime } from "../../src/event/event.ts";
import { digestOf, HEADER, messageDigestOf } from "../../src/event/wire.ts";
import { openRound, type Round } from "../../src/pipeline/round.ts";
import { MEMORY_REASON } from "../../src/storage/unreadable.ts";
import {
  type RoundRows,
  RoundTooLargeError,
  writeRoundRows,
} from "../../src/pipeline/round-rows.ts";
import { parseSegment } from "../../src/pipeline/segment.ts";
import { compressFrame } from "../../src/runtime/zstd.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import {
  asStored,
  createBatchAgent,
  lineOf,
  NOON_US,
  numberedEvent,
  type SentMessage,
} from "../support/batches.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;
let folders = 0;

beforeAll(async () => {
  folder = await openTemporaryFolder("round");
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

async function collect(messages: readonly SentMessage[], state = emptyAcceptance("0123abcd")) {
  const path = join(folder.path, String(++folders));
  await mkdir(path);
  await using open = await openRound({ folder: path, shard: "0", state });
  const stored = asStored(messages, state.sequence + 1);
  for (const message of stored) await open.add(message);
  const round = await open.finish();
  if (round === undefined) throw new Error("the round is empty");
  return { round, stored };
}

async function writeRows(round: Round) {
  const tempDirectory = join(folder.path, "alone");
  const rows = await writeRoundRows(connection, { round, tempDirectory });
  return { rows, events: await eventsOf(rows) };
}

async function eventsOf({ files }: RoundRows) {
  if (files.length === 0) return [];
  const paths = files.map(({ path }) => `'${path}'`).join(", ");
  const { rows } = await connection.query(
    `SELECT * FROM read_parquet([${paths}]) ORDER BY seq, idx`,
  );
  return rows;
}

const verdictsOf = ({ verdicts }: Round) =>
  Object.fromEntries(Object.entries(verdicts).filter(([, count]) => count > 0));

describe("a round", () => {
  test("makes rows of batches of several agents, with what their messages say", async () => {
    const [a, b] = [createBatchAgent("a"), createBatchAgent("b")];
    const { round } = await collect([
      await a.batch([numberedEvent(1), numberedEvent(2)]),
      await b.batch([numberedEvent(3)]),
      await a.batch([numberedEvent(4)]),
    ]);
    expect(verdictsOf(round)).toEqual({ accepted: 3 });
    expect([...round.agents]).toEqual(["a", "b"]);
    const { rows, events } = await writeRows(round);
    expect(rows).toMatchObject({ rows: 4, gapRows: 0, quarantined: [] });
    expect(events.map((each) => [each.seq, each.idx, each.pid, each.agent, each.host, each.batch]))
      .toEqual([
        [1, 0, 1, "a", "a.example", 1],
        [1, 1, 2, "a", "a.example", 1],
        [2, 0, 3, "b", "b.example", 1],
        [3, 0, 4, "a", "a.example", 2],
      ]);
    expect(events[0]).toMatchObject({
      incarnation: "0123abcd",
      epoch: "e1",
      time: formatTime(NOON_US),
      logged_at: formatTime(NOON_US + 1_000_000),
    });
    expect(rows.files.map(({ file }) => file.path)).toEqual([
      expect.stringMatching(/^event_date=2026-06-15\/0123abcd-1-3-[0-9a-f]{12}\.parquet$/),
    ]);
  });

  test("keeps every message in its evidence, and the state after the last", async () => {
    const agent = createBatchAgent("a");
    const { round, stored } = await collect([
      await agent.batch([numberedEvent(1)]),
      { subject: "audit.0.b", headers: new Map(), payload: new Uint8Array([7]) },
    ]);
    const bytes = await readFile(round.segment.path);
    expect(bytes.length).toBe(round.segment.sizeBytes);
    expect(digestOf(bytes)).toBe(round.segment.sha256);
    expect(parseSegment(bytes)).toEqual({
      origin: { shard: "0", incarnation: "0123abcd" },
      messages: stored.map((each) => ({ ...each, payload: Buffer.from(each.payload) })),
    });
    const last = stored.at(-1);
    expect(round.state.sequence).toBe(2);
    expect(last && messageDigestOf(last)).toBe(round.state.digest);
    expect(round.range).toEqual({ incarnation: "0123abcd", first: 1, last: 2 });
  });

  test("of nothing is none", async () => {
    const path = join(folder.path, String(++folders));
    await using open = await openRound({ folder: path, shard: "0", state: emptyAcceptance("x") });
    expect(await open.finish()).toBeUndefined();
  });

  test("goes on where the one before it ended", async () => {
    const agent = createBatchAgent("a");
    const first = await collect([await agent.batch([numberedEvent(1)])]);
    const second = await collect([await agent.batch([numberedEvent(2)])], first.round.state);
    expect(verdictsOf(second.round)).toEqual({ accepted: 1 });
    expect(second.round.range.first).toBe(2);
  });
});

describe("of a message that is not accepted there are no rows but its gaps:", () => {
  test("a duplicate", async () => {
    const batch = await createBatchAgent("a").batch([numberedEvent(1)]);
    const { round } = await collect([batch, batch]);
    expect(verdictsOf(round)).toEqual({ accepted: 1, duplicate: 1 });
    expect((await writeRows(round)).events.map(({ seq }) => seq)).toEqual([1]);
    expect(round.quarantined).toEqual([]);
  });

  test("a batch ahead of a hole", async () => {
    const agent = createBatchAgent("a");
    const [one, , three] = [
      await agent.batch([numberedEvent(1)]),
      await agent.batch([numberedEvent(2)]),
      await agent.batch([numberedEvent(3)]),
    ];
    const { round } = await collect([one, three]);
    expect(verdictsOf(round)).toEqual({ accepted: 1, ahead: 1 });
    expect((await writeRows(round)).events.map(({ pid }) => pid)).toEqual([1]);
  });

  test("a fork, which goes to quarantine and is told of", async () => {
    const first = await createBatchAgent("a").batch([numberedEvent(1)]);
    const twin = await createBatchAgent("a").batch([numberedEvent(9)]);
    const { round } = await collect([first, twin]);
    expect(verdictsOf(round)).toEqual({ accepted: 1, fork: 1 });
    const { events } = await writeRows(round);
    expect(events.map(({ seq, idx, topic, severity }) => [seq, idx, topic, severity])).toEqual([
      [1, 0, "app/test", "info"],
      [2, 0, "agent/gap", "high"],
    ]);
    expect(JSON.parse(String(events[1]?.detail))).toMatchObject({ class: "fork", agent: "a" });
    expect(round.quarantined.map(({ note }) => [note.sequence, note.verdict])).toEqual([[
      2,
      "fork",
    ]]);
    expect(await readFile(String(round.quarantined[0]?.path))).toEqual(Buffer.from(twin.payload));
  });

  test("a void, which is a gap with its count", async () => {
    const agent = createBatchAgent("a");
    const lost = agent.raw(new Uint8Array(), {
      count: 77,
      digest: "ab".repeat(32),
      void: "spool overflow",
    });
    const after = await agent.batch([numberedEvent(2)]);
    const { round } = await collect([lost, after]);
    expect(verdictsOf(round)).toEqual({ void: 1, accepted: 1 });
    const { events, rows } = await writeRows(round);
    expect(events.map(({ topic }) => topic)).toEqual(["agent/gap", "app/test"]);
    expect(events[0]).toMatchObject({
      host: "a.example",
      batch: 1,
      time: formatTime(NOON_US + 1e6),
    });
    expect(JSON.parse(String(events[0]?.detail)))
      .toEqual({
        class: "void",
        count: 77,
        reason: "spool overflow",
        agent: "a",
        epoch: "e1",
        batches: [1, 1],
        from: formatTime(NOON_US),
        to: formatTime(NOON_US),
      });
    expect(rows.gapRows).toBe(1);
  });

  test.each<[string, (batch: SentMessage) => SentMessage]>([
    ["a wrong digest", (batch) => ({ ...batch, payload: batch.payload.slice(0, -1) })],
    ["a header missing", (batch) => ({ ...batch, headers: new Map([...batch.headers].slice(1)) })],
    ["another agent's name", (batch) => ({ ...batch, subject: "audit.0.mallory" })],
    ["a foreign subject", (batch) => ({ ...batch, subject: "audit.0.UPPER" })],
    [
      "another schema",
      (batch) => ({ ...batch, headers: new Map([...batch.headers, [HEADER.schema, "2"]]) }),
    ],
    ["no headers at all", (batch) => ({ ...batch, headers: new Map() })],
  ])("one with %s, which is refused and sent again", async (_, spoil) => {
    const batch = await createBatchAgent("a").batch([numberedEvent(1)]);
    const { round } = await collect([spoil(batch), batch]);
    expect(verdictsOf(round)).toEqual({ refused: 1, accepted: 1 });
    expect((await writeRows(round)).events.map(({ seq }) => seq)).toEqual([2]);
    expect(round.quarantined).toHaveLength(1);
    expect(round.quarantined[0]?.note).toMatchObject({ sequence: 1, verdict: "refused" });
    expect(round.quarantined[0]?.note.reason.length).toBeGreaterThan(5);
  });

  test("holes of the stream itself are told of by the message that shows them", async () => {
    const agent = createBatchAgent("a");
    const first = await collect([await agent.batch([numberedEvent(1)])]);
    const path = join(folder.path, String(++folders));
    await using open = await openRound({ folder: path, shard: "0", state: first.round.state });
    const batch = await agent.batch([numberedEvent(2), numberedEvent(3)]);
    for (const message of asStored([batch], 5)) await open.add(message);
    const round = await open.finish();
    if (round === undefined) throw new Error("the round is empty");
    const { events } = await writeRows(round);
    expect(events.map(({ seq, idx, topic }) => [seq, idx, topic])).toEqual([
      [5, 0, "app/test"],
      [5, 1, "app/test"],
      [5, 2, "agent/gap"],
    ]);
    expect(events[2]?.message).toContain("2 to 4");
    expect(round.holes).toBe(1);
    expect(first.round.holes).toBe(0);
  });
});

describe("an accepted batch that cannot be read has one gap row instead, and its neighbours theirs:", () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const frame = compressFrame(encode(lineOf(0)));
  const spoiled: readonly [string, () => Promise<Uint8Array> | Uint8Array, number][] = [
    ["no frame", () => encode("plain text\n"), 1],
    ["a frame cut short", async () => (await frame).slice(0, -3), 1],
    ["two frames", async () => new Uint8Array([...await frame, ...await frame]), 2],
    ["more than 16 MiB", () => compressFrame(encode(lineOf(0).repeat(260_000))), 260_000],
    [
      "an undeclared bomb",
      () => zstdCompressSync(new Uint8Array(20_000_000), { params: { 200: 0 } }),
      1,
    ],
    ["too few lines", () => frame, 2],
    ["too many lines", () => compressFrame(encode(lineOf(0) + lineOf(1))), 1],
    ["an idx twice", () => compressFrame(encode(lineOf(0) + lineOf(0))), 2],
    ["no JSON", () => compressFrame(encode("{oops}\n")), 1],
    ["a text for a number", () => compressFrame(encode(lineOf(0, { pid: "x" }))), 1],
    ["a lone surrogate", () => compressFrame(encode(lineOf(0).replace("test", "\\ud800"))), 1],
    ["nothing", () => compressFrame(new Uint8Array()), 1],
  ];

  test.each(spoiled)("%s", async (_, make, count) => {
    const [bad, other] = [createBatchAgent("a"), createBatchAgent("b")];
    const payload = await make();
    const { round } = await collect([
      await bad.batch([numberedEvent(1)]),
      bad.raw(payload, { count }),
      await other.batch([numberedEvent(2), numberedEvent(3)]),
      await bad.batch([numberedEvent(4)]),
    ]);
    expect(verdictsOf(round)).toEqual({ accepted: 4 });
    const { events, rows } = await writeRows(round);
    expect(events.map(({ seq, idx, pid, topic }) => [seq, idx, pid, topic])).toEqual([
      [1, 0, 1, "app/test"],
      [2, 0, null, "agent/gap"],
      [3, 0, 2, "app/test"],
      [3, 1, 3, "app/test"],
      [4, 0, 4, "app/test"],
    ]);
    expect(JSON.parse(String(events[1]?.detail)))
      .toMatchObject({ class: "unreadable", count, agent: "a", epoch: "e1", batches: [2, 2] });
    const [quarantined, ...more] = [...round.quarantined, ...rows.quarantined];
    expect(more).toEqual([]);
    expect(quarantined?.note).toMatchObject({ sequence: 2, verdict: "accepted", agent: "a" });
    expect(await readFile(String(quarantined?.path))).toEqual(Buffer.from(payload));
  });

  test("of many at once each is found, and the count of the others is right", async () => {
    const agent = createBatchAgent("a");
    const messages: SentMessage[] = [];
    for (let place = 0; place < 60; place++) {
      messages.push(
        place % 9 === 4
          ? await agent.lines("not json\n", { count: 3 })
          : place % 13 === 5
          ? await agent.lines(lineOf(0), { count: 2 })
          : await agent.batch([numberedEvent(place)]),
      );
    }
    const { round } = await collect(messages);
    const { events, rows } = await writeRows(round);
    const bad = (place: number) => place % 9 === 4 || place % 13 === 5;
    expect(events.map(({ topic }) => topic))
      .toEqual(messages.map((_, place) => bad(place) ? "agent/gap" : "app/test"));
    expect(rows.quarantined).toHaveLength(messages.filter((_, place) => bad(place)).length);
  });
});

describe("a round that takes more memory than there is", () => {
  const list = Array.from({ length: 1_000_000 }, () => '"a"').join(",");
  const hungry = `{"idx":0,"time":"${formatTime(NOON_US)}","topics":[${list}]}\n`;

  async function writeInLittle(batches: number) {
    await using little = await openDatabase({
      memoryLimitBytes: 90_000_000,
      threads: 2,
      tempDirectory: join(folder.path, "little"),
      tempLimitBytes: 0,
    });
    await using own = await little.connect();
    const agent = createBatchAgent("a");
    const messages: SentMessage[] = [];
    for (let place = 0; place < batches; place++) {
      messages.push(await agent.lines(hungry, { count: 1 }));
    }
    const { round } = await collect(messages);
    const tempDirectory = join(folder.path, "alone");
    const rows = await writeRoundRows(own, { round, tempDirectory });
    const { rows: [setting] } = await own.query("SELECT current_setting('threads') AS n");
    expect(setting).toEqual({ n: 2 });
    return { rows, events: await eventsOf(rows) };
  }

  test("is to be made smaller", async () => {
    await expect(writeInLittle(2)).rejects.toThrow(RoundTooLargeError);
  });

  test("gives its payload up when it has only one", async () => {
    const { rows, events } = await writeInLittle(1);
    expect(events.map(({ topic }) => topic)).toEqual(["agent/gap"]);
    expect(rows.quarantined.map(({ note }) => note.reason)).toEqual([MEMORY_REASON]);
  });
});

test("a batch whose frame does not say its size is read all the same", async () => {
  const payload = zstdCompressSync(lineOf(0, { pid: 5 }), { params: { 200: 0 } });
  const { round } = await collect([createBatchAgent("a").raw(payload, { count: 1 })]);
  expect((await writeRows(round)).events.map(({ pid }) => pid)).toEqual([5]);
});

test("a batch that counts none and holds none is accepted without rows", async () => {
  const agent = createBatchAgent("a");
  const empty = agent.raw(await compressFrame(new Uint8Array()), { count: 0 });
  const { round } = await collect([empty]);
  expect(verdictsOf(round)).toEqual({ accepted: 1 });
  expect(await writeRows(round)).toMatchObject({ rows: { files: [], rows: 0 }, events: [] });
});

test("events of several days become a file each", async () => {
  const day = 86_400_000_000;
  const times = [0, day, -day, 3 * day, 0].map((offset) => NOON_US + offset);
  const agent = createBatchAgent("a");
  const { round } = await collect([
    await agent.batch(times.map((timeUs, place) => numberedEvent(place, timeUs))),
    await agent.batch([numberedEvent(5, NOON_US)]),
  ]);
  const { rows, events } = await writeRows(round);
  expect(rows.files.map(({ file }) => [file.eventDate, file.rows])).toEqual([
    ["2026-06-14", 1],
    ["2026-06-15", 3],
    ["2026-06-16", 1],
    ["2026-06-18", 1],
  ]);
  expect(events).toHaveLength(6);
});
