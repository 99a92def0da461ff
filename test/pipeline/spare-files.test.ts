import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { emptyAcceptance } from "../../src/event/acceptance.ts";
import { openRound, type Round } from "../../src/pipeline/round.ts";
import { PAYLOADS_FOLDER } from "../../src/pipeline/scratch.ts";
import { asStored, createBatchAgent, numberedEvent, type SentMessage } from "../support/batches.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

describe("a round in a folder with files of an earlier one", () => {
  /** Longer than what is written over it: its end must not stay. */
  const left = new Uint8Array(10_000).fill(1);

  test.each([[1], [2], [3], [5]])(
    "writes %i payloads over them, whatever their names and sizes are",
    async (count) => {
      await using folder = await openTemporaryFolder("spare");
      const payloads = join(folder.path, PAYLOADS_FOLDER);
      await mkdir(payloads);
      await writeFile(join(payloads, "2.ndjson.zst"), left);
      await writeFile(join(payloads, "1.ndjson.zst"), new Uint8Array(3));
      await writeFile(join(payloads, "70.ndjson.zst"), left);
      const agent = createBatchAgent("a");
      const sent: SentMessage[] = [];
      while (sent.length < count) sent.push(await agent.batch([numberedEvent(sent.length)]));
      const state = emptyAcceptance("0123abcd");
      await using open = await openRound({ folder: folder.path, shard: "0", state });
      for (const message of asStored(sent, 1)) await open.add(message);
      const round = await open.finish();
      expect(await contentsOf(round)).toEqual(
        sent.map(({ payload }, at) => [`${at + 1}.ndjson.zst`, Buffer.from(payload)]),
      );
      expect(await readdir(payloads)).toHaveLength(Math.max(3, count));
    },
  );
});

async function contentsOf(round: Round | undefined): Promise<(readonly [string, Buffer])[]> {
  const paths = (round?.messages ?? []).map(({ payload }) => payload?.path ?? "");
  return await Promise.all(paths.map(async (path) => [basename(path), await readFile(path)]));
}
