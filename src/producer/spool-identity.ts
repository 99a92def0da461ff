/**
 * Who a spool is: the agent's name, made once, and its epochs, in the file `identity.json`. The file is replaced whole
 * (written beside, fsynced, renamed, folder fsynced), so that it is always one version or the other.
 *
 * Invariant: an agent's name and an epoch that was ever used are never made up a second time.
 */
import { randomBytes } from "node:crypto";
import { link, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { makeFolders } from "../runtime/folders.ts";
import { isAgentName, isShardName } from "../event/wire.ts";

/** A run of batches with one chain of numbers: those with ordinals above `base`, up to the next epoch's base. */
export interface Epoch {
  readonly epoch: string;
  readonly shard: string;
  /** Ordinal of the last batch before the epoch: batch `n` of it has the ordinal `base + n`. */
  readonly base: number;
  /** Digest that its first batch names as the one before it: the last that its shard's record knows; "" for none. */
  readonly previous: string;
}

export interface SpoolIdentity {
  readonly format: 1;
  readonly agent: string;
  /** Oldest first; the last is the one that new batches belong to. */
  readonly epochs: readonly Epoch[];
  /** Every batch up to this ordinal was accepted, or went over to another epoch, when this was written. */
  readonly released: number;
  /** Digest of the last batch for each shard that the agent has left, so that it goes on there when it comes back. */
  readonly ends: Readonly<Record<string, string>>;
}

const FILE = "identity.json";
const EPOCH_BYTES = 8;
const AGENT_BYTES = 8;

export function createEpochName(): string {
  return randomBytes(EPOCH_BYTES).toString("hex");
}

/**
 * The name of the agent whose spool this is, made together with the spool's folder when there is none yet. For whoever
 * sets up the agent's key before the agent runs for the first time.
 */
export async function ensureAgentName(directory: string): Promise<string> {
  return (await ensureIdentity(directory)).agent;
}

/** The identity of a spool; a new one without epochs when there is none. Safe to call from several processes. */
export async function ensureIdentity(directory: string): Promise<SpoolIdentity> {
  makeFolders(directory, 0o700);
  const known = await readIdentity(directory);
  if (known !== undefined) return known;
  const agent = randomBytes(AGENT_BYTES).toString("hex");
  const draft = await writeBeside(directory, {
    format: 1,
    agent,
    epochs: [],
    released: 0,
    ends: {},
  });
  try {
    await link(draft, join(directory, FILE));
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
  } finally {
    await rm(draft);
  }
  await syncFolder(directory);
  const made = await readIdentity(directory);
  if (made === undefined) {
    throw new Error(`Cannot open spool "${directory}": its identity vanished`);
  }
  return made;
}

export async function writeIdentity(directory: string, identity: SpoolIdentity): Promise<void> {
  const draft = await writeBeside(directory, identity);
  await rename(draft, join(directory, FILE));
  await syncFolder(directory);
}

/** Makes names in a folder durable. */
export async function syncFolder(directory: string): Promise<void> {
  const folder = await open(directory, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

async function readIdentity(directory: string): Promise<SpoolIdentity | undefined> {
  const path = join(directory, FILE);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
  const identity = parseIdentity(text);
  if (identity === undefined) {
    throw new Error(`Cannot open spool "${directory}": "${path}" is damaged`);
  }
  return identity;
}

function parseIdentity(text: string): SpoolIdentity | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value["format"] !== 1 || !Array.isArray(value["epochs"])) {
    return undefined;
  }
  const { agent, released } = value;
  const ends = parseEnds(value["ends"] ?? {});
  const epochs = value["epochs"].map(parseEpoch);
  const known = epochs.filter((epoch) => epoch !== undefined);
  const isWhole = typeof agent === "string" && isAgentName(agent) && isNatural(released) &&
    known.length === epochs.length && ends !== undefined;
  return isWhole ? { format: 1, agent, epochs: known, released, ends } : undefined;
}

function parseEnds(value: unknown): Readonly<Record<string, string>> | undefined {
  if (!isRecord(value)) return undefined;
  const ends: Record<string, string> = {};
  for (const [shard, digest] of Object.entries(value)) {
    if (typeof digest !== "string" || !isShardName(shard)) return undefined;
    ends[shard] = digest;
  }
  return ends;
}

function parseEpoch(value: unknown): Epoch | undefined {
  if (!isRecord(value)) return undefined;
  const { epoch, shard, base, previous } = value;
  const isWhole = typeof epoch === "string" && typeof shard === "string" && isShardName(shard) &&
    isNatural(base) && typeof previous === "string";
  return isWhole ? { epoch, shard, base, previous } : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

async function writeBeside(directory: string, identity: SpoolIdentity): Promise<string> {
  const path = join(directory, `${FILE}.${randomBytes(4).toString("hex")}`);
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(`${JSON.stringify(identity)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  return path;
}
