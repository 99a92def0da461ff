import { appendFileSync, copyFileSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  createLineSplitter,
} from "../../../../src/edge-agent/sources/collectors/commands/line-splitter.ts";
import {
  eventOfLine,
  JSON_DEPTH_MAX,
  LINE_BYTES_MAX,
} from "../../../../src/edge-agent/sources/collectors/commands/line-event.ts";
import { parseModules } from "../../../../src/edge-agent/sources/collectors/host/kernel-modules.ts";
import {
  type LogCursor,
  readLog,
} from "../../../../src/edge-agent/sources/collectors/log-cursor.ts";
import {
  countBetween,
  createSchedule,
  scheduleFault,
} from "../../../../src/edge-agent/sources/collectors/schedule.ts";
import {
  parseShow,
  parseUnitFiles,
  SystemctlError,
} from "../../../../src/edge-agent/sources/collectors/units/unit-state.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

const NOW_US = Date.parse("2026-03-01T10:00:00Z") * 1000;

function told(line: string | Uint8Array, isCut = false) {
  const bytes = typeof line === "string" ? new TextEncoder().encode(line) : line;
  return eventOfLine(bytes, { name: "c", topic: "app/c", nowUs: NOW_US, isCut });
}

describe("a line of a command", () => {
  it("is taken apart when it is a JSON object", () => {
    const line =
      '{"time":"2026-03-01T09:00:00.25+00:00","topic":"x/y","level":"WARN","user":"ann",' +
      '"src_port":22,"pid":1,"detail":{"a":1},"outcome":"failure"}';
    expect(told(line)).toEqual({
      timeUs: NOW_US - 3_599_750_000,
      topic: "app/c/x/y",
      severity: "low",
      service: "c",
      user: "ann",
      src_port: 22,
      outcome: "failure",
      detail: { a: 1, pid: 1 },
    });
  });

  it.each([
    ["a topic of its own", '{"topic":"app/c/d"}', { topic: "app/c/d" }],
    ["a topic that is none", '{"topic":" "}', { topic: "app/c", detail: { claimed_topic: " " } }],
    ["Probity's topic", '{"topic":"agent/gap"}', { topic: "app/c/agent/gap" }],
    ["a time far off", '{"time":"2020-01-01T00:00:00Z"}', {
      timeUs: NOW_US,
      detail: { claimed_time: "2020-01-01T00:00:00Z" },
    }],
    ["a port that is none", '{"src_port":65536}', { detail: { src_port: 65536 } }],
    ["a wrong type", '{"user":1}', { detail: { user: 1 } }],
    ["Probity's own word", '{"escaped":["message"],"detail":{"claimed_time":"x","sample":9}}', {
      detail: { _escaped: ["message"], _claimed_time: "x", _sample: 9 },
    }],
    ["a number that is none", '{"serial":12345678901234567890}', {
      detail: { serial: "12345678901234567890" },
    }],
    ["a list", "[1]", { message: "[1]" }],
    ["half an object", '{"a":', { message: '{"a":' }],
  ])("keeps what it may not claim: %s", (_, line, expected) => {
    expect(told(line)).toMatchObject({ severity: "info", ...expected });
  });

  it.each([["CRIT", "high"], ["emerg", "critical"], ["information", "info"], [50, "medium"]])(
    "has the level that an application's message would have: %s",
    (level, severity) => expect(told(JSON.stringify({ level }))).toMatchObject({ severity }),
  );

  it("is text when it is nested too deep, cut, or not UTF-8", () => {
    const deep = `${'{"a":'.repeat(JSON_DEPTH_MAX + 1)}1${"}".repeat(JSON_DEPTH_MAX + 1)}`;
    expect(told(deep).message).toBe(deep);
    expect(told('{"a":1}', true)).toMatchObject({
      message: '{"a":1}',
      detail: { truncated: true },
    });
    expect(told(Uint8Array.of(0x61, 0xff))).toMatchObject({
      message: "a\\xff",
      detail: { escaped: ["message"] },
    });
  });

  it("is the same however its bytes come, and no longer than it may be", () => {
    const bytes = Buffer.from(`one\r\n\n${"x".repeat(LINE_BYTES_MAX + 5)}\nlast`);
    const split = (size: number): string[] => {
      const splitter = createLineSplitter();
      const pieces = Array.from(
        { length: Math.ceil(bytes.length / size) },
        (_, at) => bytes.subarray(at * size, (at + 1) * size),
      );
      return [...pieces.flatMap((piece) => splitter.push(piece)), ...splitter.end()]
        .map((line) => `${line.bytes.length} ${line.isCut}`);
    };
    const expected = ["3 false", `${LINE_BYTES_MAX} true`, "4 false"];
    for (const size of [1, 7, 4096, bytes.length]) expect(split(size)).toEqual(expected);
  });
});

describe("a schedule", () => {
  it("follows its time zone over summer time", () => {
    const daily = createSchedule("30 2 * * *", "Europe/Berlin");
    const at = (text: string): string =>
      new Date(daily.nextMs(Date.parse(text)) ?? NaN).toISOString();
    expect(at("2026-03-28T12:00:00Z")).toBe("2026-03-29T01:00:00.000Z");
    expect(at("2026-10-24T12:00:00Z")).toBe("2026-10-25T00:30:00.000Z");
    expect(at("2026-10-25T00:30:00Z")).toBe("2026-10-26T01:30:00.000Z");
  });

  it("counts what was missed, up to a limit", () => {
    const often = createSchedule("*/5 * * * *", "UTC");
    const afterMs = Date.parse("2026-03-01T10:00:00Z");
    const count = (untilMs: number, countMax = 100) =>
      countBetween(often, { afterMs, untilMs, countMax });
    expect([count(afterMs), count(afterMs + 299_999), count(afterMs + 300_000)]).toEqual([0, 0, 1]);
    expect(count(afterMs + 86_400_000)).toBe(100);
  });

  it.each([["now"], ["* * * *"], ["* * * * * *"], ["61 * * * *"], ["0 0 30 2 *"]])(
    "is none: %s",
    (text) => expect(scheduleFault(text)).toMatch(/\S/),
  );

  it("has a time zone that there is", () => {
    expect(scheduleFault("* * * * *", "Europe/Berlin")).toBeUndefined();
    expect(scheduleFault("* * * * *", "Europe/Nowhere")).toMatch(/\S/);
  });
});

it("a log is read on over rotation and truncation, line by line", async () => {
  await using folder = await openTemporaryFolder("log");
  const path = join(folder.path, "log");
  let cursor: LogCursor | undefined;
  const read = async () => {
    const texts: string[] = [];
    const flags = new Set<string>();
    for (let hasMore = true; hasMore;) {
      const piece = await readLog({ path, cursor, pieceBytesMax: 8 });
      if (piece === undefined) return "none";
      texts.push(Buffer.from(piece.bytes).toString());
      cursor = piece.cursor;
      hasMore = piece.hasMore;
      if (piece.wasLost) flags.add("lost");
      if (piece.wasTruncated) flags.add("truncated");
    }
    return [texts.join(""), ...flags].join(" ");
  };
  expect(await read()).toBe("none");
  writeFileSync(path, "old\nhalf");
  expect(await read()).toBe("");
  appendFileSync(path, "!\ntwo\n");
  expect(await read()).toBe("half!\ntwo\n");
  appendFileSync(path, "three\n");
  renameSync(path, `${path}.1`);
  writeFileSync(path, "four\n");
  expect(await read()).toBe("three\nfour\n");
  copyFileSync(path, `${path}.1`);
  truncateSync(path, 0);
  appendFileSync(path, "5\n");
  expect(await read()).toBe("5\n truncated");
  renameSync(path, join(folder.path, "elsewhere"));
  writeFileSync(path, "six\n");
  expect(await read()).toBe("six\n lost");
});

it("systemd's and the kernel's lists are taken whole or not at all", () => {
  const unit = "Id=a.service\nLoadState=loaded\nActiveState=active\nSubState=running\n" +
    "StateChangeTimestamp=Sun 2026-03-01 10:00:00.000001 UTC\n";
  expect(parseShow(`${unit}\n`).get("a.service")).toMatchObject({
    active: "active",
    changedUs: NOW_US + 1,
  });
  for (const text of ["", "Id=a.service\n", `${unit}\nnonsense\n`, unit.replace(".service", "")]) {
    expect(() => parseShow(text)).toThrow(SystemctlError);
  }
  expect(parseUnitFiles("a.service enabled -\n").get("a.service")).toBe("enabled");
  for (const text of ["", "a.service", "nonsense there"]) {
    expect(() => parseUnitFiles(text)).toThrow(SystemctlError);
  }
  const modules = "ext4 1 2 - Live 0x0\nloop 1 0 - Unloading 0x0\n";
  expect([...parseModules(modules).keys()]).toEqual(["ext4"]);
});
