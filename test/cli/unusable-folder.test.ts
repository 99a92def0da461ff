import { spawnSync } from "node:child_process";
import process from "node:process";
import { expect, it } from "vitest";
import { MAIN_FILE } from "../support/command-line.ts";

it.each([
  ["up", ["--data", "/proc/nope"], 'Cannot use data folder "/proc/nope": Cannot make folder'],
  ["agent", ["--data", "/proc/nope", "--nats", "nats://127.0.0.1:1"], "Cannot make folder"],
  ["rollup", ["--store-url", "file:///proc/nope", "--nats", "nats://127.0.0.1:1"], "Cannot open"],
])("%s says in one line that nothing can be made in a folder, and ends", (command, words, said) => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN_FILE, command, ...words], {
    encoding: "utf8",
    timeout: 20_000,
    killSignal: "SIGKILL",
    env: { PATH: process.env["PATH"] },
  });
  const lines = stderr.trim().split("\n").filter((line) => line.startsWith("probity: "));
  expect(lines).toEqual([expect.stringContaining(said)]);
  expect(status).toBe(1);
});
