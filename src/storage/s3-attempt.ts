/**
 * What an S3 error means, and when to try again. The SDK's own retries are off: they would turn a write that succeeded,
 * but whose answer was lost, into "something stands there already".
 *
 * Invariant: a conditional write is reported as refused only if no earlier attempt of it can have succeeded.
 */
import { systemClock } from "../runtime/clock.ts";
import { type Backoff, backoffMs } from "../runtime/retry.ts";

/** A request is sent at most so often. */
export const S3_ATTEMPTS_MAX = 6;
const BACKOFF: Backoff = { firstMs: 50, maximumMs: 5_000 };

/**
 * `refused`: the condition does not hold; `absent`: no such object; `busy`: not done, worth another attempt;
 * `unknown`: perhaps done, worth another attempt; `final`: not done, and another attempt would not help.
 */
export type S3Failure = "refused" | "absent" | "busy" | "unknown" | "final";

/** Errors of the network before anything was sent. */
const UNSENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);
/** Refusals that pass: too many requests at a time, or a clock that the client then corrects. */
const BUSY = new Set(["SlowDown", "RequestTimeTooSkewed", "ConditionalRequestConflict"]);

export function s3FailureOf(error: unknown): S3Failure {
  const { name, code, status } = factsOf(error);
  if (status === 412) return "refused";
  if (status === 404) return name === "NoSuchKey" || name === "NotFound" ? "absent" : "final";
  if (status === 409 || status === 429 || BUSY.has(name)) return "busy";
  if (status === 501) return "final";
  if (status !== undefined) return status >= 500 || status === 408 ? "unknown" : "final";
  if (UNSENT.has(code)) return "busy";
  return name === "CredentialsProviderError" || error instanceof RangeError ? "final" : "unknown";
}

/** The error in words for people: S3's code and status, or the network's. */
export function s3Reason(error: unknown): string {
  const { name, code, status, message } = factsOf(error);
  const text = message === "UnknownError" || message === "" ? "" : `: ${message}`;
  if (status !== undefined) return `${name} (HTTP ${status})${text}`;
  if (code !== "") return `${code}${text}`;
  return name === "Error" ? message : `${name}${text}`;
}

/** Runs a read, or a write that may happen twice, until it succeeds, fails for good, or has failed too often. */
export async function attempt<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let count = 1;; count++) {
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted();
      const kind = s3FailureOf(error);
      if ((kind !== "busy" && kind !== "unknown") || count >= S3_ATTEMPTS_MAX) throw error;
    }
    await systemClock.sleep(backoffMs(count, { backoff: BACKOFF }), signal);
  }
}

export type ConditionalOutcome =
  | { readonly kind: "done" | "refused" }
  /** Nobody can tell; the error is the one that hid the answer. */
  | { readonly kind: "ambiguous"; readonly error: unknown };

/** Runs a conditional write. Throws only what proves that nothing was written, or the signal's reason. */
export async function attemptConditional(
  work: () => Promise<unknown>,
  signal?: AbortSignal,
): Promise<ConditionalOutcome> {
  let hidden: { readonly error: unknown } | undefined;
  for (let count = 1;; count++) {
    try {
      await work();
      return { kind: "done" };
    } catch (error) {
      signal?.throwIfAborted();
      const kind = s3FailureOf(error);
      if (kind === "unknown") hidden ??= { error };
      const isOver = count >= S3_ATTEMPTS_MAX || (kind !== "busy" && kind !== "unknown");
      if (isOver && hidden !== undefined) return { kind: "ambiguous", error: hidden.error };
      if (kind === "refused" || kind === "absent") return { kind: "refused" };
      if (isOver) throw error;
    }
    await systemClock.sleep(backoffMs(count, { backoff: BACKOFF }), signal);
  }
}

interface ErrorFacts {
  readonly name: string;
  readonly message: string;
  /** The system's code, or "". */
  readonly code: string;
  /** HTTP status of the answer; undefined when there was none. */
  readonly status: number | undefined;
}

function factsOf(error: unknown): ErrorFacts {
  if (!(error instanceof Error)) {
    return { name: "Error", message: String(error), code: "", status: undefined };
  }
  const { name, message } = error;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return { name, message, code, status: statusOf(error) };
}

/** The SDK keeps the HTTP status in `$metadata`. */
function statusOf(error: Error): number | undefined {
  if (!("$metadata" in error) || typeof error.$metadata !== "object") return undefined;
  const metadata = error.$metadata;
  if (metadata === null || !("httpStatusCode" in metadata)) return undefined;
  return typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : undefined;
}
