import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PAYLOAD_JSON_BYTES_MAX } from "../../src/event/wire.ts";
import { compressFrame, frameShapeOf } from "../../src/runtime/zstd.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { checkPayload } from "../../src/storage/payload.ts";
import {
  createMessageTable,
  messageRow,
  payloadFileName,
  type PlacedMessage,
} from "../../src/storage/typed-read.ts";
import {
  COLUMNS_REASON,
  findUnreadable,
  FRAME_REASON,
  LINES_REASON,
  MEMORY_REASON,
} from "../../src/storage/unreadable.ts";
import { zstdCompressSync } from "node:zlib";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const line = (idx: number, more = ""): string =>
  `{"idx":${idx},"time":"2026-06-15T12:00:00.000000Z"${more}}\n`;

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;
let folders = 0;

beforeAll(async () => {
  folder = await openTemporaryFolder("unreadable");
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

interface Given {
  readonly lines: number;
  readonly frame: Uint8Array;
}

async function unreadableOf(given: readonly Given[], signal?: AbortSignal) {
  const path = join(folder.path, String(++folders));
  await mkdir(path);
  const files = await Promise.all(given.map(async ({ lines, frame }, place) => {
    const message: PlacedMessage = {
      incarnation: "0123abcd",
      sequence: place + 1,
      loggedAtUs: 1_781_524_800_000_000,
      host: "h",
      agent: "a",
      epoch: "e",
      batch: place + 1,
      lastUs: 1_781_524_800_000_000,
      rows: lines,
    };
    const file = join(path, payloadFileName(message.sequence));
    await writeFile(file, frame);
    return { message, path: file, lines };
  }));
  await connection.run(createMessageTable("messages"));
  await connection.append("messages", files.map(({ message }) => messageRow(message)));
  return await findUnreadable(connection, {
    files,
    messages: "messages",
    tempDirectory: join(folder.path, "alone"),
    ...(signal === undefined ? {} : { signal }),
  });
}

const good = async (): Promise<Given> => ({
  lines: 2,
  frame: await compressFrame(encode(line(0) + line(1))),
});

describe("a payload", () => {
  test("of one whole frame passes as it is", async () => {
    const frame = await compressFrame(encode(line(0)));
    expect(await checkPayload(frame)).toEqual({ ok: true, frame, contentBytes: line(0).length });
  });

  test("that does not say its size is put into a frame that does", async () => {
    const payload = zstdCompressSync(encode(line(0)), { params: { 200: 0 } });
    expect(frameShapeOf(payload)?.contentBytes).toBeUndefined();
    const checked = await checkPayload(payload);
    expect(checked).toEqual({
      ok: true,
      frame: await compressFrame(encode(line(0))),
      contentBytes: line(0).length,
    });
  });

  test("is refused unless it is exactly one whole frame", async () => {
    const frame = await compressFrame(encode(line(0).repeat(1000)));
    const skippable = Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0);
    for (
      const payload of [
        new Uint8Array(),
        encode("not a frame at all"),
        frame.subarray(0, frame.length - 1),
        new Uint8Array([...frame, ...frame]),
        new Uint8Array([...frame, ...skippable]),
        new Uint8Array([...skippable, ...frame]),
        new Uint8Array([...frame, 10]),
      ]
    ) {
      expect(await checkPayload(payload)).toEqual({
        ok: false,
        reason: "its payload is not exactly one whole zstd frame",
      });
    }
  });

  test("is refused when it declares or holds more than 16 MiB", async () => {
    const large = new Uint8Array(PAYLOAD_JSON_BYTES_MAX + 1);
    expect(await checkPayload(await compressFrame(large)))
      .toMatchObject({ ok: false, reason: expect.stringContaining("larger than 16777216") });
    expect(await checkPayload(zstdCompressSync(large, { params: { 200: 0 } })))
      .toMatchObject({ ok: false, reason: expect.stringContaining("within its limit") });
    expect((await checkPayload(await compressFrame(large.subarray(1)))).ok).toBe(true);
  });

  test("that lies about its size is refused when its blocks could hold much more", async () => {
    const checked = await checkPayload(bombOf(60_000));
    expect(checked).toMatchObject({ ok: false, reason: expect.stringContaining("limit") });
  });
});

/** A frame that declares 5 bytes, and repeats a byte for 128 KiB in each of its blocks. */
function bombOf(blocks: number): Uint8Array {
  const header = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 5];
  const bytes = new Uint8Array(header.length + blocks * 4);
  bytes.set(header);
  for (let block = 0; block < blocks; block++) {
    const value = ((128 * 1024) << 3) | (1 << 1) | (block === blocks - 1 ? 1 : 0);
    bytes.set([value & 255, (value >> 8) & 255, value >> 16, 32], header.length + block * 4);
  }
  return bytes;
}

describe("among good payloads one is found that", () => {
  const deep = `{"idx":0,"x":${"[".repeat(8_000_000)}${"]".repeat(8_000_000)}}`;
  const cases: readonly [what: string, lines: number, text: string, reason: string][] = [
    ["has fewer lines than it counts", 2, line(0), LINES_REASON],
    ["has more lines than it counts", 1, line(0) + line(1), LINES_REASON],
    ["is empty", 1, "", LINES_REASON],
    ["counts none but has one", 0, line(0), LINES_REASON],
    ["repeats an idx", 2, line(0) + line(0), LINES_REASON],
    ["begins its idx at 1", 2, line(1) + line(2), LINES_REASON],
    ["leaves idx out", 1, "{}\n", LINES_REASON],
    ["holds null instead of a line", 1, "null\n", LINES_REASON],
    ["has an idx that is no integer", 1, '{"idx":"x"}\n', COLUMNS_REASON],
    ["has an idx beyond 32 bits", 1, '{"idx":4294967296}\n', COLUMNS_REASON],
    ["is not JSON", 1, "hello\n", COLUMNS_REASON],
    ["ends within a line", 2, line(0) + '{"idx":1,', COLUMNS_REASON],
    ["has two objects on one line", 2, '{"idx":0} {"idx":1}\n', COLUMNS_REASON],
    ["holds a list of lines", 1, `[{"idx":0}]\n`, COLUMNS_REASON],
    ["has text where a number belongs", 1, line(0, ',"pid":"many"'), COLUMNS_REASON],
    ["has a number too large for its column", 1, line(0, ',"errno":3000000000'), COLUMNS_REASON],
    ["has text where a list belongs", 1, line(0, ',"topics":"a"'), COLUMNS_REASON],
    ["gives a key twice", 1, line(0, ',"pid":1,"pid":2'), COLUMNS_REASON],
    ["has a time that is none", 1, '{"idx":0,"time":"noon"}\n', COLUMNS_REASON],
    ["has a lone surrogate", 1, line(0, ',"path":"\\ud800"'), COLUMNS_REASON],
    ["has a lone surrogate where nobody looks", 1, line(0, ',"x":"\\udfff"'), COLUMNS_REASON],
    ["is made to take all memory", 1, deep, MEMORY_REASON],
  ];

  test.each(cases)("%s", async (_, lines, text, reason) => {
    const bad = { lines, frame: await compressFrame(encode(text)) };
    const found = await unreadableOf([await good(), await good(), bad, await good()]);
    expect(Object.fromEntries(found)).toEqual({ 3: reason });
  });

  test("has bytes that are not UTF-8", async () => {
    const text = new Uint8Array([...encode('{"idx":0,"path":"'), 0xff, ...encode('"}\n')]);
    const found = await unreadableOf([await good(), {
      lines: 1,
      frame: await compressFrame(text),
    }]);
    expect(Object.fromEntries(found)).toEqual({ 2: COLUMNS_REASON });
  });

  test("is damaged inside its frame", async () => {
    const text = Array.from({ length: 3000 }, (_, idx) => line(idx, `,"pid":${idx * 7919}`)).join(
      "",
    );
    const frame = (await compressFrame(encode(text))).slice();
    for (let at = 1000; at < frame.length - 1000; at += 50) frame[at] = (frame[at] ?? 0) ^ 0x5a;
    const found = await unreadableOf([await good(), { lines: 3000, frame }, await good()]);
    expect(Object.fromEntries(found)).toEqual({ 2: FRAME_REASON });
  });

  test("declares another size than it has", async () => {
    const found = await unreadableOf([await good(), { lines: 0, frame: bombOf(1) }]);
    expect([...found.keys()]).toEqual([2]);
  });
});

test("blank lines and other line ends are no fault", async () => {
  const text = `\n${line(0)}\r\n  \n${line(1).trimEnd()}`;
  expect(await unreadableOf([{ lines: 2, frame: await compressFrame(encode(text)) }]))
    .toEqual(new Map());
});

test("all of many bad ones are found, wherever they stand", async () => {
  const bad = { lines: 1, frame: await compressFrame(encode("{\n")) };
  const short = { lines: 9, frame: await compressFrame(encode(line(0))) };
  const given = await Promise.all(
    Array.from(
      { length: 64 },
      (_, place) => place % 7 === 0 ? bad : place % 11 === 0 ? short : good(),
    ),
  );
  const expected = given.flatMap((each, place) =>
    each === bad ? [[place + 1, COLUMNS_REASON]] : each === short ? [[place + 1, LINES_REASON]] : []
  );
  expect([...await unreadableOf(given)].sort(([a], [b]) => a - b)).toEqual(expected);
});

test("none are found among none", async () => {
  expect(await unreadableOf([])).toEqual(new Map());
});

test("a file that is not there is no fault of its payload", async () => {
  const path = join(folder.path, String(folders + 1));
  const wanted = unreadableOf([await good()]);
  await wanted;
  await rm(path, { recursive: true });
  const message: PlacedMessage = {
    incarnation: "0123abcd",
    sequence: 1,
    loggedAtUs: 1,
    host: null,
    agent: null,
    epoch: null,
    batch: null,
    lastUs: 1,
    rows: 2,
  };
  const files = [{ message, path: join(path, payloadFileName(1)), lines: 2 }];
  await expect(
    findUnreadable(connection, { files, messages: "messages", tempDirectory: folder.path }),
  ).rejects.toThrow();
});

test("an aborted search throws the signal's reason", async () => {
  await expect(unreadableOf([await good()], AbortSignal.abort(new Error("stop"))))
    .rejects.toThrow("stop");
});
