/** Several OpenID Connect issuers, in Node and in Deno. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/cli/config-file.ts";
import { oidcSettingsOf } from "../../src/cli/config-oidc.ts";
import { requireCapability } from "../support/require.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const DENO = join(ROOT, "node_modules/.bin/deno");
const SEEN = [
  "oidc:ann",
  "oidc.second:ann",
  "oidc.second:ann",
  "undefined",
  "undefined",
  "undefined",
];

async function judged(file: string, words: readonly string[]): Promise<unknown> {
  const script = join(ROOT, "test/support/issuers-process.ts");
  const { stdout } = await promisify(execFile)(file, [...words, script], {
    cwd: ROOT,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"] },
  });
  return JSON.parse(stdout);
}

describe("each token is judged by the issuer that it names, whose people have its name", () => {
  test("in Node", async () => {
    expect(await judged(process.execPath, [])).toEqual(SEEN);
  });

  test.runIf(requireCapability("deno", existsSync(DENO), "npm ci brings it"))(
    "in Deno",
    async () => {
      const words = [
        "run",
        "-q",
        "--no-lock",
        "--allow-net=127.0.0.1",
        "--allow-env",
        "--allow-read",
      ];
      expect(await judged(DENO, words)).toEqual(SEEN);
    },
  );
});

const table = (issuer: string, more = "") =>
  `issuer = "${issuer}"\naudience = "a"\n${more}
grants = [{ claim = "groups", value = "all", role = "viewer" }]\n`;

describe("the configuration", () => {
  const read = (text: string) => oidcSettingsOf(parseConfig(text, "p.toml").structures.oidc);
  const [a, b] = ["https://a.example.org", "https://b.example.org"];

  test("has one issuer as a table, or several as tables", () => {
    expect(read("")).toEqual([]);
    expect(read(`[oidc]\n${table(a)}`)).toMatchObject([{ issuer: a }]);
    expect(read(`[[oidc]]\n${table(a)}\n[[oidc]]\n${table(b, 'name = "b"')}`)).toMatchObject([
      { issuer: a },
      { issuer: b, name: "b" },
    ]);
  });

  test.each([
    [`[[oidc]]\n${table(a)}[[oidc]]\n${table(b)}`, /a name of its own for each issuer/],
    [
      `[[oidc]]\n${table(a)}[[oidc]]\n${table(a, 'name = "b"')}`,
      /\[\[oidc\]\] issuer .*another issuer/,
    ],
    [`[[oidc]]\n${table(a, 'name = "A:b"')}`, /\[\[oidc\]\] name .*1 to 32 of a-z/],
    [`[[oidc]]\n${table(a, "nmae = 1")}`, /\[\[oidc\]\] nmae is unknown/],
  ])("is refused with what would do: %#", (text, message) => {
    expect(() => read(text)).toThrow(message);
  });
});
