/** The client's tokens against the real query service, without a port between them. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Client, createClient } from "../../src/client/client.ts";
import { openQueryFixture, type QueryFixture, TOKEN } from "../support/query-fixture.ts";

let fixture: QueryFixture;
const clientOf = (token: string): Client =>
  createClient({
    url: "http://localhost",
    token,
    fetch: (url, init) => fixture.service.fetch(new Request(url, init)),
  });

beforeAll(async () => {
  fixture = await openQueryFixture();
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

it("makes one that works, lists it, and revokes it", async () => {
  const { tokens } = clientOf(TOKEN);
  const { token, info } = await tokens.create("ann", {
    role: "viewer",
    host: ["db-1", "x-*"],
    expire: "1d",
  });
  expect(info).toMatchObject({ name: "ann", hosts: ["db-1", "x-*"], expired: false, by: "admin" });
  expect(await tokens.list()).toEqual([info]);
  const ann = clientOf(token);
  const range = { from: "2026-06-01", to: "2026-06-02" };
  expect(await Array.fromAsync(ann.events(range))).toHaveLength(50);
  await expect(ann.tokens.list()).rejects.toMatchObject({ status: 403 });
  await expect(tokens.create("ann", { role: "viewer" })).rejects.toMatchObject({ status: 409 });
  await tokens.revoke("ann");
  await expect(tokens.revoke("ann")).rejects.toMatchObject({ status: 404 });
  await expect(ann.page()).rejects.toMatchObject({ status: 401 });
  expect(await tokens.list()).toEqual([]);
});

it("keeps a name in its place of the address", async () => {
  const { tokens } = clientOf(TOKEN);
  await expect(tokens.revoke("a/b")).rejects.toMatchObject({ problem: { parameter: "name" } });
});
