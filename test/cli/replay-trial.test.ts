import { readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runProbity } from "../support/command-line.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

/** How long the command may take to get as far as its trial bucket. */
const BEGIN_LIMIT_MS = 20_000;

test("a replay that was killed leaves nothing once the next one has begun", async () => {
  await using folder = await openTemporaryFolder("replay-trial");
  const scratch = join(folder.path, "data", "cache", "replay");
  const namesIn = (path: string) => readdir(path, { recursive: true }).catch(() => []);
  // A bucket that never answers: the replay waits for it with its trial bucket made.
  await using silent = createServer();
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const address = silent.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const sockets = new Set<{ destroy(): void }>();
  silent.on("connection", (socket) => sockets.add(socket));
  const place = ["--data", join(folder.path, "data"), "--quiet"];
  const asked = once(silent, "connection", { signal: AbortSignal.timeout(BEGIN_LIMIT_MS) });
  await runProbity([
    ...["rollup", "replay", ...place, "--store-url", "s3://bucket"],
    ...["--store-endpoint", `http://127.0.0.1:${address.port}`, "--store-path-style"],
  ], {
    environment: { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" },
    whileRunning: async (child) => {
      await asked;
      child.kill("SIGKILL");
    },
  });
  for (const socket of sockets) socket.destroy();
  expect((await namesIn(scratch)).length).toBeGreaterThan(0);
  const empty = `file://${join(folder.path, "bucket")}`;
  const { stderr } = await runProbity(["rollup", "replay", ...place, "--store-url", empty]);
  expect(stderr).toBe("");
  expect(await namesIn(scratch)).toEqual([]);
}, 60_000);
