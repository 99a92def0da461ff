/** The URL of a bucket: `s3://bucket` or `s3://bucket/prefix`. */
import { isObjectKey } from "./object-key.ts";

/** Longest prefix of keys in the bucket, in bytes. */
const PREFIX_BYTES_MAX = 120;

export interface S3Place {
  readonly bucket: string;
  /** Empty, or ends in a slash. */
  readonly prefix: string;
}

/** Throws TypeError when it is none. */
export function parseS3Url(url: string): S3Place {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*?)\/?)?$/.exec(url);
  const [, bucket, prefix = ""] = match ?? [];
  const isUsable = prefix === "" || (prefix.length <= PREFIX_BYTES_MAX && isObjectKey(prefix));
  if (bucket === undefined || !isUsable) {
    throw new TypeError(`Cannot open store ${JSON.stringify(url)}: expected "s3://bucket/prefix"`);
  }
  return { bucket, prefix: prefix === "" ? "" : `${prefix}/` };
}
