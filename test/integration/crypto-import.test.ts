/** Logs of crypto-auditing through a real broker, roll-up and service, by the commands that people type. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type HttpServer, openHttpServer } from "../../src/cli/http-server.ts";
import {
  type CborVariant,
  encodeGroup,
  type EventGroup,
  metadataGroup,
} from "../../src/event/crypto/group.ts";
import { runProbity } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  openQueryRig,
  QUERY_TOKEN,
  type QueryRig,
  type RunningQuery,
} from "../support/query-rig.ts";
import { until } from "../support/rollup-rig.ts";

const DAY_NS = 86_400_000_000_000n;
/** Booted in 2023, up for 200 days: more than a batch may span. */
const BOOT_S = 1_700_000_000n;

/** What a log has that is easily lost: jumps of days, groups that are out of order, odd texts, large numbers. */
const groups: readonly EventGroup[] = Array.from({ length: 600 }, (_, at): EventGroup => {
  const startNs = BigInt(at) * DAY_NS / 3n + BigInt(at % 7) * 1_000_003n;
  const context = at.toString(16).padStart(32, "a");
  return {
    ...{ context, startNs, endNs: startNs + BigInt(at % 3) },
    events: [
      {
        ...{ kind: "context", parent: "ff".repeat(16), origin: "00ff" },
        executable: at % 2 === 0 ? Buffer.from(`demo-${at % 5}`).toString("hex") : undefined,
      },
      { kind: "data", key: "name", datum: { type: "string", value: "tls::handshake" } },
      { kind: "data", key: "tls::protocol_version", datum: { type: "word", value: 0x302n } },
      { kind: "data", key: "tls::a\u0000b", datum: { type: "string", value: "\ufeff\u0000é" } },
      { kind: "data", key: "tls::least", datum: { type: "word", value: -(2n ** 63n) } },
      { kind: "data", key: "tls::raw", datum: { type: "blob", value: Uint8Array.of(0, 255) } },
    ],
  };
});
const swapped = groups.map((group, at) => groups[at ^ 1] ?? group);
const bytesOf = (variant: CborVariant): Buffer =>
  Buffer.concat([metadataGroup(BOOT_S), ...swapped].map((group) => encodeGroup(group, variant)));

describe.runIf(canRunNats())("a log of crypto-auditing", () => {
  let rigs: QueryRig;
  let query: RunningQuery;
  let server: HttpServer;
  let access: readonly string[];
  let log: string;
  beforeAll(async () => {
    rigs = await openQueryRig();
    query = await rigs.start();
    const address = { host: "127.0.0.1", port: 0 };
    server = await openHttpServer({ fetch: query.service.fetch, address, tls: undefined });
    const tokenFile = join(rigs.rig.folder, "cli-token");
    await writeFile(tokenFile, QUERY_TOKEN, { mode: 0o600 });
    access = ["--server", server.url, "--token-file", tokenFile];
    log = join(rigs.rig.folder, "audit.cborseq");
    await writeFile(log, Buffer.concat([bytesOf("normal"), Buffer.from("a467", "hex")]));
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await query?.[Symbol.asyncDispose]();
    await rigs?.[Symbol.asyncDispose]();
  });

  const words = () => {
    const data = join(rigs.rig.folder, "data");
    return ["import", log, "--data", data, "--json", "--nats", rigs.rig.server.url];
  };
  const take = async () => {
    const result = await runProbity(words());
    expect(result.code, result.stderr).toBe(0);
    return { said: JSON.parse(result.stdout), told: result.stderr };
  };
  /** Kills an import once something of it is on disk. */
  const takeInPart = async () => {
    const segments = join(rigs.rig.folder, "data/spool/import/segments");
    const isBegun = () =>
      existsSync(segments) &&
      // Files are as long as their room; what is not written yet are zeros.
      readdirSync(segments).some((name) =>
        readFileSync(join(segments, name)).subarray(4_096).some((byte) => byte !== 0)
      );
    const { code } = await runProbity(words(), {
      whileRunning: async (child) => {
        await until(() => Promise.resolve(isBegun()));
        child.kill("SIGKILL");
      },
    });
    expect(code).toBeNull();
  };
  const give = async (service: string, variant: CborVariant): Promise<Buffer> => {
    const range = ["--from", "2023-01-01T00:00:00Z", "--service", service];
    const file = join(rigs.rig.folder, "exported");
    const words = ["export", "--format", "cborseq", "--variant", variant, ...range, ...access];
    const result = await runProbity(words, { outputFile: file });
    expect(result).toMatchObject({ code: 0, stderr: "" });
    return await readFile(file);
  };

  test("is imported once, also by one that is killed, and comes back byte by byte, before and after it is archived", async () => {
    await takeInPart();
    const { said, told } = await take();
    expect(said).toMatchObject({ groups: 601, unusual: 0, leftBytes: 2 });
    expect(said.known).toBeGreaterThan(0);
    expect(told).toContain("the last 2 bytes are no whole group");
    const again = await take();
    expect(again.said).toMatchObject({ service: said.service, events: 0, known: 601 });
    const { client } = query;
    const range = { from: "2023-01-01", to: "2025-01-01", service: said.service };
    await until(async () => (await client.count(range)).count === 3_602);
    // The one that was killed had begun, the second began and ended, the third found nothing to do.
    const admin = { topic: "audit/admin", service: "probity-import" };
    const { events: deeds } = await client.stream({ ...admin, order: "asc" });
    expect((await Array.fromAsync(deeds)).map(({ message = "" }) => / (\w+)/.exec(message)?.[1]))
      .toEqual(["began", "began", "imported"]);
    expect((await give(said.service, "normal")).equals(bytesOf("normal"))).toBe(true);
    await rigs.rig.once();
    expect((await give(said.service, "minimal")).equals(bytesOf("minimal"))).toBe(true);
    const { events } = await client.stream({ ...range, topic: "crypto/tls/protocol_version" });
    const [event] = await Array.fromAsync(events);
    expect(event?.message).toBe("The protocol version is TLS 1.1.");
    expect(event?.detail?.["claimed_time"]).toBeUndefined();
  });
});
