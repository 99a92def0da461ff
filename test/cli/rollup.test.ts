import { expect, test } from "vitest";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { runCli } from "./run-cli.ts";

test.each(["25h", "999ms", "soon"])("rollup refuses a day of %s", async (day) => {
  await using folder = await openTemporaryFolder("rollup-day");
  const { code, stderr } = await runCli([
    "rollup",
    "--once",
    `--data=${folder.path}`,
    "--nats=nats://127.0.0.1:1",
  ], {
    environment: { PROBITY_DAY: day },
  });
  expect(stderr).toContain(`Cannot use PROBITY_DAY: it is "${day}", not a duration of 1s to 24h`);
  expect(code).toBe(2);
});
