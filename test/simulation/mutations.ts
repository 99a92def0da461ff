/**
 * Bugs to plant: each takes the place of one line of a source file while a simulation loads it, and the simulation has
 * to find it. A line that no longer stands in its file, or stands there twice, is an error, so that this list follows
 * the sources.
 */

/** A line of a source file, and what takes its place. */
export interface Change {
  /** Below `src/`. */
  readonly file: string;
  /** The whole line without its indentation. */
  readonly line: string;
  readonly becomes: string;
}

export interface Mutation extends Change {
  readonly name: string;
  /** The first seed that finds it; where it no longer does, all others up to the limit are tried. */
  readonly seed: number;
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: "a roll-up that another one overtook commits all the same",
    seed: 401,
    file: "storage/delta-table.ts",
    line: 'if (tip?.position.version !== work.startedFrom) return { kind: "superseded" };',
    becomes: "",
  },
  {
    name: "a log entry is written over",
    seed: 4,
    file: "storage/delta-table.ts",
    line: "const outcome = await this.#store.putIfAbsent(deltaLogKey(version), body, options);",
    becomes:
      'const outcome = await this.#store.put(deltaLogKey(version), body, options) ?? "created";',
  },
  {
    name: "a commit whose answer was lost is believed without reading it back",
    seed: 54,
    file: "storage/delta-table.ts",
    line: 'return entry.isWork && found === commitId ? "written" : "lost";',
    becomes: 'return entry.isWork ? "written" : "lost";',
  },
  {
    name: "data files are not put",
    seed: 1,
    file: "pipeline/commit-round.ts",
    line: "write: (key) => store.putFileIfAbsent(key, path, request),",
    becomes: 'write: () => Promise.resolve("created"),',
  },
  {
    name: "a batch ahead of a hole is accepted",
    seed: 2,
    file: "event/acceptance.ts",
    line: "if (header.number > highest.number + 1) {",
    becomes: "if (header.number > highest.number + 2) {",
  },
  {
    name: "another batch of the same number passes for a duplicate",
    seed: 17,
    file: "event/acceptance.ts",
    line: "const isSame = header.number < highest.number || header.digest === highest.digest;",
    becomes: "const isSame = true;",
  },
  {
    name: "a batch that does not continue the chain is accepted",
    seed: 17,
    file: "event/acceptance.ts",
    line: "if (isKnown && header.previous !== highest.digest) {",
    becomes: "if (false) {",
  },
  {
    name: "a payload is accepted that is not the one its header tells of",
    seed: 2,
    file: "event/arrival.ts",
    line: "return digestOf(payload) === parsed.header.digest",
    becomes: "return payload.length > 0",
  },
  {
    name: "the message after the committed one is passed over",
    seed: 1,
    file: "pipeline/rollup-session.ts",
    line: "fromSequence: start.state.sequence + 1,",
    becomes: "fromSequence: start.state.sequence + 2,",
  },
  {
    name: "the next round begins where the one before it did",
    seed: 1,
    file: "pipeline/rollup-session.ts",
    line: "this.#collected = apart.round.state;",
    becomes: "",
  },
  {
    name: "agents are told of what is not committed yet",
    seed: 45,
    file: "pipeline/rollup-session.ts",
    line: "state: () => this.#state,",
    becomes: "state: () => this.#collected,",
  },
  {
    name: "the message at the committed sequence is purged",
    seed: 1,
    file: "pipeline/truncation.ts",
    line: "return Math.max(1, Math.min(committed, young ?? Infinity, needed ?? Infinity));",
    becomes: "return Math.max(1, Math.min(committed + 1, young ?? Infinity, needed ?? Infinity));",
  },
  {
    name: "a stream that was made again is purged",
    seed: 401,
    file: "pipeline/truncation.ts",
    line: "if (status?.created !== created) return undefined;",
    becomes: "if (status === undefined) return undefined;",
  },
  {
    name: "messages leave the log before their time",
    seed: 6,
    file: "pipeline/truncation.ts",
    line: "const kept = firstKept({ committed: committedSequence, young, needed });",
    becomes:
      "const kept = firstKept({ committed: committedSequence, young: young && Infinity, needed });",
  },
  {
    name: "a stream that was made again goes on under the old incarnation",
    seed: 1,
    file: "pipeline/stream-start.ts",
    line:
      "state: known.incarnation === incarnation ? known : startIncarnation(known, incarnation),",
    becomes: "state: known,",
  },
  {
    name: "an older watermark replaces a newer one",
    seed: 4,
    file: "pipeline/watermarks.ts",
    line: "if (theirs !== undefined && (isOther ? isAgain : theirs.sequence > ours.sequence)) {",
    becomes: "if (theirs !== undefined && isOther && isAgain) {",
  },
  {
    name: "a delivery that was lost on its way is not missed",
    seed: 4,
    file: "runtime/stream-reader.ts",
    line: "if (place === undefined || place.delivery !== this.#deliveries + 1) return this.#end();",
    becomes: "if (place === undefined) return this.#end();",
  },
  {
    name: "a spool releases one batch too many",
    seed: 1,
    file: "producer/resend-rules.ts",
    line: "release(state, { number, digest });",
    becomes: "release(state, { number: number + 1, digest });",
  },
  {
    name: "a batch that the record passed over is not sent again",
    seed: 2,
    file: "producer/resend-rules.ts",
    line:
      "applies: (state, watermark) => isPassedOver(state, watermark) && isRested(state, watermark),",
    becomes: "applies: () => false,",
  },
  {
    name: "a batch travels before it is durable",
    seed: 1,
    file: "producer/spool-segments.ts",
    line: "await file.datasync();",
    becomes: "",
  },
  {
    name: "a worker that died keeps its shards",
    seed: 17,
    file: "pipeline/shard-leases.ts",
    line: "holder !== undefined && workers[holder] !== undefined;",
    becomes: "holder !== undefined;",
  },
  {
    name: "files that others replaced are replaced once more",
    seed: 37,
    file: "storage/delta-table.ts",
    line: 'if (!isLive) return { kind: "superseded" };',
    becomes: "",
  },
  {
    name: "a file that became part of the table is taken back",
    seed: 1,
    file: "pipeline/maintenance/compaction.ts",
    line: 'if (result.kind === "superseded") await discardFile(context, file);',
    becomes: "await discardFile(context, file);",
  },
  {
    name: "files that were replaced stay in the table",
    seed: 1,
    file: "storage/delta-replay.ts",
    line: "files.delete(path);",
    becomes: "",
  },
  {
    name: "a checkpoint leaves out where the shards are",
    seed: 1,
    file: "storage/delta-checkpoint-write.ts",
    line:
      "for (const transaction of state.transactions.values()) yield transactionAction(transaction);",
    becomes: "",
  },
  {
    name: "files that left the table lately are removed",
    seed: 17,
    file: "pipeline/maintenance/vacuum.ts",
    line: "(removed !== undefined && removed.removedAtMs >= beforeMs) ||",
    becomes: "",
  },
  {
    name: "states of shards are removed",
    seed: 64,
    file: "pipeline/maintenance/vacuum.ts",
    line: "if (shardOfStateKey(key) !== undefined) return needs.states.has(key);",
    becomes: "if (shardOfStateKey(key) !== undefined) return false;",
  },
];

/** The text of a source file with the bug in it. Throws when the line does not stand there exactly once. */
export function plant(text: string, { file, line, becomes }: Change): string {
  const lines = text.split("\n");
  const places = lines.flatMap((each, at) => each.trim() === line ? [at] : []);
  const [at] = places;
  if (at === undefined || places.length !== 1) {
    throw new RangeError(
      `Cannot plant a bug in src/${file}: ${places.length} lines are ${JSON.stringify(line)}`,
    );
  }
  return lines.with(at, becomes).join("\n");
}
