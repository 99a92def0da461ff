/**
 * Bugs to plant: each takes the place of one line of a source file while a simulation loads it, and the simulation has
 * to find it. A line that no longer stands in its file, or stands there twice, is an error, so that this list follows
 * the sources.
 */

export interface Mutation {
  readonly name: string;
  /** Below `src/`. */
  readonly file: string;
  /** The whole line without its indentation. */
  readonly line: string;
  readonly becomes: string;
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: "a roll-up that another one overtook commits all the same",
    file: "storage/delta-table.ts",
    line: 'if (tip?.position.version !== work.startedFrom) return { kind: "superseded" };',
    becomes: "",
  },
  {
    name: "a log entry is written over",
    file: "storage/delta-table.ts",
    line: "const outcome = await this.#store.putIfAbsent(deltaLogKey(version), body, options);",
    becomes:
      'const outcome = await this.#store.put(deltaLogKey(version), body, options) ?? "created";',
  },
  {
    name: "a commit whose answer was lost is believed without reading it back",
    file: "storage/delta-table.ts",
    line: 'return entry.isWork && found === commitId ? "written" : "lost";',
    becomes: 'return entry.isWork ? "written" : "lost";',
  },
  {
    name: "an object whose fate is unknown is taken for written",
    file: "pipeline/commit-round.ts",
    line: "if (await store.head(key, request) === undefined) throw cause;",
    becomes: "",
  },
  {
    name: "data files are not put",
    file: "pipeline/commit-round.ts",
    line: "write: (key) => store.putFileIfAbsent(key, path, request),",
    becomes: 'write: () => Promise.resolve("created"),',
  },
  {
    name: "a batch ahead of a hole is accepted",
    file: "event/acceptance.ts",
    line: "if (header.number > highest.number + 1) {",
    becomes: "if (header.number > highest.number + 2) {",
  },
  {
    name: "another batch of the same number passes for a duplicate",
    file: "event/acceptance.ts",
    line: "const isSame = header.number < highest.number || header.digest === highest.digest;",
    becomes: "const isSame = true;",
  },
  {
    name: "a batch that does not continue the chain is accepted",
    file: "event/acceptance.ts",
    line: "if (header.number > 1 && header.previous !== highest.digest) {",
    becomes: "if (false) {",
  },
  {
    name: "a payload is accepted that is not the one its header tells of",
    file: "event/arrival.ts",
    line: "return digestOf(payload) === parsed.header.digest",
    becomes: "return payload.length > 0",
  },
  {
    name: "the message after the committed one is passed over",
    file: "pipeline/rollup-session.ts",
    line: "fromSequence: start.state.sequence + 1,",
    becomes: "fromSequence: start.state.sequence + 2,",
  },
  {
    name: "the next round begins where the one before it did",
    file: "pipeline/rollup-session.ts",
    line: "this.#collected = apart.round.state;",
    becomes: "",
  },
  {
    name: "agents are told of what is not committed yet",
    file: "pipeline/rollup-session.ts",
    line: "state: () => this.#state,",
    becomes: "state: () => this.#collected,",
  },
  {
    name: "the message at the committed sequence is purged",
    file: "pipeline/truncation.ts",
    line: "return Math.max(1, Math.min(committed, young ?? Infinity, needed ?? Infinity));",
    becomes: "return Math.max(1, Math.min(committed + 1, young ?? Infinity, needed ?? Infinity));",
  },
  {
    name: "a stream that was made again goes on under the old incarnation",
    file: "pipeline/stream-start.ts",
    line:
      "state: known.incarnation === incarnation ? known : startIncarnation(known, incarnation),",
    becomes: "state: known,",
  },
  {
    name: "a delivery that was lost on its way is not missed",
    file: "runtime/stream-reader.ts",
    line: "if (place === undefined || place.delivery !== this.#deliveries + 1) return this.#end();",
    becomes: "if (place === undefined) return this.#end();",
  },
  {
    name: "a spool releases one batch too many",
    file: "producer/resend-rules.ts",
    line: "release(state, { number, digest });",
    becomes: "release(state, { number: number + 1, digest });",
  },
  {
    name: "a batch that the record passed over is not sent again",
    file: "producer/resend-rules.ts",
    line:
      "applies: (state, watermark) => isPassedOver(state, watermark) && isRested(state, watermark),",
    becomes: "applies: () => false,",
  },
  {
    name: "a batch travels before it is durable",
    file: "producer/spool-segments.ts",
    line: "await file.datasync();",
    becomes: "",
  },
];

/** The text of a source file with the bug in it. Throws when the line does not stand there exactly once. */
export function plant(text: string, { file, line, becomes }: Omit<Mutation, "name">): string {
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
