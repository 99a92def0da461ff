/**
 * The acceptance state at rest: an immutable object under the digest of its text, named by the commit it belongs to.
 * The text is stored compressed: a commit writes it whole, and it has a line for each agent.
 *
 * Invariant: equal states have equal text and so one key, whatever compresses them; what is read back has the digest
 * its key says. Keys and digests outlive processes, so the text is canonical and read strictly.
 */
import type { AcceptanceState, AgentStanding, Standing } from "../event/acceptance.ts";
import type { AheadRange, GivenUpRange } from "../event/outstanding.ts";
import type { Fork } from "../event/watermark.ts";
import { digestOf } from "../event/wire.ts";
import { compressFrame, decompressFrame } from "../runtime/zstd.ts";
import { putForCommit, type ReuseRule } from "./content-object.ts";
import { canonicalJson, isRecord } from "./json-text.ts";
import { stateKey } from "./layout.ts";
import type { ObjectStore, RequestOptions } from "./object-store.ts";

/** Largest text of a state, in bytes: some 3,000,000 agents. */
const STATE_BYTES_MAX = 512 * 1024 * 1024;

/** Writes a shard's state unless it stands there already; its key. */
export async function putState(
  store: ObjectStore,
  state: AcceptanceState,
  options: RequestOptions & ReuseRule & { readonly shard: string },
): Promise<string> {
  const { shard, nowMs, reuseAgeMaxMs, ...request } = options;
  const text = new TextEncoder().encode(canonicalJson(state));
  const sha256 = digestOf(text);
  const body = await compressFrame(text);
  return await putForCommit(store, {
    nameAt: (place) => stateKey(shard, sha256, place),
    keyOf: (key) => key,
    write: (key) => store.putIfAbsent(key, body, request),
  }, { ...request, nowMs, reuseAgeMaxMs });
}

/** Reads the state a commit names. Throws when it is missing, is not what its key says, or is no state. */
export async function readState(
  store: ObjectStore,
  key: string,
  options: RequestOptions = {},
): Promise<AcceptanceState> {
  const found = await store.get(key, options);
  const name = `state ${JSON.stringify(key)} in ${store.url}`;
  if (found === undefined) throw new Error(`Cannot read ${name}: it is missing`);
  try {
    const text = await decompressFrame(found.body, STATE_BYTES_MAX);
    if (!key.endsWith(`/${digestOf(text)}`)) {
      throw new SyntaxError("its content is not that of its digest");
    }
    return parseState(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text)));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot read ${name}: ${reason}`, { cause });
  }
}

type Fields = Readonly<Record<string, unknown>>;

function parseState(value: unknown): AcceptanceState {
  const body = fieldsOf(value, "the state");
  return {
    incarnation: textOf(body, "incarnation"),
    sequence: naturalOf(body, "sequence"),
    digest: textOf(body, "digest"),
    agents: agentsOf(body.agents),
  };
}

/** Checked where they stand: a copy of a hundred thousand of them would take longer than the check. */
function agentsOf(value: unknown): AcceptanceState["agents"] {
  requireEach(value, "agents", requireAgent);
  return value;
}

function requireAgent(value: unknown): asserts value is AgentStanding {
  const body = fieldsOf(value, "an agent");
  textOf(body, "current");
  requireEach(body.epochs, "epochs", requireStanding);
  if (body.fork !== undefined) requireFork(body.fork);
}

function requireStanding(value: unknown): asserts value is Standing {
  const body = fieldsOf(value, "an epoch");
  requireBatch(value);
  if (body.ahead !== undefined) requireAll(body.ahead, "ahead", requireAhead);
  if (body.givenUp !== undefined) requireAll(body.givenUp, "givenUp", requireGivenUp);
}

function requireAhead(value: unknown): asserts value is AheadRange {
  const body = fieldsOf(value, "a range ahead");
  textOf(body, "incarnation");
  for (const name of ["first", "last", "lastUs", "highest"]) naturalOf(body, name);
}

function requireGivenUp(value: unknown): asserts value is GivenUpRange {
  const body = fieldsOf(value, "a range given up");
  for (const name of ["first", "last"]) naturalOf(body, name);
  textOf(body, "digest");
}

function requireBatch(value: unknown): asserts value is Pick<Standing, "number" | "digest"> {
  const body = fieldsOf(value, "a batch");
  naturalOf(body, "number");
  textOf(body, "digest");
}

function requireFork(value: unknown): asserts value is Fork {
  textOf(fieldsOf(value, "a fork"), "epoch");
  requireBatch(value);
}

function requireEach<T>(
  value: unknown,
  name: string,
  require: (each: unknown) => asserts each is T,
): asserts value is Readonly<Record<string, T>> {
  for (const each of Object.values(fieldsOf(value, name))) require(each);
}

function requireAll<T>(
  value: unknown,
  name: string,
  require: (each: unknown) => asserts each is T,
): asserts value is readonly T[] {
  if (!Array.isArray(value)) throw new SyntaxError(`"${name}" is no list`);
  for (const each of value) require(each);
}

function fieldsOf(value: unknown, name: string): Fields {
  if (isRecord(value)) return value;
  throw new SyntaxError(`${name} is no object`);
}

function textOf(body: Fields, name: string): string {
  const value = body[name];
  if (typeof value === "string") return value;
  throw new SyntaxError(`"${name}" is no text`);
}

function naturalOf(body: Fields, name: string): number {
  const value = body[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new SyntaxError(`"${name}" is no number from 0 to 2^53`);
}
