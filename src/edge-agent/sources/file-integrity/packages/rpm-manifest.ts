/**
 * rpm's records, asked of rpm itself, for its database has several forms: one line per file, by a format of ours.
 *
 * Invariant: lines of another shape are passed over; nothing throws.
 */
import { type DigestAlgorithm, isDigest, type ManifestEntry } from "./manifest-entry.ts";

/** Arguments of rpm(8) that make it print what {@link parseRpmFiles} reads. */
export const RPM_QUERY: readonly string[] = [
  "-qa",
  "--qf",
  "[%{=NAME}\\t%|EPOCH?{%{=EPOCH}:}|%{=VERSION}-%{=RELEASE}\\t%{=ARCH}\\t%{=FILEDIGESTALGO}\\t" +
  "%{FILEDIGESTS}\\t%{FILENAMES}\\n]",
];

/** Numbers of RFC 4880, section 9.4; packages without one have MD5. */
const ALGORITHMS: Readonly<Record<string, DigestAlgorithm>> = {
  "(none)": "md5",
  "1": "md5",
  "2": "sha1",
  "8": "sha256",
};

/** Files with a digest; folders and links have none. Text is binary. */
export function* parseRpmFiles(text: string): Generator<ManifestEntry> {
  for (const line of text.split("\n")) {
    const [name = "", version = "", arch = "", number = "", digest = "", ...rest] = line.split(
      "\t",
    );
    const algorithm = ALGORITHMS[number];
    const path = rest.join("\t");
    if (algorithm === undefined || !isDigest(digest, algorithm) || !path.startsWith("/")) continue;
    yield { path, owner: { package: name, version, arch }, algorithm, digest };
  }
}
