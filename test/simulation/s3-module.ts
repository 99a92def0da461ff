/**
 * What the software under simulation gets for the S3 SDK: a client whose requests travel to the simulated bucket and
 * may get lost on either way. A request that left a machine arrives even if the machine dies meanwhile.
 */
import type { Condition } from "./bucket.ts";
import type { Random } from "./random.ts";
import { afterIn, type Life, lifeAt, never, stage } from "./stage.ts";

interface Input {
  readonly Key?: string;
  readonly Prefix?: string;
  readonly StartAfter?: string;
  readonly Body?: Uint8Array;
  readonly IfNoneMatch?: string;
  readonly IfMatch?: string;
}

type Kind = "get" | "head" | "put" | "delete" | "list";

class Command {
  readonly kind: Kind;
  readonly input: Input;

  constructor(kind: Kind, input: Input) {
    this.kind = kind;
    this.input = input;
  }
}

/** A command's constructor is a function here: `new` gives back what it returns. */
const commandOf = (kind: Kind) =>
  function (input: Input): Command {
    return new Command(kind, input);
  };

export const GetObjectCommand = commandOf("get");
export const HeadObjectCommand = commandOf("head");
export const PutObjectCommand = commandOf("put");
export const DeleteObjectCommand = commandOf("delete");
export const ListObjectsV2Command = commandOf("list");

/** Objects in a simulation are small: nothing goes up in parts. */
function noParts(): never {
  throw new Error("Cannot simulate: uploads in parts are not part of the simulation");
}
export const AbortMultipartUploadCommand = noParts;
export const CompleteMultipartUploadCommand = noParts;
export const CreateMultipartUploadCommand = noParts;
export const UploadPartCommand = noParts;

class S3Fault extends Error {
  readonly code: string;
  readonly $metadata: { readonly httpStatusCode?: number };

  constructor(name: string, options: { readonly status?: number; readonly code?: string }) {
    super(`as simulated`);
    this.name = name;
    this.code = options.code ?? "";
    this.$metadata = options.status === undefined ? {} : { httpStatusCode: options.status };
  }
}

const PAGE_KEYS = 5;
const TRAVEL_US = 15_000;
const SLOW_US = 8_000_000;
const STALE_US = 4_000_000;
/** How long a client waits for an answer that does not come. */
const SILENCE_US = 5_000_000;
const LATE_US = 12_000_000;
/** Of what is sent to a bucket that cannot be reached. */
const ARRIVES_SHARE = 0.2;

export class S3Client {
  readonly #life: Life;

  constructor(options: { readonly endpoint?: string }) {
    this.#life = lifeAt((options.endpoint ?? "").replace(/^.*\/\//, ""));
  }

  destroy(): void {}

  send(command: Command, options: { readonly abortSignal?: AbortSignal } = {}): Promise<unknown> {
    if (!this.#life.isAlive()) return never();
    const { abortSignal } = options;
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(new S3Fault("AbortError", {}));
      if (abortSignal?.aborted === true) return abort();
      abortSignal?.addEventListener("abort", abort, { once: true });
      const answer = (delayUs: number, reply: () => void): void => {
        afterIn(this.#life, delayUs, () => {
          abortSignal?.removeEventListener("abort", abort);
          reply();
        });
      };
      travel(command, {
        reply: (delayUs, work) =>
          answer(delayUs, () => {
            try {
              resolve(work());
            } catch (error) {
              reject(error);
            }
          }),
      });
    });
  }
}

/** Sends a request on its way; what becomes of it is drawn now. */
function travel(
  command: Command,
  { reply }: { readonly reply: (delayUs: number, work: () => unknown) => void },
): void {
  const { time, random, faults, bucket } = stage();
  const { kind, input } = command;
  const isWrite = kind === "put" || kind === "delete";
  const isConditional = input.IfNoneMatch !== undefined || input.IfMatch !== undefined;
  const there = random.next() * TRAVEL_US +
    (random.chance(faults.storeSlow) ? random.next() * SLOW_US : 0);
  const back = random.next() * TRAVEL_US;
  const silence = random.next() * SILENCE_US;
  const fails = (error: S3Fault) => (): never => {
    throw error;
  };
  if (bucket.isDown) {
    const arrives = isWrite && random.chance(ARRIVES_SHARE);
    if (arrives) time.after(there, () => void settle(() => perform(command)));
    const isBusy = !arrives && random.chance(0.3);
    return reply(silence, fails(isBusy ? new S3Fault("SlowDown", { status: 503 }) : cut(random)));
  }
  if (random.chance(faults.storeBusy)) {
    return reply(there + back, fails(new S3Fault("SlowDown", { status: 503 })));
  }
  if (isConditional && random.chance(faults.storeConflict)) {
    return reply(there, fails(new S3Fault("ConditionalRequestConflict", { status: 409 })));
  }
  const lost = cut(random);
  if (random.chance(faults.storeRequestLost)) return reply(silence, fails(lost));
  if (isWrite && random.chance(faults.storeLate)) {
    time.after(random.next() * LATE_US, () => void settle(() => perform(command)));
    return reply(silence, fails(lost));
  }
  const isAnswerLost = isWrite && random.chance(faults.storeAnswerLost);
  time.after(there, () => {
    const outcome = settle(() => perform(command));
    if (isAnswerLost) return reply(back + silence, fails(lost));
    reply(back, () => {
      if (outcome.ok) return outcome.value;
      throw outcome.error;
    });
  });
}

/** An error that does not say whether anything was done. */
function cut(random: Random): S3Fault {
  return random.chance(0.5)
    ? new S3Fault("Error", { code: "ECONNRESET" })
    : new S3Fault("InternalError", { status: 500 });
}

type Outcome = { readonly ok: true; readonly value: unknown } | {
  readonly ok: false;
  readonly error: unknown;
};

function settle(work: () => unknown): Outcome {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    if (!(error instanceof S3Fault)) throw error;
    return { ok: false, error };
  }
}

function perform({ kind, input }: Command): unknown {
  const { bucket, time, random, faults } = stage();
  const { Key: key = "" } = input;
  const isStale = random.chance(faults.storeStale);
  const asOfUs = isStale ? time.nowUs - random.next() * STALE_US : time.nowUs;
  switch (kind) {
    case "put":
      if (bucket.put(key, input.Body ?? new Uint8Array(), writing(input))) return {};
      throw new S3Fault("PreconditionFailed", { status: 412 });
    case "delete":
      bucket.delete(key, time.nowUs);
      return {};
    case "get": {
      const found = bucket.at(key, asOfUs);
      if (found?.body === undefined) throw new S3Fault("NoSuchKey", { status: 404 });
      return { Body: bodyOf(found.body), ETag: found.etag, ContentLength: found.body.length };
    }
    case "head": {
      const found = bucket.at(key, asOfUs);
      if (found?.body === undefined) throw new S3Fault("NotFound", { status: 404 });
      const LastModified = new Date(found.atUs / 1000);
      return { ContentLength: found.body.length, LastModified, ETag: found.etag };
    }
    case "list": {
      const after = input.StartAfter ?? "";
      const keys = bucket.keys(input.Prefix ?? "", asOfUs).filter((each) => each > after);
      const Contents = keys.slice(0, PAGE_KEYS).map((each) => ({
        Key: each,
        Size: bucket.at(each, asOfUs)?.body?.length ?? 0,
        LastModified: new Date((bucket.at(each, asOfUs)?.atUs ?? 0) / 1000),
      }));
      return { Contents, IsTruncated: keys.length > PAGE_KEYS };
    }
  }
}

function writing(input: Input): { readonly condition: Condition; readonly atUs: number } {
  const atUs = stage().time.nowUs;
  if (input.IfNoneMatch !== undefined) return { condition: { kind: "absent" }, atUs };
  if (input.IfMatch === undefined) return { condition: { kind: "none" }, atUs };
  // Amazon's rule: with or without quotes.
  const etag = `"${input.IfMatch.replaceAll('"', "")}"`;
  return { condition: { kind: "etag", etag }, atUs };
}

function bodyOf(bytes: Uint8Array) {
  return {
    transformToByteArray: () => Promise.resolve(bytes.slice()),
    transformToWebStream: () =>
      new ReadableStream({
        start(controller) {
          controller.enqueue(bytes.slice());
          controller.close();
        },
      }),
  };
}
