import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import {
  parseUtmp,
  UTMP_32,
  UTMP_64,
  UtmpError,
  type UtmpLayout,
} from "../../../../src/edge-agent/sources/collectors/logins/utmp.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";
import { utmpOf } from "../../../support/utmp-writer.ts";

const TIME = "2026-03-01T10:00:00.123456Z";
const ANN = {
  ...{ type: 7, pid: 4242, tty: "pts/3", user: "ann", host: "client.example" },
  ...{ address: "198.51.100.7", time: TIME },
};

it("reads what util-linux writes, and last reads the same", () => {
  const bytes = utmpOf([ANN, { type: 8, pid: 4242, tty: "pts/3", time: TIME }]);
  expect(bytes).toHaveLength(768);
  expect(parseUtmp(bytes.subarray(0, 384), UTMP_32)).toEqual({
    ...{ kind: "user", pid: 4242, tty: "pts/3", user: "ann", host: "client.example" },
    ...{ address: "198.51.100.7", timeUs: Date.parse(TIME) * 1000 + 456, escaped: [] },
  });
  expect(parseUtmp(bytes.subarray(384), UTMP_32)).toMatchObject({ kind: "dead", user: "" });
  const folder = mkdtempSync(join(tmpdir(), "utmp-"));
  try {
    writeFileSync(join(folder, "wtmp"), bytes);
    const words = ["-f", join(folder, "wtmp"), "--time-format", "iso", "-w"];
    expect(execFileSync("last", words, { env: { ...process.env, TZ: "UTC" } }).toString()).toMatch(
      /^ann\s+pts\/3\s+client\.example\s+2026-03-01T10:00:00\+00:00/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const record = ({ recordBytes, timeAt, isTime64, addressAt }: UtmpLayout) => {
  const bytes = Buffer.alloc(recordBytes);
  bytes.writeInt16LE(7);
  bytes.writeInt32LE(77, 4);
  bytes.write("x".repeat(32), 8);
  bytes.write("b\xe9 \"'\n;", 44, "latin1");
  bytes.write("2001:db8::1", 76);
  if (isTime64) bytes.writeBigInt64LE(4_500_000_000n, timeAt);
  else bytes.writeUInt32LE(4_200_000_000, timeAt);
  bytes.writeInt32LE(999_999, timeAt + (isTime64 ? 8 : 4));
  bytes.write("20010db8000000000000000000000001", addressAt, "hex");
  return bytes;
};

it("takes both forms, full fields, IPv6, other bytes and times after 2038", () => {
  expect(parseUtmp(record(UTMP_32), UTMP_32)).toEqual({
    ...{ kind: "user", pid: 77, tty: "x".repeat(32), user: "b\\xe9 \"'\n;" },
    ...{ host: "2001:db8::1", address: "2001:db8::1", escaped: ["user"] },
    timeUs: 4_200_000_000_999_999,
  });
  expect(parseUtmp(record(UTMP_64), UTMP_64).timeUs).toBe(4_500_000_000_999_999);
  const mapped = record(UTMP_32);
  mapped.write("00000000000000000000ffffc6336407", UTMP_32.addressAt, "hex");
  expect(parseUtmp(mapped, UTMP_32).address).toBe("198.51.100.7");
});

it("takes 100,000 mutated records of both forms with no other error, and meets every fault", () => {
  const seed = Date.now() % 2 ** 32;
  const random = createSeededRandom(seed);
  const faults = new Set<string>();
  let read = 0;
  const forms = [[record(UTMP_32), UTMP_32], [record(UTMP_64), UTMP_64]] as const;
  const wild = [0, 1, 7, 8, 9, 10, 127, 128, 255] as const;
  for (let round = 0; round < 100_000; round += 1) {
    const [valid, layout] = forms[round % 2] ?? forms[0];
    let bytes = Buffer.from(valid);
    for (let left = random.between(0, 4); left > 0; left -= 1) {
      const at = random.pick(
        [
          random.between(0, 7),
          random.between(8, layout.recordBytes - 1),
          random.between(layout.timeAt, layout.timeAt + 15),
        ],
      );
      bytes[at] = random.pick(wild);
    }
    if (random.between(0, 19) === 0) bytes = bytes.subarray(0, random.between(0, bytes.length));
    try {
      parseUtmp(bytes, layout);
      read += 1;
    } catch (error) {
      if (!(error instanceof UtmpError)) {
        throw new Error(`seed ${seed}: ${bytes.toString("hex")}`, { cause: error });
      }
      faults.add(error.message.replaceAll(/-?[0-9]+/g, "N"));
    }
  }
  expect(read, `seed ${seed}`).toBeGreaterThan(20_000);
  expect([...faults].map((text) => text.split(": ")[1]).toSorted(), `seed ${seed}`).toEqual([
    "it has N bytes, not N",
    "its process is N",
    "its time has N microseconds",
    "its time is N",
    "there is no type N",
  ]);
});
