/** The kinds of store that integration tests run against: a directory, and S3 where a real server can be started. */
import { createLog } from "../../src/runtime/log.ts";
import { openStore } from "../../src/storage/open-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { missingCephGateway, openCephGateway } from "./ceph-gateway.ts";
import { requireCapability } from "./require.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export interface StorePlace extends AsyncDisposable {
  /** URL of a place that holds nothing yet. */
  newUrl(): string;
  /** Variables by which other processes reach the place. */
  readonly environment: Readonly<Record<string, string>>;
  /** Endpoint of the S3 service; undefined for a directory. */
  readonly endpoint: string | undefined;
}

export interface StoreKind {
  readonly name: string;
  readonly isPresent: boolean;
  readonly open: () => Promise<StorePlace>;
}

const missing = missingCephGateway();

export const STORE_KINDS: readonly StoreKind[] = [
  { name: "a directory", isPresent: true, open: openDirectoryPlace },
  {
    name: "S3",
    isPresent: requireCapability("s3", missing === undefined, missing ?? ""),
    open: openS3Place,
  },
];

/** Opens a store at a place; the environment of this process must hold the place's. */
export function openStoreAt(url: string, endpoint: string | undefined): Promise<ObjectStore> {
  const log = createLog({ level: "error" });
  return openStore({ url, ...(endpoint === undefined ? {} : { endpoint, pathStyle: true }), log });
}

async function openDirectoryPlace(): Promise<StorePlace> {
  const folder = await openTemporaryFolder("place");
  let count = 0;
  return {
    newUrl: () => `file://${folder.path}/bucket-${++count}`,
    environment: {},
    endpoint: undefined,
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function openS3Place(): Promise<StorePlace> {
  const gateway = await openCephGateway();
  await gateway.createBucket("place");
  let count = 0;
  return {
    newUrl: () => `s3://place/p${++count}`,
    environment: { ...gateway.environment, TEST_S3_ENDPOINT: gateway.endpoint },
    endpoint: gateway.endpoint,
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}
