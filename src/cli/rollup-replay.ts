/**
 * `rollup replay`: makes the table again from the evidence, in another bucket, and says whether it is the same. Ends
 * in 4 where it is not, or where the evidence is not what it should be.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ShardProof } from "../pipeline/replay-proof.ts";
import type { Replay, ReplayedShard } from "../pipeline/replay.ts";
import type { RowsFingerprint } from "../storage/data-rows.ts";
import { openDirectoryStore } from "../storage/fs-store.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { openStore } from "../storage/open-store.ts";
import { defineCommand } from "./command.ts";
import { CommandError, EXIT, usageError } from "./exit.ts";
import { flag, urlOf } from "./option-type.ts";
import { option, optional, STORE_OPTIONS } from "./options.ts";
import { storeOptionsOf } from "./store-options.ts";
import { dataFolderAt } from "./up/data-folder.ts";

export const rollupReplayCommand = defineCommand({
  name: "rollup replay",
  summary: "make the table again from the evidence, and prove it equal",
  examples: [
    ["probity rollup replay", "prove that the table is what the evidence says"],
    ["probity rollup replay --into file:///srv/rebuilt", "and keep what was made"],
  ],
  options: {
    own: {
      into: optional("into", urlOf(["file", "s3"], "s3://bucket/prefix"), {
        reach: "flag",
        text: "bucket for the table that is made; default: one that is removed afterwards",
      }),
      evidenceOnly: option("evidence_only", flag, {
        reach: "flag",
        default: "false",
        text: "take all evidence there is, not what commits name; for a table that is lost",
      }),
    },
    store: STORE_OPTIONS,
  },
  run: async ({ settings, global, log, output, signal }) => {
    const { EvidenceError, replayEvidence } = await import("../pipeline/replay.ts");
    const folder = dataFolderAt(global.data);
    const scratchDirectory = join(folder.cache, "replay");
    await mkdir(scratchDirectory, { recursive: true, mode: 0o700 });
    const place = storeOptionsOf(settings.store, folder);
    await using kept = new AsyncDisposableStack();
    const source = kept.use(await openStore({ ...place, log }));
    const target = settings.own.into === undefined
      ? await openTrial(scratchDirectory, kept)
      : kept.use(await openStore({ ...place, url: settings.own.into, log }));
    if (target.url === source.url) {
      throw usageError(`Cannot replay into ${target.url}: it is the bucket that is replayed`);
    }
    const { evidenceOnly } = settings.own;
    const isKept = settings.own.into !== undefined;
    const work = { source, target, scratchDirectory, evidenceOnly, isKept, log, signal };
    const replay = await replayEvidence(work).catch((cause: unknown) => {
      if (!(cause instanceof EvidenceError)) throw cause;
      throw new CommandError(EXIT.evidenceBroken, cause.message, { cause });
    });
    if (evidenceOnly) {
      for (const each of replay.shards) await output.json(madeOf(each));
      return EXIT.ok;
    }
    const { proveReplay } = await import("../pipeline/replay-proof.ts");
    const proof = await proveReplay({ source, target, replay, scratchDirectory, signal });
    for (const each of proof.shards) await output.json(shownProof(each, replay));
    const { missing, removed } = proof;
    if (proof.unplaced > 0) output.notice(`${proof.unplaced} rows are of no shard's stream`);
    if (missing > 0 && missing !== removed) {
      output.notice(`${missing} rows are missing; the log says that ${removed} were removed`);
    }
    const isEqual = proof.unplaced === 0 &&
      proof.shards.every(({ verdict }) => verdict !== "different");
    return isEqual ? EXIT.ok : EXIT.evidenceBroken;
  },
});

/** A bucket that is gone when the command ends, and if that is killed, when the next one begins. */
async function openTrial(directory: string, kept: AsyncDisposableStack): Promise<ObjectStore> {
  const { openScratch } = await import("../pipeline/scratch.ts");
  const { path } = kept.use(await openScratch(directory));
  return kept.use(await openDirectoryStore({ directory: join(path, "bucket") }));
}

function shownProof(proof: ShardProof, replay: Replay): object {
  const { shard, before, differences, isSameState, verdict } = proof;
  const made = replay.shards.find((each) => each.shard === shard);
  return {
    ...(made === undefined ? { shard } : madeOf(made)),
    tableRows: before.rows,
    tableDigest: digestText(before),
    isSameState,
    ...differences,
    verdict,
  };
}

function madeOf({ shard, segments, messages, rows, position }: ReplayedShard): object {
  return {
    ...{ shard, segments, messages, ...position },
    ...{ rows: rows.rows, digest: digestText(rows) },
  };
}

/** The sum of the rows' digests, in hexadecimal. */
function digestText({ sum }: RowsFingerprint): string {
  return sum.toString(16);
}
