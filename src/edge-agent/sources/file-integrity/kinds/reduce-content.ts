/**
 * What may be kept and sent of a file's bytes, by its kind and path.
 *
 * Invariants: no password hash, key or obvious secret of a file is in what is kept; a path that is known to hold
 * password hashes or keys is treated as such under every kind.
 */
import { type AccountFields, accountFieldsOf, reducedAccountLine } from "./account-lines.ts";
import { withoutSecrets } from "./content-secrets.ts";
import type { FileKind, KeptContent } from "./file-kind.ts";
import {
  createSecretCount,
  SECRETS_MAX,
  type TagKey,
  TooManySecrets,
  withoutEdges,
} from "./secret-marker.ts";

export interface ReduceOptions {
  readonly kind: FileKind;
  readonly path: string;
  /** The agent's own secret key. */
  readonly key: TagKey;
  /** Largest content that is kept. */
  readonly bytesMax?: number;
}

/** Largest content that is kept unless told otherwise: text files of configuration are far smaller. */
export const CONTENT_BYTES_MAX = 1_048_576;

/** Files that are nothing but secrets, in forms that no pattern finds. */
const SECRET_FILES =
  /\/(?:[a-z]*-?secrets|chrony\.keys|\.pgpass|\.netrc|_netrc|passwd\.client|sasl_passwd|ipsec\.secrets)$/;

/** So much of a file tells whether it is binary. */
const BINARY_PROBE_BYTES = 8_192;

/** What may be kept of a file that was read whole. Of the kind `digest` that is nothing. */
export function reduceContent(
  bytes: Uint8Array,
  { kind, path, key, bytesMax = CONTENT_BYTES_MAX }: ReduceOptions,
): KeptContent {
  if (kind === "digest") return { missing: "kind digest" };
  if (bytes.length > bytesMax) return { missing: `larger than ${bytesMax} bytes` };
  if (SECRET_FILES.test(path)) return { missing: "content is secret" };
  // Account files have no binary form: a zero byte is a malformed line, and reported as it is.
  const shape = hasAccountLines(kind, path) ? accountFieldsOf(path) : undefined;
  if (shape === undefined && bytes.subarray(0, BINARY_PROBE_BYTES).includes(0)) {
    return { missing: "binary" };
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  try {
    const reduced = shape === undefined
      ? withoutSecrets(text, key)
      : withoutAccountSecrets(text, { shape, key });
    return { text: Buffer.from(reduced, "latin1") };
  } catch (error) {
    if (!(error instanceof TooManySecrets)) throw error;
    return { missing: `more than ${SECRETS_MAX} secrets` };
  }
}

function withoutAccountSecrets(
  text: string,
  options: { readonly shape: AccountFields; readonly key: TagKey },
): string {
  const counted = createSecretCount();
  return withoutEdges(text).split("\n")
    .map((line) => counted(reducedAccountLine(line, options))).join("\n");
}

/** Whether lines of this file have password fields: by name, and unless the kind is `accounts` by folder too. */
export function hasAccountLines(kind: FileKind, path: string): boolean {
  if (accountFieldsOf(path) === undefined) return false;
  return kind === "accounts" || /\/(?:etc|backups)\/(?:security\/)?[^/]+$/.test(path);
}
