/**
 * Hostile and damaged input, 100,000 of each kind: valid ones, mutated. Nothing throws, nothing held grows past its
 * limit, every refusal is reached, and what was not damaged comes out as it went in. The seed is printed; FUZZ_SEED
 * repeats a run, FUZZ_INPUTS makes it shorter or longer.
 */
import { isUtf8 } from "node:buffer";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, it } from "vitest";
import {
  createMessageLines,
  LINE_BYTES_MAX,
} from "../../../../src/edge-agent/sources/applications/message-lines.ts";
import {
  createFrameSplitter,
  createLineSplitter,
  type Splitter,
  type TakeMessage,
} from "../../../../src/edge-agent/sources/applications/message-splitter.ts";
import {
  DEPTH_MAX,
  depthOf,
  isObject,
  partsOfText,
  severityOfLevel,
} from "../../../../src/edge-agent/sources/applications/object-members.ts";
import { ChunkText } from "../../../../src/edge-agent/sources/applications/chunk-text.ts";
import { ObjectScan } from "../../../../src/edge-agent/sources/applications/object-scan.ts";
import { takeSyslog } from "../../../../src/edge-agent/sources/applications/syslog-lines.ts";
import { createSyslogSplitter } from "../../../../src/edge-agent/sources/applications/syslog-splitter.ts";
import { parseSyslog } from "../../../../src/edge-agent/sources/applications/syslog.ts";
import { isTopic } from "../../../../src/event/topic.ts";
import { compressFrame } from "../../../../src/runtime/zstd.ts";
import { openDatabase } from "../../../../src/storage/duckdb.ts";
import {
  createMessageTable,
  messageRow,
  payloadFileName,
  typedRead,
} from "../../../../src/storage/typed-read.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";
import { frame } from "../../../support/application-rig.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

const INPUTS = Number(process.env["FUZZ_INPUTS"] ?? 100_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 32);
process.stdout.write(`seed of the application fuzz: FUZZ_SEED=${SEED}\n`);
const random = createSeededRandom(SEED);
const { pick, between } = random;

const LIMIT_MS = 240_000;
/** Lines that DuckDB reads afterwards. */
const READ_LINES = 20_000;
const STREAM_LIMIT_BYTES = 4096;
const TIME_US = Date.UTC(2026, 2, 1) * 1000;

function text(lengthMax: number): string {
  const characters = [
    "a",
    "Z",
    "7",
    " ",
    "-",
    "_",
    "/",
    ".",
    '"',
    "\\",
    "]",
    "=",
    "\t",
    "\n",
    "\0",
  ];
  const wide = ["é", "日", "🙂", "\u2028", "\x7f", "\r", "\x1b"];
  const all = [...characters, ...wide] as [string, ...string[]];
  return Array.from({ length: between(0, lengthMax) }, () => pick(all)).join("");
}

/** As `expect` has it, a hundred times as quickly where nothing is wrong. */
function same(found: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(found, expected)) expect(found).toEqual(expected);
}

/** A few bytes changed, taken away, put in or doubled. */
function mutated(bytes: Buffer): Buffer {
  let result = Buffer.from(bytes);
  for (let times = between(1, 3); times > 0; times -= 1) {
    const at = between(0, Math.max(0, result.length - 1));
    const piece = Buffer.from(
      pick(['"', "{", "}", "]", "[", ",", ":", "<", " ", "1", "999999", "\\u", "\xff", "\n", "-"]),
      "latin1",
    );
    result = pick([
      () => result.map((byte, place) => place === at ? byte ^ (1 << between(0, 7)) : byte),
      () => Buffer.concat([result.subarray(0, at), result.subarray(at + between(1, 4))]),
      () => Buffer.concat([result.subarray(0, at), piece, result.subarray(at)]),
      () => Buffer.concat([result.subarray(0, at), result.subarray(Math.max(0, at - 8))]),
      () => result.subarray(0, at),
    ])() as Buffer<ArrayBuffer>;
  }
  return result;
}

describe("framing", () => {
  const protocols = {
    frames: (take: TakeMessage) => createFrameSplitter(STREAM_LIMIT_BYTES, take),
    lines: (take: TakeMessage) => createLineSplitter(STREAM_LIMIT_BYTES, take),
    syslog: (take: TakeMessage) => createSyslogSplitter(STREAM_LIMIT_BYTES, take),
  };
  type Protocol = keyof typeof protocols;
  const plain = (): string => text(between(0, 20) === 0 ? 2500 : 40).replaceAll(/[\r\n]/g, "x");
  const messageFor = (protocol: Protocol): string =>
    protocol === "frames" ? plain() : `<${plain()}`;
  const framed = (protocol: Protocol, message: string): Buffer => {
    if (protocol === "frames") return frame(message);
    const bytes = Buffer.from(message);
    const isCounted = protocol === "syslog" && between(0, 1) === 0;
    return isCounted
      ? Buffer.concat([Buffer.from(`${bytes.length} `), bytes])
      : Buffer.concat([bytes, Buffer.from("\n")]);
  };

  it(
    "takes every mutated stream in every cut, and reaches every refusal",
    { timeout: LIMIT_MS },
    () => {
      const reached = new Set<string>();
      for (let input = 0; input < INPUTS; input += 1) {
        const protocol = pick(["frames", "lines", "syslog"] as const);
        const sent = Array.from({ length: between(0, 4) }, () => messageFor(protocol));
        const whole = Buffer.concat(sent.map((message) => framed(protocol, message)));
        const isDamaged = between(0, 3) > 0;
        const isEndless = isDamaged && between(0, 200) === 0;
        const damaged = isDamaged ? mutated(whole) : whole;
        const stream = isEndless ? Buffer.concat([damaged, Buffer.alloc(5000, "y")]) : damaged;
        const got: string[] = [];
        const splitter: Splitter = protocols[protocol]((chunk, start, end) => {
          if (start > end || end > chunk.length) throw new RangeError("outside its chunk");
          got.push(chunk.toString("utf8", start, end));
        });
        let fault: string | undefined;
        for (let at = 0; at < stream.length && fault === undefined;) {
          const end = Math.min(
            stream.length,
            at + between(1, pick([stream.length > 300 ? 300 : 3, 50, 5000])),
          );
          fault = splitter.push(stream.subarray(at, end));
          // A cut of the chunk's own size may be held beside the message.
          if (splitter.heldBytes > 2 * (STREAM_LIMIT_BYTES + 5000)) {
            throw new Error(
              "holds too much",
            );
          }
          at = end;
        }
        if (fault === undefined && splitter.finish() === "cut") fault = "cut";
        if (fault !== undefined) reached.add(`${protocol} ${fault}`);
        if (!isDamaged) same([fault, got], [undefined, sent]);
      }
      expect([...reached].toSorted()).toEqual(
        ["frames cut", "frames too_large", "lines too_large", "syslog cut", "syslog too_large"],
      );
    },
  );
});

describe("RFC 5424", () => {
  const visible = (lengthMax: number, but = ""): string => {
    const length = between(1, lengthMax);
    const found = Array.from({ length }, () => String.fromCharCode(between(33, 126)));
    const made = found.filter((each) => !but.includes(each)).join("");
    return made === "" || made === "-" ? "x" : made;
  };
  const orNil = (value: string): string | undefined => between(0, 3) === 0 ? undefined : value;
  const two = (number: number): string => String(number).padStart(2, "0");
  const build = () => {
    const [facility, severity] = [between(0, 23), between(0, 7)];
    const date = `${between(1970, 2099)}-${two(between(1, 12))}-${two(between(1, 28))}`;
    const clock = `${two(between(0, 23))}:${two(between(0, 59))}:${two(between(0, 59))}`;
    const part = pick(["", ".1", ".123456"]);
    const timestamp = orNil(`${date}T${clock}${part}${pick(["Z", "+02:00", "-11:30"])}`);
    const [hostname, appName] = [orNil(visible(40)), orNil(visible(48))];
    const [procid, msgid] = [orNil(visible(20)), orNil(visible(32))];
    const ids = new Set(Array.from({ length: between(0, 3) }, () => visible(32, '="]')));
    const structuredData = [...ids].map((id) => ({
      id,
      parameters: Array.from(
        { length: between(0, 3) },
        () => [visible(32, '="]'), text(12)] as const,
      ),
    }));
    const data = structuredData.map(({ id, parameters }) =>
      `[${id}${
        parameters.map(([name, value]) => ` ${name}="${value.replaceAll(/["\\\]]/g, "\\$&")}"`)
          .join("")
      }]`
    ).join("");
    const said = text(30);
    const hasText = between(0, 4) > 0;
    const mark = hasText && between(0, 1) === 0 ? "\ufeff" : "";
    const header = [timestamp, hostname, appName, procid, msgid].map((field) => field ?? "-");
    const line = `<${facility * 8 + severity}>1 ${header.join(" ")} ${data === "" ? "-" : data}` +
      (hasText ? ` ${mark}${said}` : "");
    const expected = { facility, severity, timestamp, hostname, appName, procid, msgid };
    return {
      bytes: Buffer.from(line),
      expected: { ...expected, structuredData, text: hasText ? said : "" },
    };
  };

  it("is parsed as it was built, damaged ones name their fault, and every fault is reached", {
    timeout: LIMIT_MS,
  }, () => {
    const faults = new Set<string>();
    const lines: string[] = [];
    const sender = { columns: "", isKnown: false, service: undefined, mayName: true };
    const taken = createMessageLines(sender, (fields) => lines.push(fields));
    taken.begin(TIME_US);
    for (let input = 0; input < INPUTS; input += 1) {
      const { bytes, expected } = build();
      const isDamaged = between(0, 3) > 0;
      const given = isDamaged ? mutated(bytes) : bytes;
      const parsed = parseSyslog(given);
      if (typeof parsed === "string") faults.add(parsed);
      if (!isDamaged) {
        same(
          typeof parsed === "string" ? parsed : { ...parsed, text: parsed.text.toString() },
          expected,
        );
      }
      takeSyslog(taken, given);
      const line = JSON.parse(`{${lines.pop()}`);
      if (!isTopic(line.topic) || lines.length > 0) throw new Error(JSON.stringify(line));
    }
    expect([...faults].toSorted()).toEqual([
      ...["app_name", "hostname", "msgid", "parameter_text", "priority", "procid"],
      ...["structured_data", "timestamp", "version"],
    ]);
  });
});

describe("messages", () => {
  const names = [
    ...["topic", "message", "msg", "level", "severity", "user", "service", "a", "b", "claimed"],
    ...["claimed_time", "escaped", "part", "sample", "__proto__", "", "ä", 'q"', "toString"],
  ] as [string, ...string[]];
  const number = (): string =>
    pick([
      "0",
      "-1",
      "12.5",
      "1e3",
      "1E-7",
      "9007199254740993",
      "1e999",
      "0.30000000000000004",
      "-0",
    ]);
  const value = (depth: number): string => {
    const inner = depth > 0 ? pick(["scalar", "scalar", "object", "list"] as const) : "scalar";
    if (inner === "object") return object(depth - 1);
    if (inner === "list") {
      return `[${Array.from({ length: between(0, 3) }, () => value(depth - 1)).join(",")}]`;
    }
    return pick([
      () => JSON.stringify(text(20)),
      () => JSON.stringify(pick(["warn", "ERROR", "a/b", "transfer/done", "x y", "café"])),
      () => `"\\u00e9\\ud83d\\ude42${pick(["", "\\ud800"])}"`,
      number,
      () => pick(["true", "false", "null"]),
    ])();
  };
  const object = (depth: number): string => {
    const gap = pick(["", "", " ", "\n\t"]);
    const members = Array.from(
      { length: between(0, pick([4, 4, 40])) },
      () => `${gap}${JSON.stringify(pick(names))}${gap}:${gap}${value(depth)}`,
    );
    return `{${members.join(",")}${gap}}`;
  };
  const deep = (): string => `{"a":${"[".repeat(80)}${"]".repeat(80)}}`;
  const long = (): string =>
    JSON.stringify({ message: pick(["\x01", "日", "x"]).repeat(between(40_000, 400_000)), a: 1 });
  const message = (): Buffer => {
    if (between(0, 2000) === 0) return Buffer.from(long());
    const made = pick([() => object(2), () => object(0), () => text(60), deep])();
    return Buffer.from(made);
  };
  const scan = new ObjectScan();

  /** What a look finds is what a reader that decodes finds. */
  function compareReaders(given: string): "look" | "decoded" | "none" {
    const bytes = Buffer.from(`{{${given}}}`);
    const seen = scan.scan(new ChunkText(bytes), 2, bytes.length - 2);
    const read = partsOfText(given);
    if (seen === undefined) return read === undefined ? "none" : "decoded";
    const open = (parts: typeof seen | undefined): unknown =>
      parts && {
        ...parts,
        // The one number that two texts stand for is -0.
        rest: JSON.parse(JSON.stringify(JSON.parse(`{${parts.rest}}`))),
        level: parts.level && (severityOfLevel(parts.level) ?? "info"),
        message: parts.message === undefined ? undefined : JSON.parse(`"${parts.message}"`),
        user: parts.user === undefined ? undefined : JSON.parse(`"${parts.user}"`),
      };
    same(open(seen), open(read));
    return "look";
  }

  it(
    "become lines that every reader takes, whatever their bytes are",
    { timeout: LIMIT_MS },
    async () => {
      const sender = {
        columns: '"src_ip":"127.0.0.1",',
        isKnown: false,
        service: "s",
        mayName: true,
      };
      let lines: string[] = [];
      const taken = createMessageLines(sender, (fields) => lines.push(fields));
      const kept: string[] = [];
      const reached = new Set<string>();
      for (let input = 0; input < INPUTS; input += 1) {
        const bytes = between(0, 2) === 0 ? message() : mutated(message());
        if (isUtf8(bytes) && bytes.length < 2000) reached.add(compareReaders(bytes.toString()));
        lines = [];
        taken.begin(TIME_US);
        // Others lie before and after it in a chunk.
        const chunk = Buffer.concat([Buffer.of(0, 0, 0, 1), bytes, Buffer.of(0, 0)]);
        taken.take(chunk, 4, 4 + bytes.length);
        if (lines.length === 0) throw new Error(`nothing came of ${bytes.toString("hex")}`);
        for (const fields of lines) checkLine(fields, reached);
        if (lines.length > 1) {
          const whole = lines.map((fields) => JSON.parse(`{${fields}`).message).join("");
          if (isUtf8(bytes) && whole !== bytes.toString()) throw new Error("pieces are missing");
        }
        if (kept.length < READ_LINES) kept.push(...lines.filter((each) => each.length < 2000));
      }
      expect([...reached].toSorted()).toEqual(["decoded", "escaped", "look", "none", "part"]);
      expect(await readByDuckdb(kept)).toBe(kept.length);
    },
  );

  function checkLine(fields: string, reached: Set<string>): void {
    if (fields.includes("\n") || !fields.isWellFormed()) throw new Error(`not one line: ${fields}`);
    if (Buffer.byteLength(fields) > LINE_BYTES_MAX) throw new Error("longer than a line may be");
    const line: unknown = JSON.parse(`{${fields}`);
    if (!isObject(line) || !isTopic(String(line["topic"]))) throw new Error(fields);
    if (depthOf(line) > DEPTH_MAX + 2) throw new Error("too deep");
    const { detail } = line;
    if (isObject(detail) && Object.hasOwn(detail, "escaped")) reached.add("escaped");
    if (isObject(detail) && Object.hasOwn(detail, "part")) reached.add("part");
  }

  async function readByDuckdb(fields: readonly string[]): Promise<number> {
    await using folder = await openTemporaryFolder("application-fuzz");
    await using database = await openDatabase({
      memoryLimitBytes: 400_000_000,
      threads: 1,
      tempDirectory: join(folder.path, "spill"),
      tempLimitBytes: 100_000_000,
    });
    await using connection = await database.connect();
    await connection.run(createMessageTable("messages"));
    await connection.append("messages", [messageRow({
      ...{ incarnation: "0123abcd", sequence: 1, loggedAtUs: TIME_US, host: "h", agent: "a" },
      ...{ epoch: "e", batch: 1, lastUs: TIME_US + 1, rows: fields.length },
    })]);
    const ndjson = fields.map((each, idx) => `{"idx":${idx},${each}\n`).join("");
    const file = join(folder.path, payloadFileName(1));
    await writeFile(file, await compressFrame(Buffer.from(ndjson)));
    const read = typedRead({ files: [file], messages: "messages" });
    const { rows } = await connection.query(
      `SELECT count(*) FILTER (json_valid(coalesce(detail, '{}'))) AS n FROM (${read})`,
    );
    return Number(rows[0]?.["n"]);
  }
});
