import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readFileSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { get } from "node:https";
import { join } from "node:path";
import { connect as connectPlain } from "node:net";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { connect, type ConnectionOptions } from "node:tls";
import { fileURLToPath } from "node:url";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { readTlsPair, type TlsPaths } from "../../src/cli/tls-files.ts";
import { createLog } from "../../src/runtime/log.ts";
import { isCommand } from "../support/capabilities.ts";
import { makeCertificate } from "../support/certificates.ts";
import { requireCapability } from "../support/require.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SCRIPT = fileURLToPath(new URL("../support/tls-server-process.ts", import.meta.url));
const RUNTIMES = {
  node: { command: process.execPath, words: [], isThere: true },
  deno: { command: DENO, words: ["run", "-q", "-P=serve"], isThere: existsSync(DENO) },
} as const;

const hasOpenssl = requireCapability("openssl", isCommand("openssl"), "apt-get install openssl");
const hasDeno = requireCapability("deno", RUNTIMES.deno.isThere, "run npm ci");

let folder: TemporaryFolder;
let first: TlsPaths;
let second: TlsPaths;

beforeAll(async () => {
  folder = await openTemporaryFolder("tls");
  if (!hasOpenssl) return;
  first = makeCertificate(folder.path, "first");
  second = makeCertificate(folder.path, "second");
});
afterAll(() => folder[Symbol.asyncDispose]());

/** A server in a process of its own, with copies of the first certificate that can be changed. */
async function start(name: keyof typeof RUNTIMES) {
  const { command, words } = RUNTIMES[name];
  const used = {
    cert: join(folder.path, `${name}.pem`),
    key: join(folder.path, `${name}-key.pem`),
  };
  put(first, used);
  const child = spawn(command, [...words, SCRIPT, used.cert, used.key], { cwd: ROOT });
  let log = "";
  child.stderr.on("data", (chunk: Uint8Array) => log += Buffer.from(chunk).toString());
  const closed = once(child, "close");
  const line = await Promise.race([
    once(createInterface({ input: child.stdout }), "line"),
    closed.then(() => {
      throw new Error(`${name} ended: ${log}`);
    }),
  ]);
  const { port }: { readonly port: number } = JSON.parse(String(line[0]));
  return {
    ...{ used, port, child },
    log: () => log,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await closed;
    },
  };
}

function put(from: TlsPaths, to: TlsPaths): void {
  copyFileSync(from.cert, to.cert);
  copyFileSync(from.key, to.key);
  chmodSync(to.key, 0o600);
}

/** Whose certificate a server shows, and in which protocol; what it says instead. */
async function shown(port: number, more: ConnectionOptions = {}): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...more });
  try {
    await once(socket, "secureConnect");
    return `${socket.getPeerCertificate().subject.CN} ${socket.getProtocol()}`;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  } finally {
    socket.destroy();
  }
}

const OLD: ConnectionOptions = {
  minVersion: "TLSv1",
  maxVersion: "TLSv1.1",
  ciphers: "DEFAULT@SECLEVEL=0",
};

/** What OpenSSL says of a server that speaks none of its protocols, or of one that knows no old ones at all. */
const REFUSED = /PROTOCOL|HANDSHAKE_FAILURE/;

describe.runIf(hasOpenssl)("the server with TLS", () => {
  it.each(hasDeno ? ["node", "deno"] as const : ["node"] as const)(
    "answers in %s, speaks nothing old, and takes files that are replaced",
    async (runtime) => {
      await using server = await start(runtime);
      const { port, used, child } = server;
      const ca = readFileSync(first.cert);
      const answer = get({ host: "localhost", port, ca, headers: { connection: "close" } });
      const [response] = await once(answer, "response");
      expect(await text(response)).toBe("hello");
      expect(await shown(port)).toBe("first TLSv1.3");
      expect(await shown(port, { maxVersion: "TLSv1.2" })).toBe("first TLSv1.2");
      expect(await shown(port, OLD)).toMatch(REFUSED);

      // A certificate without its key changes nothing; once the key is there, both do.
      copyFileSync(second.cert, used.cert);
      await expect.poll(server.log).toContain("is not that of certificate");
      expect(await shown(port)).toBe("first TLSv1.3");
      copyFileSync(second.key, used.key);
      await expect.poll(() => shown(port)).toBe("second TLSv1.3");
      expect(await shown(port, OLD)).toMatch(REFUSED);

      // What cannot even be looked at changes nothing, and its end is noticed.
      unlinkSync(used.cert);
      symlinkSync(used.cert, used.cert);
      await expect.poll(server.log).toContain("for TLS: ELOOP");
      expect(await shown(port)).toBe("second TLSv1.3");
      unlinkSync(used.cert);

      writeFileSync(used.cert, "-----BEGIN CERTIFICATE-----\nhalf");
      await expect.poll(server.log).toMatch(/for TLS: (?!ELOOP|ENOENT)/);
      expect(await shown(port)).toBe("second TLSv1.3");
      put(first, used);
      child.kill("SIGHUP");
      await expect.poll(() => shown(port)).toBe("first TLSv1.3");
      expect(server.log()).not.toContain("PRIVATE");
    },
  );

  it("says what is wrong with files that it cannot use", async () => {
    const open = join(folder.path, "open.key");
    copyFileSync(first.key, open);
    const wrong: readonly (readonly [TlsPaths, mode: number, RegExp])[] = [
      [{ ...first, key: open }, 0o644, /its mode is 0644, and 0640 is the most/],
      [{ ...first, key: open }, 0o620, /its mode is 0620/],
      [{ ...first, key: open }, 0o601, /its mode is 0601/],
      [{ ...first, key: second.key }, 0, /is not that of certificate/],
      [{ ...first, key: join(folder.path, "absent") }, 0, /absent" for TLS: ENOENT/],
      [{ ...first, cert: join(folder.path, "absent") }, 0, /absent" for TLS: ENOENT/],
      [{ ...first, cert: first.key }, 0, /Cannot use file/],
      [{ cert: first.cert, key: first.cert }, 0o644, /its mode/],
    ];
    for (const [paths, mode, message] of wrong) {
      if (mode !== 0) chmodSync(paths.key, mode);
      expect(() => readTlsPair(paths)).toThrow(message);
    }
    chmodSync(open, 0o640);
    expect(readTlsPair({ ...first, key: open }).expiresMs).toBeGreaterThan(Date.now());
    const address = { host: "127.0.0.1", port: 0 };
    const fetch = () => Promise.resolve(new Response());
    const log = createLog({ level: "error" });
    await expect(openHttpServer({ fetch, address, tls: { ...first, key: second.key, log } }))
      .rejects.toMatchObject({ exitCode: 2 });
  });

  it("waits neither long nor when it closes for somebody who connects and says nothing", async () => {
    for (const limits of [{ handshakeMs: 100, drainMs: 30_000 }, { drainMs: 100 }]) {
      const { drainMs, ...tls } = limits;
      const server = await openHttpServer({
        fetch: () => Promise.resolve(new Response()),
        address: { host: "127.0.0.1", port: 0 },
        tls: { ...first, log: createLog({ level: "error" }), ...tls },
        drainMs,
      });
      const silent = connectPlain(Number(new URL(server.url).port), "127.0.0.1");
      silent.on("error", () => undefined);
      const closed = once(silent, "close").then(() => "closed");
      await once(silent, "connect");
      if ("handshakeMs" in limits) {
        expect(await Promise.race([closed, delay(10_000, undefined, { ref: false })])).toBe(
          "closed",
        );
      }
      const startedMs = performance.now();
      await server[Symbol.asyncDispose]();
      expect(performance.now() - startedMs).toBeLessThan(10_000);
      expect(await closed).toBe("closed");
    }
  });

  it("warns of a certificate that ends soon", async () => {
    const lines: string[] = [];
    const log = createLog({ level: "warn", write: (line) => lines.push(line) });
    const soon = makeCertificate(folder.path, "soon", { days: 13 });
    await using server = await openHttpServer({
      fetch: () => Promise.resolve(new Response()),
      address: { host: "127.0.0.1", port: 0 },
      tls: { ...soon, log },
    });
    expect(server.url).toMatch(/^https:/);
    expect(server.tls?.expiresMs).toBeLessThan(Date.now() + 14 * 86_400_000);
    expect(lines.join("")).toMatch(/the certificate ends soon/);
  });
});
