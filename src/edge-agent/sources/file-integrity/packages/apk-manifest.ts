/**
 * apk's database of what is installed (`/lib/apk/db/installed`, apk-installed(5)): stanzas of one-letter fields.
 *
 * Invariant: lines of another shape are passed over; nothing throws.
 */
import type { DigestAlgorithm, ManifestEntry } from "./manifest-entry.ts";

/** Forms of a checksum: base64 behind a letter and a number. */
const CHECKSUMS: Readonly<Record<string, readonly [DigestAlgorithm, sizeBytes: number]>> = {
  Q1: ["sha1", 20],
  Q2: ["sha256", 32],
};

/** Files with a checksum. Text is binary. */
export function* parseApkInstalled(text: string): Generator<ManifestEntry> {
  let owner = { package: "", version: "", arch: "" };
  let folder = "";
  let file: string | undefined;
  for (const line of text.split("\n")) {
    const value = line.slice(2);
    switch (line.slice(0, 2)) {
      case "":
        [owner, folder, file] = [{ package: "", version: "", arch: "" }, "", undefined];
        break;
      case "P:":
        owner = { ...owner, package: value };
        break;
      case "V:":
        owner = { ...owner, version: value };
        break;
      case "A:":
        owner = { ...owner, arch: value };
        break;
      case "F:":
        [folder, file] = [value, undefined];
        break;
      case "R:":
        file = value;
        break;
      case "Z:": {
        const found = CHECKSUMS[value.slice(0, 2)];
        const bytes = Buffer.from(value.slice(2), "base64");
        if (file === undefined || owner.package === "" || bytes.length !== found?.[1]) break;
        const path = folder === "" ? `/${file}` : `/${folder}/${file}`;
        yield { path, owner, algorithm: found[0], digest: bytes.toString("hex") };
        break;
      }
    }
  }
}
