/** Every method of `/rpc` takes, sends and answers what the description says of it. */
import { expect, test } from "vitest";
import type { ApiDocument } from "../../src/query/openapi-document.ts";
import { CODES } from "../../src/query/rpc/protocol.ts";
import { faultsOf, type JsonSchema } from "../support/json-schema.ts";
import { openQueryFixture, TOKEN } from "../support/query-fixture.ts";
import { openRpcClient } from "../support/rpc-client.ts";

test("each call of /rpc is answered as the description says", async () => {
  await using query = await openQueryFixture();
  const document: ApiDocument = await (await query.ask("/openapi.json")).json();
  const methods = document.paths["/rpc"]?.get?.["x-json-rpc"]?.methods ?? {};
  // as: the description is a schema too
  const root = document as unknown as JsonSchema;
  await using rpc = await openRpcClient(query.service.rpc, TOKEN);
  const given: Readonly<Record<string, readonly object[]>> = {
    auditEventsGet: [
      { paths: [["process"], []], seek: "0a1b2c3d-1-0", seekEnd: 1_999_999_999_999, limit: 3 },
      { paths: [["file"]], seek: "2026-06-01", awaitFutureEvents: true, limit: 2 },
    ],
    auditMetricGet: [{ path: ["process"], seek: 0, seekEnd: "2026-06-02" }],
    auditMetricTail: [{ path: [], seek: "2026-06-01" }],
  };
  expect(Object.keys(methods)).toEqual(Object.keys(given));
  for (const [name, { params, parts, result, examples }] of Object.entries(methods)) {
    const faults = (value: unknown, schema: JsonSchema) =>
      faultsOf(value, schema, { root, isClosed: true });
    const shown = [[examples.params, params], [examples.result, result]] as const;
    for (const [value, schema] of shown) expect(faults(value, schema), name).toEqual([]);
    for (const [part, schema] of Object.entries(parts)) {
      expect(faults(examples.parts[part], schema), part).toEqual([]);
    }
    for (const values of given[name] ?? []) {
      expect(faults(values, params), name).toEqual([]);
      const call = rpc.call(name, values);
      if (name.endsWith("Tail")) {
        await call.untilParts(1);
        call.cancel();
        expect(await call.answer).toMatchObject({ error: { code: CODES.cancelled } });
      } else expect(faults((await call.answer).result, result), name).toEqual([]);
      expect(call.parts.length > 0).toBe(Object.keys(parts).length > 0);
      const [first = {}, place = {}] = Object.values(parts);
      for (const part of call.parts) expect(faults(part, first), name).toEqual([]);
      for (const part of call.places) expect(faults(part, place), name).toEqual([]);
      expect(call.places.length > 0).toBe("awaitFutureEvents" in values);
    }
  }
});
