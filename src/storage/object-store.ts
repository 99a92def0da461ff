/**
 * The bucket: the few operations that a directory and S3 both have. Two implementations, one conformance suite.
 *
 * Invariant: an object is visible whole or not at all, and once {@link ObjectStore.putIfAbsent} has returned "created"
 * it is durable and no other writer's content stands under that key.
 */

export interface ObjectEntry {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
}

export interface StoredObject {
  readonly body: Uint8Array;
  /** Opaque version of the content, for {@link ObjectStore.replace}. */
  readonly etag: string;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
}

export interface DeleteOptions extends RequestOptions {
  /** The request is not sent again when its answer is lost, so that it deletes nothing that is written later. */
  readonly isSentOnce?: boolean;
}

export interface ObjectStore extends AsyncDisposable {
  /** `file:///…` or `s3://bucket/prefix`. */
  readonly url: string;
  /** Reads a whole object into memory; undefined when there is none. Large ones are for {@link ObjectStore.download}. */
  get(key: string, options?: RequestOptions): Promise<StoredObject | undefined>;
  /** Size and time of an object; undefined when there is none. */
  head(key: string, options?: RequestOptions): Promise<ObjectEntry | undefined>;
  /** Writes whatever stands there. */
  put(key: string, body: Uint8Array, options?: RequestOptions): Promise<void>;
  /** Writes only where nothing stands. Throws {@link AmbiguousWriteError} when it cannot tell whether it has written. */
  putIfAbsent(
    key: string,
    body: Uint8Array,
    options?: RequestOptions,
  ): Promise<"created" | "exists">;
  /** As {@link ObjectStore.putIfAbsent}, from a local file of any size. */
  putFileIfAbsent(
    key: string,
    path: string,
    options?: RequestOptions,
  ): Promise<"created" | "exists">;
  /**
   * Writes only if the content still has this etag; "changed" also when nothing stands there. Throws
   * {@link AmbiguousWriteError} when it cannot tell whether it has written.
   */
  replace(
    key: string,
    body: Uint8Array,
    etag: string,
    options?: RequestOptions,
  ): Promise<"replaced" | "changed">;
  /** Deletes; an absent object is no error. */
  delete(key: string, options?: DeleteOptions): Promise<void>;
  /** Objects below a prefix in key order, optionally only those after a key. */
  list(prefix: string, options?: RequestOptions & { readonly startAfter?: string }): AsyncIterable<
    ObjectEntry
  >;
  /** Copies an object into a local file (whole or not at all); false when there is none. */
  download(key: string, path: string, options?: RequestOptions): Promise<boolean>;
  /** Path of the object on this machine when the store is a directory, so that readers need no copy. */
  localPath(key: string): string | undefined;
  /** Proves that the store keeps its conditions (see `conditional-put.ts`); throws a clear error when it does not. */
  verifyConditionalPut(options?: RequestOptions): Promise<void>;
}

/** Nobody can tell whether the write happened: read the object back and compare, or write again under the same condition. */
export class AmbiguousWriteError extends Error {
  override readonly name = "AmbiguousWriteError";
  readonly key: string;
  constructor(key: string, message: string, options: ErrorOptions) {
    super(message, options);
    this.key = key;
  }
}
