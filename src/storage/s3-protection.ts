/**
 * How S3 keeps what is written: encrypted by the service, and locked against deletion for a time. What is asked for with
 * each write, and how the answer to a trial write shows whether it was done. Pure.
 *
 * Invariant: only objects that are never written over nor vacuumed are locked (`isKeptForGood` of layout.ts): each
 * overwriting of a locked object would leave a version that nobody can delete.
 * Sources: Amazon S3 user guide, "Protecting data with server-side encryption", "Locking objects with Object Lock".
 */
import { isKeptForGood } from "./layout.ts";

export interface S3Protection {
  /** Server-side encryption; without it, what the bucket itself does. */
  readonly encryption?:
    | { readonly kind: "s3" }
    /** Without a key, the account's own for S3. */
    | { readonly kind: "kms"; readonly key?: string };
  /** Object Lock; the bucket must have it switched on. */
  readonly lock?: {
    readonly mode: "governance" | "compliance";
    /** From the writing of an object on, in milliseconds. */
    readonly periodMs: number;
  };
}

/** Parameters of a request that makes an object. */
export interface ProtectionFields {
  readonly ServerSideEncryption?: "AES256" | "aws:kms";
  readonly SSEKMSKeyId?: string;
  readonly ObjectLockMode?: "GOVERNANCE" | "COMPLIANCE";
  readonly ObjectLockRetainUntilDate?: Date;
}

/** What the service says of an object that it holds. */
export interface ProtectionAnswer {
  readonly ServerSideEncryption?: string | undefined;
  readonly SSEKMSKeyId?: string | undefined;
  readonly ObjectLockMode?: string | undefined;
}

/** The trial object is locked no longer than this, in milliseconds. */
export const PROBE_LOCK_MS = 60_000;

/** What to ask for when an object is made under this key (within the store, without the bucket's prefix). */
export function protectionOf(
  { encryption, lock }: S3Protection,
  { key, nowMs }: { readonly key: string; readonly nowMs: number },
): ProtectionFields {
  const isLocked = lock !== undefined && isKeptForGood(key);
  return {
    ...encryptionFields(encryption),
    ...(isLocked ? lockFields(lock.mode, nowMs + lock.periodMs) : {}),
  };
}

/** What to ask for of a trial object; undefined when nothing is asked for at all. */
export function trialOf(
  { encryption, lock }: S3Protection,
  nowMs: number,
): ProtectionFields | undefined {
  if (encryption === undefined && lock === undefined) return undefined;
  return {
    ...encryptionFields(encryption),
    ...(lock === undefined ? {} : lockFields(lock.mode, nowMs + PROBE_LOCK_MS)),
  };
}

/** What was asked for and not done, in words; undefined when all was. */
export function protectionFault(
  asked: ProtectionFields,
  answer: ProtectionAnswer,
): string | undefined {
  const { ServerSideEncryption: encryption, SSEKMSKeyId: key, ObjectLockMode: mode } = asked;
  if (encryption !== undefined && answer.ServerSideEncryption !== encryption) {
    return `it does not encrypt as asked: "${encryption}" is wanted, it says ${
      said(answer.ServerSideEncryption)
    }`;
  }
  // A key is asked for by its id or its ARN, which ends in the id.
  if (key !== undefined && answer.SSEKMSKeyId?.split("/").at(-1) !== key.split("/").at(-1)) {
    return `it does not encrypt with key "${key}": it says ${said(answer.SSEKMSKeyId)}`;
  }
  if (mode !== undefined && answer.ObjectLockMode !== mode) {
    return `it does not lock objects: "${mode}" is wanted, it says ${said(answer.ObjectLockMode)}`;
  }
  return undefined;
}

function encryptionFields(encryption: S3Protection["encryption"]): ProtectionFields {
  if (encryption === undefined) return {};
  if (encryption.kind === "s3") return { ServerSideEncryption: "AES256" };
  const { key } = encryption;
  return { ServerSideEncryption: "aws:kms", ...(key === undefined ? {} : { SSEKMSKeyId: key }) };
}

function lockFields(mode: "governance" | "compliance", untilMs: number): ProtectionFields {
  return {
    ObjectLockMode: mode === "governance" ? "GOVERNANCE" : "COMPLIANCE",
    ObjectLockRetainUntilDate: new Date(untilMs),
  };
}

function said(value: string | undefined): string {
  return value === undefined ? "nothing" : `"${value}"`;
}
