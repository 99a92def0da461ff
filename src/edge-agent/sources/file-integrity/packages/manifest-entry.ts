/** What a package manager's records say of one file. */

/** In hexadecimal digits. dpkg has MD5 alone, apk SHA-1 (or SHA-256), rpm mostly SHA-256. */
export type DigestAlgorithm = "md5" | "sha1" | "sha256";

/** Digests of a file's content, as far as they were computed. */
export type FileDigests = { readonly [A in DigestAlgorithm]?: string };

export interface PackageName {
  readonly package: string;
  readonly version: string;
  readonly arch: string;
}

export interface ManifestEntry {
  /** Absolute and binary (one character per byte). */
  readonly path: string;
  readonly owner: PackageName;
  readonly algorithm: DigestAlgorithm;
  readonly digest: string;
}

const DIGEST_LENGTHS: Readonly<Record<DigestAlgorithm, number>> = { md5: 32, sha1: 40, sha256: 64 };

/** Whether a text is a digest of this algorithm. */
export function isDigest(text: string, algorithm: DigestAlgorithm): boolean {
  return text.length === DIGEST_LENGTHS[algorithm] && /^[0-9a-f]+$/.test(text);
}
