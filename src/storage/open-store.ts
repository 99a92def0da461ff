/** The bucket by its URL: the one place that knows which kinds of store there are. */
import type { Log } from "../runtime/log.ts";
import { openDirectoryStore } from "./fs-store.ts";
import type { ObjectStore } from "./object-store.ts";
import type { S3Protection } from "./s3-protection.ts";

export interface StoreOptions {
  /** `file:///path` or `s3://bucket/prefix`. */
  readonly url: string;
  /** Endpoint of an S3 service other than Amazon's. */
  readonly endpoint?: string;
  readonly region?: string;
  /** Bucket names in the path instead of the host name; what most services other than Amazon's want. */
  readonly pathStyle?: boolean;
  /** Encryption and locks that S3 is asked for; a directory has neither. */
  readonly protection?: S3Protection;
  readonly log: Log;
}

/** Opens the store that the URL names, without asking it anything yet. Throws TypeError for an unknown kind of URL. */
export async function openStore(options: StoreOptions): Promise<ObjectStore> {
  const { url } = options;
  if (url.startsWith("file:")) return await openDirectoryStore({ url });
  if (url.startsWith("s3:")) {
    // The SDK is large: only those who use it wait for it.
    const { openS3Store } = await import("./s3-store.ts");
    return openS3Store(options);
  }
  throw new TypeError(
    `Cannot open store ${JSON.stringify(url)}: expected "file:///path" or "s3://bucket/prefix"`,
  );
}
