/**
 * The drop folder: programs that run by themselves write a file in `tmp/` and rename it into `new/`; each of its lines is
 * an event.
 *
 * Invariants: a file is told once, whatever ends the agent: its lines are committed together with its identity, then it is
 * removed, then its identity is forgotten. What is refused is told and put into `refused/`, or removed when that is full.
 */
import { constants, lstatSync } from "node:fs";
import { access, mkdir, opendir, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { AuditEvent } from "../../../../event/event.ts";
import type { HookStatus } from "../../../source.ts";
import { createUserNames } from "../../../user-names.ts";
import { textOfBytes } from "../../../byte-text.ts";
import { type Collection, type CollectorContext, EVENTS_MAX, type Memory } from "../collector.ts";
import { eventOfLine } from "../commands/line-event.ts";
import { createLineSplitter, type OutputLine } from "../commands/line-splitter.ts";
import { atIntervals } from "../differential.ts";
import { type DroppedFile, identityOf, readDropped } from "./dropped-file.ts";

export interface DropFolderOptions {
  /** Holds `tmp`, `new` and `refused`, which are made where they are missing. */
  readonly path: string;
  readonly intervalMs?: number;
  /** Names that one look reads: of more files the rest comes with the next. */
  readonly namesPerLook?: number;
}

/** How often it is looked for new files. */
export const DROP_INTERVAL_MS = 1_000;
/** Topic of lines that name none. */
export const DROP_TOPIC = "app/drop";
const NAMES_PER_LOOK = 10_000;
/** Names that one call reads; Deno (2.9) wants it to be said. */
const NAMES_PER_READ = 32;
/** Deno (2.9) gives names as UTF-8, whatever it is asked for; what is none it does not find then, and leaves. */
const NAME_ENCODING = process.versions["deno"] === undefined ? "latin1" : "utf8";
/** Files that cannot be put away and are remembered as told. */
const STUCK_MAX = 10_000;
/** Refused files that are kept. */
export const REFUSED_MAX = 100;
const LINES_PER_COLLECTION = Math.min(1_000, EVENTS_MAX);
/** Bytes of a file that are cut into lines at once. */
const SPLIT_BYTES = 64 * 1024;
const NAME = "drop";
const TOLD = "dropped:";

export async function dropFolderStatus({ path }: DropFolderOptions): Promise<HookStatus> {
  const name = `folder ${path}`;
  try {
    await prepare(path);
    return { name, state: "on" };
  } catch (error) {
    return { name, state: "off", reason: error instanceof Error ? error.message : String(error) };
  }
}

export async function* readDropFolder(
  { path, intervalMs = DROP_INTERVAL_MS, namesPerLook = NAMES_PER_LOOK }: DropFolderOptions,
  { memory, context }: { readonly memory: Memory; readonly context: CollectorContext },
  signal: AbortSignal,
): AsyncGenerator<Collection> {
  const userNames = createUserNames();
  /** What could not be put away: told once. */
  const stuck = new Set<string>();
  let [isTold, isFirst, skipped] = [false, true, 0];
  for await (const _ of atIntervals(context.clock, intervalMs, signal)) {
    try {
      await prepare(path);
      userNames.refresh();
      if (isFirst) yield* forgetRemoved(path, memory);
      isFirst = false;
      const { names, isCut } = await namesIn(join(path, "new"), { skipped, namesPerLook });
      // What stays is passed over by the next look, so that it hides no file behind it.
      if (!isCut) skipped = 0;
      for (const name of names) {
        if (signal.aborted) return;
        const taking = { path, name, stuck, memory, context, nameOf: userNames.nameOf };
        const isGone = yield* takeFile(taking);
        if (isCut && !isGone) skipped += 1;
      }
      isTold = false;
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      if (!isTold) context.lost({ class: "unreadable", count: null, reason: error.message });
      isTold = true;
    }
  }
}

interface Taking {
  readonly path: string;
  readonly name: Buffer;
  readonly stuck: Set<string>;
  readonly memory: Memory;
  readonly context: CollectorContext;
  readonly nameOf: (uid: number) => string | undefined;
}

/** Returns whether it is gone. */
async function* takeFile(taking: Taking): AsyncGenerator<Collection, boolean> {
  const { path, name, stuck, memory } = taking;
  const at = placeOf(join(path, "new"), name);
  const key = TOLD + name.toString("latin1");
  const dropped = await readDropped(at);
  if (dropped.state === "gone") return true;
  if (stuck.has(dropped.identity)) return false;
  yield* tellFile(dropped, { ...taking, key, told: progressOf(memory.get(key), dropped.identity) });
  if (await putAway(dropped, { path, name })) {
    yield { events: [], forget: [key] };
    return true;
  }
  if (stuck.size < STUCK_MAX) stuck.add(dropped.identity);
  return false;
}

/** From the line on that an agent which was ended before had not come to. */
function* tellFile(
  dropped: Exclude<DroppedFile, { state: "gone" }>,
  { name, context: { clock }, nameOf, key, told }: Taking & {
    readonly key: string;
    readonly told: number;
  },
): Generator<Collection> {
  const { identity, uid } = dropped;
  const user = nameOf(uid);
  const columns = { uid, ...(user === undefined ? {} : { user }) };
  const progress = (lines: number) => new Map([[key, `${identity} ${lines}`]]);
  if (dropped.state === "refused") {
    const event = refusedEvent(textOfBytes(name).text, { reason: dropped.reason, columns });
    if (told === 0) yield { events: [{ ...event, timeUs: clock.nowUs() }], put: progress(1) };
    return;
  }
  let [events, count]: [AuditEvent[], number] = [[], 0];
  for (const { bytes, isCut } of linesOf(dropped.bytes)) {
    count += 1;
    if (count <= told) continue;
    const origin = { name: NAME, topic: DROP_TOPIC, nowUs: clock.nowUs(), isCut, columns };
    events.push(eventOfLine(bytes, origin));
    if (events.length < LINES_PER_COLLECTION) continue;
    yield { events, put: progress(count) };
    events = [];
  }
  if (events.length > 0) yield { events, put: progress(count) };
}

/** One after the other: all lines of a file, as objects, are a hundred times its size. */
function* linesOf(bytes: Uint8Array): Generator<OutputLine> {
  const splitter = createLineSplitter();
  for (let at = 0; at < bytes.length; at += SPLIT_BYTES) {
    yield* splitter.push(bytes.subarray(at, at + SPLIT_BYTES));
  }
  yield* splitter.end();
}

function refusedEvent(
  file: string,
  { reason, columns }: {
    readonly reason: string;
    readonly columns: { readonly uid: number; readonly user?: string };
  },
): Omit<AuditEvent, "timeUs"> {
  return {
    topic: "agent/collector",
    severity: "medium",
    outcome: "failure",
    service: NAME,
    ...columns,
    message: `The dropped file ${JSON.stringify(file)} was refused: ${reason}.`,
    detail: { collector: NAME, state: "refused", file, reason },
  };
}

/** Lines that were told of this file. */
function progressOf(known: string | undefined, identity: string): number {
  const [of, lines] = known?.split(" ") ?? [];
  return of === identity ? Number(lines) : 0;
}

/** Removes what was read, and sets aside what was refused. False when it has to stay. */
async function putAway(
  { state }: DroppedFile,
  { path, name }: { readonly path: string; readonly name: Buffer },
): Promise<boolean> {
  const [at, aside] = ["new", "refused"].map((folder) => placeOf(join(path, folder), name));
  if (at === undefined || aside === undefined) return false;
  try {
    const isKept = state === "refused" &&
      (await readdir(join(path, "refused"))).length < REFUSED_MAX;
    if (isKept) await rename(at, aside);
    else await unlink(at);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error) return error.code === "ENOENT";
    throw error;
  }
}

/** What was told of files that are gone, or of others under their names. */
async function* forgetRemoved(path: string, memory: Memory): AsyncGenerator<Collection> {
  const forget: string[] = [];
  for (const [key, known] of memory.entries(TOLD)) {
    const name = Buffer.from(key.slice(TOLD.length), "latin1");
    const identity = await identityOf(placeOf(join(path, "new"), name));
    if (identity === undefined || progressOf(known, identity) === 0) forget.push(key);
  }
  if (forget.length > 0) yield { events: [], forget };
}

/** Names of files are bytes; of very many only some are looked at, after those that are passed over. */
async function namesIn(
  folder: string,
  { skipped, namesPerLook }: { readonly skipped: number; readonly namesPerLook: number },
): Promise<{ readonly names: readonly Buffer[]; readonly isCut: boolean }> {
  const names: string[] = [];
  const options = { encoding: NAME_ENCODING, bufferSize: NAMES_PER_READ } as const;
  let left = skipped;
  for await (const { name } of await opendir(folder, options)) {
    if (left-- > 0) continue;
    if (names.push(name) >= namesPerLook) break;
  }
  const sorted = names.toSorted().map((name) => Buffer.from(name, NAME_ENCODING));
  return { names: sorted, isCut: names.length >= namesPerLook };
}

function placeOf(folder: string, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), name]);
}

/** Makes what is missing. Throws with a `code` when it is no folder, or one that files cannot be taken from. */
async function prepare(path: string): Promise<void> {
  for (const folder of [path, ...["tmp", "new", "refused"].map((name) => join(path, name))]) {
    const found = lstatSync(folder, { throwIfNoEntry: false });
    if (found === undefined) await mkdir(folder, { mode: 0o700 });
    else if (!found.isDirectory()) {
      throw Object.assign(new Error(`Cannot use "${folder}": it is no folder`), {
        code: "ENOTDIR",
      });
    }
  }
  await access(join(path, "new"), constants.R_OK | constants.W_OK | constants.X_OK);
}
