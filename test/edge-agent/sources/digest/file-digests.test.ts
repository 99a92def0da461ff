import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, chmodSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { loadLibc, O_RDONLY, STATX_BYTES } from "../../../../src/edge-agent/libc.ts";
import {
  createDigestQueue,
  type DigestOutcome,
  type DigestQueue,
  JOBS_MAX,
} from "../../../../src/edge-agent/sources/process/digest/digest-queue.ts";
import { createFileDigests } from "../../../../src/edge-agent/sources/process/digest/file-digests.ts";
import { readFileVersion } from "../../../../src/edge-agent/sources/process/digest/file-version.ts";
import { descriptorsBelow } from "../../../support/open-descriptors.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";

const libc = loadLibc();
const folder = mkdtempSync(join(tmpdir(), "probity-file-digests-"));
afterAll(() => rmSync(folder, { recursive: true }));

const KIB = 1024;
let files = 0;

function newFile(content: Uint8Array | string): string {
  const path = join(folder, `file-${files += 1}`);
  writeFileSync(path, content);
  return path;
}

const sha256 = (content: Uint8Array | string): string =>
  createHash("sha256").update(content).digest("hex");

function submit(queue: DigestQueue, path: string): Promise<DigestOutcome> {
  const fd = libc.open(path, O_RDONLY);
  const version = readFileVersion(libc, fd, new Uint8Array(STATX_BYTES));
  if (version === undefined) throw new Error("no version");
  return new Promise((resolve) => queue.submit(fd, version, resolve));
}

const openQueue = (bytesPerSecond = 1024 * KIB * KIB): DigestQueue =>
  createDigestQueue({ libc, bytesPerSecond, clock: systemClock });

const openDescriptors = (): number => descriptorsBelow(folder);

describe("the queue of files to hash", () => {
  it("gives the digest of any content, and says what is a script", async () => {
    await using queue = openQueue();
    for (const content of ["", "#!/bin/sh\n", "#", randomBytes(256 * KIB), randomBytes(700_001)]) {
      expect(await submit(queue, newFile(content))).toEqual({
        sha256: sha256(content),
        isScript: content === "#!/bin/sh\n",
        isTouched: false,
      });
    }
  });

  it("reads no more in a second than it may, and small files before large ones", async () => {
    await using queue = openQueue(256 * KIB);
    const startedMs = performance.now();
    const done: string[] = [];
    const large = submit(queue, newFile(randomBytes(640 * KIB))).then(() => done.push("large"));
    const small = submit(queue, newFile("small")).then(() => done.push("small"));
    await Promise.all([large, small]);
    // A second's worth is free; the rest takes its time.
    expect(performance.now() - startedMs).toBeGreaterThan(1300);
    expect(done).toEqual(["small", "large"]);
  });

  it("gives no digest of what changes while it is read", async () => {
    await using queue = openQueue(64 * KIB);
    const path = newFile(randomBytes(96 * KIB));
    const outcome = submit(queue, path);
    await delay(100);
    appendFileSync(path, "more");
    expect(await outcome).toEqual({ reason: "changed" });
  });

  it("says when attributes changed, though the content may not have", async () => {
    await using queue = openQueue(64 * KIB);
    const content = randomBytes(96 * KIB);
    const path = newFile(content);
    const outcome = submit(queue, path);
    await delay(100);
    chmodSync(path, 0o600);
    expect(await outcome).toEqual({ sha256: sha256(content), isScript: false, isTouched: true });
  });

  it("closes every descriptor, of files that cannot be read and when it is closed, too", async () => {
    const before = openDescriptors();
    const queue = openQueue(64 * KIB);
    // A directory opens, and does not read.
    const fd = libc.open(folder, O_RDONLY);
    const version = readFileVersion(libc, fd, new Uint8Array(STATX_BYTES));
    if (version === undefined) throw new Error("no version");
    const unreadable = await new Promise((resolve) => queue.submit(fd, version, resolve));
    expect(unreadable).toEqual({ reason: "unreadable" });
    let outcomes = 0;
    for (let count = 0; count < JOBS_MAX; count += 1) {
      void submit(queue, newFile(randomBytes(KIB))).then(() => outcomes += 1);
    }
    expect(queue.isFull).toBe(true);
    await delay(50);
    await queue[Symbol.asyncDispose]();
    await queue[Symbol.asyncDispose]();
    expect(openDescriptors()).toBe(before);
    const told = outcomes;
    await delay(50);
    expect(outcomes).toBe(told);
    expect(told).toBeLessThan(JOBS_MAX);
  });
});

describe("digests of files", () => {
  const past = new Date(Date.now() - 60_000);

  /** A file that was not changed a moment ago; its time of change cannot be set back, only waited for. */
  async function newLastingFile(content: string): Promise<string> {
    const path = newFile(content);
    await delay(30);
    return path;
  }

  it("are computed once for each version of a file", async () => {
    await using queue = openQueue();
    const digests = createFileDigests({ libc, queue, clock: systemClock });
    const path = await newLastingFile("one");
    const first = digests.of(libc.open(path, O_RDONLY));
    expect(digests.of(libc.open(path, O_RDONLY))).toBe(first);
    await new Promise<void>((resolve) => first?.onOutcome(resolve));
    expect(first?.outcome).toMatchObject({ sha256: sha256("one") });
    expect(digests.of(libc.open(path, O_RDONLY))).toBe(first);
    appendFileSync(path, "two");
    // The old times do not make it the old version.
    utimesSync(path, past, past);
    const second = digests.of(libc.open(path, O_RDONLY));
    expect(second).not.toBe(first);
    await new Promise<void>((resolve) => second?.onOutcome(resolve));
    expect(second?.outcome).toMatchObject({ sha256: sha256("onetwo") });
  });

  it("of a file that was changed a moment before are not remembered", async () => {
    await using queue = openQueue();
    const digests = createFileDigests({ libc, queue, clock: systemClock });
    const path = newFile("fresh");
    const first = digests.of(libc.open(path, O_RDONLY));
    await new Promise<void>((resolve) => first?.onOutcome(resolve));
    expect(digests.size).toBe(0);
  });

  it("are remembered of so many files, and there are none of what is no file", async () => {
    await using queue = openQueue();
    const before = openDescriptors();
    const digests = createFileDigests({ libc, queue, clock: systemClock, versionsMax: 3 });
    const paths = ["a", "b", "c", "d", "e"].map((text) => newFile(text));
    await delay(30);
    const all = paths.map((path) => digests.of(libc.open(path, O_RDONLY)));
    await Promise.all(all.map((each) => new Promise<void>((done) => each?.onOutcome(done))));
    expect(digests.size).toBe(3);
    expect(digests.of(libc.open(folder, O_RDONLY))).toBeUndefined();
    expect(openDescriptors()).toBe(before);
  });

  it("are refused, with the reason, when too many files wait", async () => {
    await using queue = openQueue(KIB);
    const digests = createFileDigests({ libc, queue, clock: systemClock });
    for (let count = 0; count < JOBS_MAX; count += 1) {
      digests.of(libc.open(newFile(String(count)), O_RDONLY));
    }
    const before = openDescriptors();
    const refused = digests.of(libc.open(newFile("one more"), O_RDONLY));
    expect(refused?.outcome).toEqual({ reason: "rate" });
    expect(openDescriptors()).toBe(before);
  });
});
