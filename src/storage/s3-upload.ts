/**
 * Large files into S3: in parts that become the object only if nothing stands there when they are put together. What is
 * sent is in `s3-store.ts`; in which order, and what is left behind, is here.
 *
 * Invariant: an upload that did not become the object is given up, so that its parts cost nothing.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Log } from "../runtime/log.ts";
import { attempt, attemptConditional, type ConditionalOutcome, s3FailureOf } from "./s3-attempt.ts";

/** Least size of a part, in bytes. */
export const PART_BYTES = 16 * 1024 * 1024;
/** So many parts are in memory and on their way at a time. */
export const PARTS_AT_ONCE = 4;
/** S3 takes at most so many parts. */
export const PARTS_MAX = 10_000;

export interface UploadedPart {
  readonly number: number;
  readonly etag: string | undefined;
  readonly sha256: string | undefined;
}

/** The requests of one upload in parts. */
export interface PartRequests {
  create(): Promise<string>;
  part(upload: string, number: number, body: Uint8Array): Promise<UploadedPart>;
  /** Puts the parts together on the condition that nothing stands there. */
  complete(upload: string, parts: readonly UploadedPart[]): Promise<void>;
  abort(upload: string): Promise<void>;
}

export interface UploadOptions {
  readonly signal: AbortSignal | undefined;
  readonly log: Log;
}

export async function uploadParts(
  requests: PartRequests,
  bodies: AsyncIterable<Uint8Array>,
  options: UploadOptions,
): Promise<ConditionalOutcome> {
  const { signal } = options;
  const upload = await attempt(() => requests.create(), signal);
  let isDone = false;
  try {
    const parts = await sendParts({ requests, upload, signal }, bodies);
    const outcome = await attemptConditional(() => requests.complete(upload, parts), signal);
    isDone = outcome.kind === "done";
    return outcome;
  } finally {
    if (!isDone) await giveUp(requests, upload, options.log);
  }
}

/** Sends several parts at a time; one that fails for good ends the others. */
async function sendParts(
  { requests, upload, signal }: {
    readonly requests: PartRequests;
    readonly upload: string;
    readonly signal: AbortSignal | undefined;
  },
  bodies: AsyncIterable<Uint8Array>,
): Promise<readonly UploadedPart[]> {
  const stop = new AbortController();
  const ends = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const iterator = bodies[Symbol.asyncIterator]();
  const parts: UploadedPart[] = [];
  let count = 0;
  const send = async (): Promise<void> => {
    for (;;) {
      ends.throwIfAborted();
      // Bodies come in the order in which they are asked for.
      const number = ++count;
      const { done, value: body } = await iterator.next();
      if (done === true) return;
      parts[number - 1] = await attempt(() => requests.part(upload, number, body), ends);
    }
  };
  const sending = Array.from({ length: PARTS_AT_ONCE }, () => send());
  try {
    await Promise.all(sending);
    return parts;
  } finally {
    stop.abort();
    await Promise.allSettled(sending);
    await iterator.return?.();
  }
}

/** Whether a service refuses to put parts together where something stands; `requests` are for such a key. */
export async function refusesCompletion(
  requests: PartRequests,
  options: UploadOptions,
): Promise<boolean> {
  try {
    const outcome = await uploadParts(requests, trialParts(), options);
    if (outcome.kind === "ambiguous") throw outcome.error;
    return outcome.kind === "refused";
  } catch (error) {
    if (s3FailureOf(error) === "final") return false;
    throw error;
  }
}

/** A file in parts of at least {@link PART_BYTES}, at most {@link PARTS_MAX} of them. */
export async function* partsOfFile(path: string, sizeBytes: number): AsyncIterable<Uint8Array> {
  const partBytes = Math.max(PART_BYTES, Math.ceil(sizeBytes / PARTS_MAX));
  await using file = await open(path, "r");
  for (let from = 0; from < sizeBytes; from += partBytes) {
    yield await readPart(file, { from, bytes: Math.min(partBytes, sizeBytes - from) });
  }
}

/** Digests of a file as S3 wants them in headers, Base64. */
export async function digestsOfFile(
  path: string,
): Promise<{ readonly sha256: string; readonly md5: string }> {
  const [sha256, md5] = [createHash("sha256"), createHash("md5")];
  for await (const chunk of createReadStream(path)) {
    sha256.update(chunk);
    md5.update(chunk);
  }
  return { sha256: sha256.digest("base64"), md5: md5.digest("base64") };
}

async function readPart(
  file: FileHandle,
  { from, bytes }: { readonly from: number; readonly bytes: number },
): Promise<Uint8Array> {
  const part = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const { bytesRead } = await file.read(part, at, bytes - at, from + at);
    if (bytesRead === 0) throw new RangeError(`the file ended after ${from + at} bytes`);
    at += bytesRead;
  }
  return part;
}

async function* trialParts(): AsyncIterable<Uint8Array> {
  yield await Promise.resolve(new TextEncoder().encode("probe\n"));
}

async function giveUp(requests: PartRequests, upload: string, log: Log): Promise<void> {
  try {
    await requests.abort(upload);
  } catch (error) {
    // The parts cost money until a lifecycle rule takes them, but hide nothing; what led here matters more.
    log.warn("cannot abort an upload", { upload, error: String(error) });
  }
}
