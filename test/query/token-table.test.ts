import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createAuthenticator } from "../../src/query/auth.ts";
import { ProblemError } from "../../src/query/problem.ts";
import {
  LOOK_INTERVAL_MS,
  LOOK_LIMIT_MS,
  openTokenTable,
  type TokenTable,
} from "../../src/query/token-table.ts";
import { newTokenText } from "../../src/query/token-text.ts";
import { type Clock, systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { tellRecords } from "../../src/storage/admin-record.ts";
import type { ObjectEntry, ObjectStore } from "../../src/storage/object-store.ts";
import { openStore } from "../../src/storage/open-store.ts";
import {
  grantToken,
  openTokens,
  parseToken,
  revokeToken,
  sha256OfToken,
  type Token,
} from "../../src/storage/token.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const START_MS = Date.UTC(2026, 5, 1);
/** Later than any time of a file that is written now. */
const LONG_MS = 60_000;

let folder: TemporaryFolder;
let real: ObjectStore;
let store: ObjectStore;
let reads: string[];
let isAway: boolean;
let isCoarse: boolean;
let onRead: () => Promise<void>;
let nowMs: number;
let elapsedMs: number;
let wake: () => void;
let lines: string[];
let table: TokenTable;
const opened: TokenTable[] = [];

/** Stands still until it is moved; who sleeps is woken by hand. */
const clock: Clock = {
  nowUs: () => nowMs * 1000,
  elapsedMs: () => elapsedMs,
  sleep: (_, signal) =>
    new Promise((resolve, reject) => {
      wake = resolve;
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    }),
};

beforeEach(async () => {
  folder = await openTemporaryFolder("tokens");
  await mkdir(join(folder.path, "bucket"));
  lines = [];
  real = await openStore({
    url: pathToFileURL(join(folder.path, "bucket")).href,
    log: createLog({ level: "error", write: () => undefined }),
  });
  [reads, isAway, isCoarse, nowMs, elapsedMs] = [[], false, false, START_MS, 0];
  onRead = () => Promise.resolve();
  const refuse = (): void => {
    if (isAway) throw new Error("the bucket is away");
  };
  store = Object.create(real, {
    get: {
      value: async (key: string, options: object) => {
        refuse();
        reads.push(key);
        const found = await real.get(key, options);
        await onRead();
        return found;
      },
    },
    list: {
      value: (prefix: string, options: object) => {
        refuse();
        return isCoarse ? coarse(real.list(prefix, options)) : real.list(prefix, options);
      },
    },
  });
  table = open();
  await table.look();
});
afterEach(async () => {
  for (const each of opened.splice(0)) await each[Symbol.asyncDispose]();
  await real[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Objects that were all written within one second, and have one size. */
async function* coarse(entries: AsyncIterable<ObjectEntry>): AsyncGenerator<ObjectEntry> {
  for await (const entry of entries) yield { ...entry, modifiedAtMs: 0, sizeBytes: 1 };
}

function open(): TokenTable {
  const log = createLog({ level: "info", write: (line) => lines.push(line) });
  const made = openTokenTable({ store, clock, log });
  opened.push(made);
  return made;
}

const place = () => ({ store: real, clock, log: createLog({ level: "error", write: () => 0 }) });

async function grant(name: string, more: Partial<Token> = {}): Promise<string> {
  const text = newTokenText();
  const token: Token = {
    ...{ sha256: sha256OfToken(text), role: "viewer", hosts: [], topics: [], by: "admin" },
    ...{ createdAtMs: START_MS, expiresAtMs: START_MS + 3_600_000, ...more },
  };
  expect(await grantToken(place(), { name, by: "admin", token })).toBe(true);
  return text;
}

const revoke = (name: string) => revokeToken(place(), { name, by: "admin" });

/** What a request with it is answered. */
async function asked(text: string): Promise<string | number> {
  try {
    const { authenticate } = createAuthenticator({ fixed: [], table });
    return (await authenticate(`Bearer ${text}`)).principal.name;
  } catch (error) {
    if (error instanceof ProblemError) return error.problem.status;
    throw error;
  }
}

describe("a token of the registry", () => {
  test("is good in another process from its next look on, until it is revoked", async () => {
    const text = await grant("ann", { role: "analyst", hosts: ["web-*"] });
    expect(await asked(text)).toBe(401);
    await table.look();
    expect(await asked(text)).toBe("ann");
    expect(table.find(text)?.principal.scopes).toEqual({
      actions: new Set(["read", "sql"]),
      hosts: ["web-*"],
      topics: "all",
    });
    const ended = table.find(text)?.ended;
    expect(await revoke("ann")).toBe(true);
    await table.look();
    expect(await asked(text)).toBe(401);
    expect(ended?.aborted).toBe(true);
  });

  test("is looked for often enough, without anybody asking for it", async () => {
    expect(LOOK_INTERVAL_MS + LOOK_LIMIT_MS).toBeLessThan(5_000);
    const text = await grant("ann");
    wake();
    await expect.poll(() => asked(text)).toBe("ann");
  });

  test("ends at its expiry, and what was begun with it soon after", async () => {
    const text = await grant("ann", { expiresAtMs: START_MS + 1_000 });
    await table.look();
    nowMs = START_MS + 999;
    expect(await asked(text)).toBe("ann");
    const held = table.find(text);
    nowMs = START_MS + 1_000;
    expect(await asked(text)).toBe(401);
    wake();
    await expect.poll(() => held?.ended.aborted).toBe(true);
    // A clock that is put back gives nothing back.
    nowMs = START_MS;
    expect(await asked(text)).toBe(401);
  });

  test("that was revoked here is not given back by a look that began before", async () => {
    const text = await grant("ann");
    const { promise, resolve } = Promise.withResolvers<void>();
    onRead = () => promise;
    const looking = table.look();
    await expect.poll(() => reads.length).toBe(1);
    await revoke("ann");
    table.drop("ann");
    onRead = () => Promise.resolve();
    resolve();
    await looking;
    expect(await asked(text)).toBe(401);
    await table.look();
    expect(await asked(text)).toBe(401);
  });

  test("that was made here stays through a look that began before", async () => {
    await grant("bob");
    const { promise, resolve } = Promise.withResolvers<void>();
    onRead = () => promise;
    const looking = table.look();
    await expect.poll(() => reads.length).toBe(1);
    const text = await grant("ann");
    const token = await openTokens(real).get("ann");
    if (token !== undefined) table.adopt("ann", token.value);
    onRead = () => Promise.resolve();
    resolve();
    await looking;
    expect(await asked(text)).toBe("ann");
  });

  test("made anew at once under its name is another one", async () => {
    isCoarse = true;
    const first = await grant("ann");
    await table.look();
    await revoke("ann");
    const second = await grant("ann");
    await table.look();
    expect([await asked(first), await asked(second)]).toEqual([401, "ann"]);
  });

  test("is read again until its time can be trusted, and then no more", async () => {
    await grant("ann");
    await table.look();
    await table.look();
    expect(reads).toHaveLength(2);
    elapsedMs += LONG_MS;
    await table.look();
    expect(reads).toHaveLength(3);
    await table.look();
    expect(reads).toHaveLength(3);
  });

  test("goes when its object does", async () => {
    const text = await grant("ann");
    await table.look();
    await real.delete("registry/tokens/ann");
    await table.look();
    expect(await asked(text)).toBe(401);
  });

  test("that cannot be read opens nothing, and keeps no other away", async () => {
    const broken = await grant("ann");
    await table.look();
    const whole = await grant("bob");
    const found = await real.get("registry/tokens/ann");
    const text = new TextDecoder().decode(found?.body);
    await real.put("registry/tokens/ann", new TextEncoder().encode(text.replace("viewer", "root")));
    await table.look();
    expect([await asked(broken), await asked(whole)]).toEqual([401, "bob"]);
    expect(table.fault).toBeUndefined();
    expect(lines.join("")).toContain("opens nothing");
  });

  test("that is narrowed but must not be may do nothing", async () => {
    const text = await grant("ann", { role: "admin", hosts: ["web-1"] });
    await table.look();
    expect(table.find(text)?.principal.scopes.actions).toEqual(new Set());
  });
});

describe("while the registry is away", () => {
  test("known tokens go on until their expiry, and it is known", async () => {
    const text = await grant("ann");
    await table.look();
    isAway = true;
    await table.look();
    expect(table.fault).toContain("away");
    expect(await asked(text)).toBe("ann");
    nowMs += 3_600_000;
    expect(await asked(text)).toBe(401);
    isAway = false;
    await table.look();
    expect(table.fault).toBeUndefined();
  });

  test("what may be a token is asked to come again, and all else refused", async () => {
    isAway = true;
    table = open();
    const text = await grant("ann");
    await table.look();
    expect(await asked(text)).toBe(503);
    expect(await asked(`${text.slice(0, -1)}!`)).toBe(401);
    expect(await asked("guessed-by-somebody")).toBe(401);
    isAway = false;
    await table.look();
    expect(await asked(text)).toBe("ann");
  });
});

test("every change is recorded before it is made, without the token and its digest", async () => {
  const text = await grant("ann", { hosts: ["web-1"], topics: ["file"] });
  const standing = await openTokens(real).get("ann");
  const token = parseToken({ ...standing?.value, sha256: sha256OfToken("x") });
  expect(await grantToken(place(), { name: "ann", by: "bob", token })).toBe(false);
  await revoke("ann");
  expect(await revoke("ann")).toBe(false);
  const told: unknown[] = [];
  await tellRecords({ ...place(), clock: systemClock }, (event) => {
    told.push(event);
    return Promise.resolve();
  });
  expect(told).toHaveLength(2);
  expect(told).toContainEqual(expect.objectContaining({
    topic: "audit/admin",
    message: "admin made a token.",
    detail: expect.objectContaining({
      action: "token create",
      parameters: {
        ...{ name: "ann", role: "viewer", hosts: ["web-1"], topics: ["file"] },
        expires: "2026-06-01T01:00:00.000Z",
      },
    }),
  }));
  expect(told).toContainEqual(expect.objectContaining({ message: "admin revoked a token." }));
  const all = JSON.stringify(told) + lines.join("");
  expect(all).not.toContain(text);
  expect(all).not.toContain(sha256OfToken(text));
});
