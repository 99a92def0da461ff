import { spawnSync } from "node:child_process";
import process from "node:process";
import { expect, it } from "vitest";
import { MAIN_FILE } from "../support/command-line.ts";

/** Native or slow to load, and needed by single commands only. */
const HEAVY = ["koffi", "@duckdb/node-api", "@aws-sdk/client-s3", "arktype", "hono"];

it("the command line loads what is heavy or native only for the command that needs it", () => {
  const program = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ resolve: (name, context, next) => (loaded.push(name), next(name, context)) });
    process.argv = [process.argv[0], "probity", "--version"];
    await import(${JSON.stringify(MAIN_FILE)});
    console.log(JSON.stringify(loaded));
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  const [version, loaded] = stdout.trim().split("\n");
  expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  const names: string[] = JSON.parse(loaded ?? "");
  expect(names).toContain("commander");
  expect(names.filter((name) => HEAVY.includes(name))).toEqual([]);
});
