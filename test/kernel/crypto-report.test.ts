import { chmodSync, copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { runProbity } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openProbitySystem } from "../support/probity-system.ts";
import { buildIdOf, compileHandshakes, hasProbes, runProbed } from "../support/probed-programs.ts";
import { hasBpf } from "../support/ring-sources.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

interface Row extends Readonly<Record<string, unknown>> {
  readonly table: string;
}

/** Version, suite, signature scheme, group; as the registries have them, in hex. */
const OLD = ["301 2f 201 0", "302 35 201 0", "303 c02f 401 17"].flatMap((each) => each.split(" "));
const RSA = "303 9c 0 0".split(" ");
const NEW = ["304 1301 804 11ec", "304 1302 403 1d"].flatMap((each) => each.split(" "));

describe.runIf(hasBpf && hasProbes && canRunNats())("the report of cryptography", () => {
  it("says which programs, by host and library, do what should end, and how many", async () => {
    await using folder = await openTemporaryFolder("crypto");
    const paths = ["old-client", "rsa-only", "new-server"].map((name) => join(folder.path, name));
    const [old = "", rsa = "", modern = ""] = paths;
    compileHandshakes(old);
    for (const path of [rsa, modern]) copyFileSync(old, path);
    // Parts of the system are other users.
    chmodSync(folder.path, 0o755);
    const config = join(folder.path, "probity.toml");
    writeFileSync(config, `[crypto]\nlibraries = ${JSON.stringify(paths)}\n`);
    await using system = await openProbitySystem("node", ["--config", config]);
    const ask = (format: string) =>
      runProbity([
        ...["report", "crypto", "--data", system.dataDirectory],
        ...["--from", "1h", "--format", format],
      ]);
    const rowsOf = async (): Promise<readonly Row[]> =>
      (await ask("ndjson")).stdout.trim().split("\n").map((line) => JSON.parse(line));
    const attached = async (): Promise<number> => {
      const query = "topic=agent/start&limit=1&from=1h";
      const answer = await system.fetch(`/v1/events?${query}`);
      return (await answer.text()).includes("library ") ? 1 : 0;
    };
    while (await attached() === 0) await delay(200);
    for (const words of [[old, ...OLD], [old, ...OLD], [rsa, ...RSA], [modern, ...NEW]]) {
      const [program = "", ...rest] = words;
      await runProbed(program, ...rest).ended();
    }
    let rows = await rowsOf();
    for (let time = 0; time < 100; time += 1) {
      if (rows.some((row) => row.table === "uses" && row["exe"] === modern)) break;
      await delay(200);
      rows = await rowsOf();
    }
    const found = (name: string) => rows.filter(({ table }) => table === name);
    const build_id = buildIdOf(old);
    const briefly = found("findings").map((row) => [
      ...[row["exe"], row["finding"], row["meaning"], row["processes"], row["count"]],
    ]);
    expect(briefly).toEqual([
      [old, "key exchange by RSA", "TLS_RSA_WITH_AES_128_CBC_SHA", 2, 2],
      [old, "key exchange by RSA", "TLS_RSA_WITH_AES_256_CBC_SHA", 2, 2],
      [old, "TLS below 1.2", "TLS 1.0", 2, 2],
      [old, "TLS below 1.2", "TLS 1.1", 2, 2],
      [old, "signature with SHA-1", "rsa_pkcs1_sha1", 2, 4],
      [old, "no post-quantum group", "secp256r1", 2, 2],
      [rsa, "key exchange by RSA", "TLS_RSA_WITH_AES_128_GCM_SHA256", 1, 1],
      [rsa, "no post-quantum group", "no group was told", 1, 1],
    ]);
    expect(found("findings")[0]).toMatchObject({ library: old, build_id });
    expect(found("summary").map((row) => [row["finding"], row["programs"], row["count"]]))
      .toEqual([
        ["signature with SHA-1", 1, 4],
        ["TLS below 1.2", 1, 4],
        ["key exchange by RSA", 2, 5],
        ["no post-quantum group", 2, 3],
      ]);
    for (const format of ["text", "markdown", "html"]) {
      const { stdout } = await ask(format);
      const plain = stdout.replaceAll("\\", "");
      for (const word of ["at a glance", old, build_id, "TLS 1.0", "rsa_pkcs1_sha1", "secp256r1"]) {
        expect(plain, format).toContain(word);
      }
    }
  }, 180_000);
});
