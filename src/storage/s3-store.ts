/**
 * A bucket of S3, or of a service that speaks its protocol, as the object store. The only file that imports the SDK.
 *
 * Invariants: every conditional write carries its condition to the server; an answer that was lost is an
 * {@link AmbiguousWriteError}, never a guess. Content is checked by SHA-256 where the service checks it.
 * Sources: Amazon S3 API reference (PutObject, CompleteMultipartUpload, ListObjectsV2), S3 user guide "Conditional
 * writes".
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { randomBytes, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import type { Log } from "../runtime/log.ts";
import { verifyConditions } from "./conditional-put.ts";
import { moveOver, removeIfPresent, writeStream } from "./fs-write.ts";
import { probeKey } from "./layout.ts";
import { checkKeyPrefix, checkObjectKey, isObjectKey } from "./object-key.ts";
import { AmbiguousWriteError, type ObjectEntry, type ObjectStore } from "./object-store.ts";
import type { DeleteOptions, RequestOptions, StoredObject } from "./object-store.ts";
import {
  attempt,
  attemptConditional,
  type ConditionalOutcome,
  s3FailureOf,
  s3Reason,
} from "./s3-attempt.ts";
import {
  protectionFault,
  type ProtectionFields,
  protectionOf,
  type S3Protection,
  trialOf,
} from "./s3-protection.ts";
import {
  digestsOfFile,
  type PartRequests,
  partsOfFile,
  refusesCompletion,
  uploadParts,
} from "./s3-upload.ts";
import { parseS3Url, type S3Place } from "./s3-url.ts";

/** Larger files go up in parts, in bytes. */
export const SINGLE_PUT_BYTES_MAX = 64 * 1024 * 1024;
/** Largest object that S3 takes in one request, in bytes. */
const REQUEST_BYTES_MAX = 5 * 1024 ** 3;
const CONNECT_LIMIT_MS = 5_000;
/** A connection on which nothing moves for so long is given up. */
const IDLE_LIMIT_MS = 60_000;

export interface S3StoreOptions {
  /** `s3://bucket` or `s3://bucket/prefix`. Credentials come from the SDK's default chain. */
  readonly url: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
  /** Encryption and locks that are asked for; without it, what the bucket itself does. */
  readonly protection?: S3Protection;
  readonly log: Log;
}

/** Opens a bucket without asking it anything yet. The caller disposes of it. */
export function openS3Store(options: S3StoreOptions): ObjectStore {
  const { bucket, prefix } = parseS3Url(options.url);
  // A service of one's own rarely has regions, but signing needs one.
  const region = options.region ?? (options.endpoint === undefined ? undefined : "us-east-1");
  const client = new S3Client({
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(region === undefined ? {} : { region }),
    forcePathStyle: options.pathStyle ?? false,
    maxAttempts: 1,
    requestHandler: { connectionTimeout: CONNECT_LIMIT_MS, socketTimeout: IDLE_LIMIT_MS },
  });
  const { url, protection = {}, log } = options;
  return new S3Store(client, { url, bucket, prefix, protection, log });
}

interface Place extends S3Place {
  readonly url: string;
  readonly protection: S3Protection;
  readonly log: Log;
}

interface Target {
  readonly Bucket: string;
  readonly Key: string;
}

class S3Store implements ObjectStore {
  readonly url: string;
  readonly #client: S3Client;
  readonly #place: Place;
  #refusesCompletion: Promise<boolean> | undefined;

  constructor(client: S3Client, place: Place) {
    this.url = place.url;
    this.#client = client;
    this.#place = place;
  }

  get(key: string, options: RequestOptions = {}): Promise<StoredObject | undefined> {
    return this.#read(key, options, async (target) => {
      const found = await this.#client.send(new GetObjectCommand(target), abortOf(options));
      const body = await found.Body?.transformToByteArray() ?? new Uint8Array();
      return { body, etag: found.ETag ?? "" };
    });
  }

  head(key: string, options: RequestOptions = {}): Promise<ObjectEntry | undefined> {
    return this.#read(key, options, async (target) => {
      const found = await this.#client.send(new HeadObjectCommand(target), abortOf(options));
      const { ContentLength = 0, LastModified } = found;
      return { key, sizeBytes: ContentLength, modifiedAtMs: LastModified?.getTime() ?? 0 };
    });
  }

  put(key: string, body: Uint8Array, options: RequestOptions = {}): Promise<void> {
    return this.#run("write", key, options, async (target) => {
      await attempt(() => this.#put({ ...target, Body: body }, options), options.signal);
    });
  }

  putIfAbsent(key: string, body: Uint8Array, options: RequestOptions = {}) {
    return this.#run("write", key, options, (target) => {
      const work = () => this.#put({ ...target, Body: body, IfNoneMatch: "*" }, options);
      return this.#created(key, attemptConditional(work, options.signal));
    });
  }

  async putFileIfAbsent(key: string, path: string, options: RequestOptions = {}) {
    const { size } = await stat(path);
    if (size <= SINGLE_PUT_BYTES_MAX) {
      return await this.putIfAbsent(key, await readFile(path), options);
    }
    if (await this.head(key, options) !== undefined) return "exists";
    return await this.#run("write", key, options, async (target) => {
      const { log } = this.#place;
      const { signal } = options;
      const outcome = await this.#canComplete(options)
        ? uploadParts(this.#partRequests(target, options), partsOfFile(path, size), { signal, log })
        : this.#putStream({ ...target, path, sizeBytes: size }, options);
      return await this.#created(key, outcome);
    });
  }

  replace(key: string, body: Uint8Array, etag: string, options: RequestOptions = {}) {
    return this.#run("replace", key, options, async (target) => {
      const bare = etag.replace(/^"(.*)"$/, "$1");
      const write = async (condition: string): Promise<boolean> => {
        const work = () => this.#put({ ...target, Body: body, IfMatch: condition }, options);
        return await this.#created(key, attemptConditional(work, options.signal)) === "created";
      };
      // Amazon takes an etag with or without its quotes, Ceph 16 only without, a strict reader of HTTP only with.
      if (await write(bare)) return "replaced" as const;
      const found = await this.get(key, options);
      if (found === undefined || found.etag !== etag || bare === etag) return "changed" as const;
      return await write(etag) ? "replaced" as const : "changed" as const;
    });
  }

  delete(key: string, options: DeleteOptions = {}): Promise<void> {
    return this.#run("delete", key, options, async (target) => {
      const send = () => this.#client.send(new DeleteObjectCommand(target), abortOf(options));
      await (options.isSentOnce ? send() : attempt(send, options.signal));
    });
  }

  async *list(
    prefix: string,
    options: RequestOptions & { readonly startAfter?: string } = {},
  ): AsyncIterable<ObjectEntry> {
    checkKeyPrefix(prefix);
    const { bucket, prefix: root } = this.#place;
    let startAfter = options.startAfter ?? "";
    for (let isTruncated = true; isTruncated;) {
      const command = new ListObjectsV2Command({
        Bucket: bucket,
        Prefix: root + prefix,
        ...(startAfter === "" ? {} : { StartAfter: root + startAfter }),
      });
      const page = await this.#guard(
        "list",
        prefix,
        options,
        () => attempt(() => this.#client.send(command, abortOf(options)), options.signal),
      );
      for (const { Key = "", Size = 0, LastModified } of page.Contents ?? []) {
        const key = Key.slice(root.length);
        if (startAfter !== "" && key <= startAfter) {
          throw new Error(`Cannot list ${JSON.stringify(prefix)} in ${this.url}: not in key order`);
        }
        startAfter = key;
        if (!isObjectKey(key)) continue;
        yield { key, sizeBytes: Size, modifiedAtMs: LastModified?.getTime() ?? 0 };
      }
      isTruncated = page.IsTruncated === true && (page.Contents ?? []).length > 0;
    }
  }

  async download(key: string, path: string, options: RequestOptions = {}): Promise<boolean> {
    const temporary = `${path}.part-${randomBytes(8).toString("hex")}`;
    try {
      const done = await this.#read(key, options, async (target) => {
        const found = await this.#client.send(new GetObjectCommand(target), abortOf(options));
        await using file = await open(temporary, "w", 0o640);
        const written = await writeStream(file, found.Body?.transformToWebStream());
        if (written !== (found.ContentLength ?? written)) {
          throw new Error(`the answer ended after ${written} of ${found.ContentLength} bytes`);
        }
        await file.sync();
        return true;
      });
      if (done === true) await moveOver(temporary, path);
      return done === true;
    } finally {
      await removeIfPresent(temporary);
    }
  }

  localPath(key: string): undefined {
    checkObjectKey(key);
    return undefined;
  }

  async verifyConditionalPut(options: RequestOptions = {}): Promise<void> {
    await verifyConditions(this, options);
    const asked = trialOf(this.#place.protection, Date.now());
    if (asked === undefined) return;
    const key = probeKey(randomUUID());
    const answer = await this.#run("protect", key, options, async (target) => {
      const Body = new TextEncoder().encode("probe\n");
      await attempt(() => this.#put({ ...target, ...asked, Body }, options), options.signal);
      const command = new HeadObjectCommand(target);
      return await attempt(() => this.#client.send(command, abortOf(options)), options.signal);
    });
    await this.delete(key, options);
    const fault = protectionFault(asked, answer);
    if (fault !== undefined) throw new Error(`Cannot use store "${this.url}": ${fault}`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
    return Promise.resolve();
  }

  /** What a conditional write came to; throws when nobody can tell. */
  async #created(
    key: string,
    pending: Promise<ConditionalOutcome>,
  ): Promise<"created" | "exists"> {
    const outcome = await pending;
    if (outcome.kind !== "ambiguous") return outcome.kind === "done" ? "created" : "exists";
    const { error } = outcome;
    const name = JSON.stringify(key);
    const message = `Cannot tell whether ${name} was written to ${this.url}: ${s3Reason(error)}`;
    throw new AmbiguousWriteError(key, message, { cause: error });
  }

  /** Whether the service refuses to put parts together where something stands; tried out once. */
  #canComplete(options: RequestOptions): Promise<boolean> {
    this.#refusesCompletion ??= this.#tryCompletion(options).catch((cause: unknown) => {
      this.#refusesCompletion = undefined;
      throw cause;
    });
    return this.#refusesCompletion;
  }

  async #tryCompletion(options: RequestOptions): Promise<boolean> {
    const key = probeKey(randomUUID());
    await this.put(key, new TextEncoder().encode("probe\n"), options);
    const requests = this.#partRequests(this.#target(key), options);
    const { log } = this.#place;
    const refuses = await refusesCompletion(requests, { signal: options.signal, log });
    await this.delete(key, options);
    return refuses;
  }

  /** One request for the whole file, for services that put parts together without asking for the condition. */
  async #putStream(
    file: Target & { readonly path: string; readonly sizeBytes: number },
    options: RequestOptions,
  ): Promise<ConditionalOutcome> {
    const { path, sizeBytes, ...target } = file;
    if (sizeBytes > REQUEST_BYTES_MAX) {
      throw new RangeError(`its ${sizeBytes} bytes are more than this service takes at once`);
    }
    const { sha256, md5 } = await digestsOfFile(path);
    const digests = { ChecksumSHA256: sha256, ContentMD5: md5, ContentLength: sizeBytes };
    return await attemptConditional(() => {
      const Body = createReadStream(path);
      return this.#put({ ...target, ...digests, Body, IfNoneMatch: "*" }, options);
    }, options.signal);
  }

  #put(input: PutObjectCommandInput & Target, options: RequestOptions) {
    const whole = { ChecksumAlgorithm: "SHA256" as const, ...this.#protection(input), ...input };
    const command = new PutObjectCommand(whole);
    return this.#client.send(command, abortOf(options));
  }

  #partRequests(target: Target, options: RequestOptions): PartRequests {
    const client = this.#client;
    const abort = abortOf(options);
    const ChecksumAlgorithm = "SHA256";
    return {
      create: async () => {
        const whole = { ...target, ChecksumAlgorithm, ...this.#protection(target) } as const;
        const command = new CreateMultipartUploadCommand(whole);
        return (await client.send(command, abort)).UploadId ?? "";
      },
      part: async (UploadId, number, Body) => {
        const part = { ...target, UploadId, PartNumber: number, Body, ChecksumAlgorithm } as const;
        const { ETag, ChecksumSHA256 } = await client.send(new UploadPartCommand(part), abort);
        return { number, etag: ETag, sha256: ChecksumSHA256 };
      },
      complete: async (UploadId, parts) => {
        const Parts = parts.map(({ number, etag, sha256 }) => ({
          PartNumber: number,
          ETag: etag,
          ChecksumSHA256: sha256,
        }));
        const whole = { ...target, UploadId, MultipartUpload: { Parts }, IfNoneMatch: "*" };
        await client.send(new CompleteMultipartUploadCommand(whole), abort);
      },
      abort: async (UploadId) => {
        await client.send(new AbortMultipartUploadCommand({ ...target, UploadId }));
      },
    };
  }

  #protection({ Key }: Target): ProtectionFields {
    const { prefix, protection } = this.#place;
    return protectionOf(protection, { key: Key.slice(prefix.length), nowMs: Date.now() });
  }

  #target(key: string): Target {
    return { Bucket: this.#place.bucket, Key: this.#place.prefix + key };
  }

  /** A read; undefined when there is no such object. */
  #read<T>(
    key: string,
    options: RequestOptions,
    action: (target: Target) => Promise<T>,
  ): Promise<T | undefined> {
    return this.#run("read", key, options, async (target) => {
      try {
        return await attempt(() => action(target), options.signal);
      } catch (error) {
        if (s3FailureOf(error) === "absent") return undefined;
        throw error;
      }
    });
  }

  async #run<T>(
    verb: string,
    key: string,
    options: RequestOptions,
    action: (target: Target) => Promise<T>,
  ): Promise<T> {
    checkObjectKey(key);
    return await this.#guard(verb, key, options, () => action(this.#target(key)));
  }

  async #guard<T>(
    verb: string,
    key: string,
    options: RequestOptions,
    action: () => Promise<T>,
  ): Promise<T> {
    options.signal?.throwIfAborted();
    try {
      return await action();
    } catch (cause) {
      options.signal?.throwIfAborted();
      if (cause instanceof AmbiguousWriteError) throw cause;
      const name = JSON.stringify(key);
      throw new Error(`Cannot ${verb} ${name} in ${this.url}: ${s3Reason(cause)}`, { cause });
    }
  }
}

function abortOf({ signal }: RequestOptions): { readonly abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}
