import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openS3Store } from "../../src/storage/s3-store.ts";
import { type CephGateway, missingCephGateway, openCephGateway } from "../support/ceph-gateway.ts";
import { describeObjectStore } from "../support/object-store-conformance.ts";
import { describeRegistry } from "../support/registry-conformance.ts";
import { requireCapability } from "../support/require.ts";
import { startScript } from "../support/script-process.ts";
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

  describeRegistry({
    name: "Ceph RADOS gateway",
    open: () =>
      Promise.resolve(openS3Store({
        url: "s3://conformance/registry",
        endpoint: gateway.endpoint,
        pathStyle: true,
        log: createLog({ level: "error" }),
      })),
  });

  test("of four processes exactly one creates each object", async () => {
    const environment = { ...gateway.environment, TEST_S3_ENDPOINT: gateway.endpoint };
    const url = "s3://conformance/race";
    const writers = await Promise.all(
      ["a", "b", "c", "d"].map((name) =>
        startScript("store-writer.ts", ["race", url, name], environment)
      ),
    );
    for (const writer of writers) writer.go();
    await Promise.all(writers.map((writer) => writer.ended()));
    const created = writers.flatMap(({ said }) => said.map(Number));
    expect(created.toSorted((left, right) => left - right)).toEqual(
      Array.from({ length: 60 }, (_, at) => at),
    );
    for (const writer of writers) expect(writer.said.length).toBeLessThan(60);
  });
});
