/** The bucket that the settings name, else the directory in the data folder. */
import type { StoreOptions } from "../storage/open-store.ts";
import type { S3Protection } from "../storage/s3-protection.ts";
import { usageError } from "./exit.ts";
import type { STORE_OPTIONS, Values } from "./options.ts";
import type { DataFolder } from "./up/data-folder.ts";

export function storeOptionsOf(
  settings: Values<typeof STORE_OPTIONS>,
  folder: DataFolder,
): Omit<StoreOptions, "log"> {
  const { url = folder.bucketUrl, endpoint, region, pathStyle } = settings;
  const protection = protectionOf(settings);
  if (protection !== undefined && !url.startsWith("s3:")) {
    throw usageError(`Cannot encrypt or lock in ${url}: [store] encryption and lock are for S3`);
  }
  return {
    url,
    pathStyle,
    ...(protection === undefined ? {} : { protection }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
  };
}

function protectionOf(
  { encryption, kmsKey, lock, lockForMs }: Values<typeof STORE_OPTIONS>,
): S3Protection | undefined {
  if (kmsKey !== undefined && encryption !== "kms") {
    throw usageError('Cannot use [store] kms_key: encryption is not "kms"');
  }
  if ((lock === "none") !== (lockForMs === undefined)) {
    throw usageError("Cannot lock objects: [store] lock and lock_for are wanted together");
  }
  const protection: S3Protection = {
    ...(encryption === "s3" ? { encryption: { kind: "s3" } } : {}),
    ...(encryption === "kms"
      ? { encryption: { kind: "kms", ...(kmsKey === undefined ? {} : { key: kmsKey }) } }
      : {}),
    ...(lock === "none" || lockForMs === undefined
      ? {}
      : { lock: { mode: lock, periodMs: lockForMs } }),
  };
  return encryption === "bucket" && lock === "none" ? undefined : protection;
}
