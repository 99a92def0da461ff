import { afterAll, beforeAll, describe } from "vitest";
import { openS3Store } from "../../src/storage/s3-store.ts";
import { type CephGateway, missingCephGateway, openCephGateway } from "../support/ceph-gateway.ts";
import { describeObjectStore } from "../support/object-store-conformance.ts";
import { requireCapability } from "../support/require.ts";
import { createLog } from "../../src/runtime/log.ts";

const missing = missingCephGateway();

describe.runIf(requireCapability("s3", missing === undefined, missing ?? ""))("S3", () => {
  let gateway: CephGateway;

  beforeAll(async () => {
    gateway = await openCephGateway();
    await gateway.createBucket("conformance");
    Object.assign(process.env, gateway.environment);
  });
  afterAll(() => gateway?.[Symbol.asyncDispose]());

  describeObjectStore({
    name: "Ceph RADOS gateway",
    open: () =>
      Promise.resolve(openS3Store({
        url: "s3://conformance/some/prefix",
        endpoint: gateway.endpoint,
        pathStyle: true,
        log: createLog({ level: "error" }),
      })),
    largeBytes: 70_000_000,
  });
});
