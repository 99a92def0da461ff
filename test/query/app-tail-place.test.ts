/** Places of a tail while the service has loaded nothing of the log, as after its start. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodeTailPlace } from "../../src/query/tail-place.ts";
import { parseTime } from "../../src/query/time-text.ts";
import { openQueryFixture, type QueryFixture } from "../support/query-fixture.ts";

let query: QueryFixture;
beforeAll(async () => {
  query = await openQueryFixture({ shards: [] });
});
afterAll(() => query?.[Symbol.asyncDispose]());

/** The first place that a tail gives. */
async function firstPlace(lastId?: string) {
  const headers = lastId === undefined ? {} : { "last-event-id": lastId };
  const answer = await query.ask("/v1/tail", { headers });
  expect(answer.status).toBe(200);
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk);
    if (text.includes("id: ")) break;
  }
  const id = /^id: (.*)$/m.exec(text)?.[1] ?? "";
  return { id, place: decodeTailPlace(id) };
}

test("a tail that begins now does not begin with the archive when it goes on", async () => {
  const times = (await query.search("order=asc")).map(({ logged_at: at }) =>
    parseTime(String(at), { nowUs: 0, bootUs: 0 }) ?? 0
  );
  const newestUs = Math.max(...times);
  const { id, place } = await firstPlace();
  expect(place?.streams).toEqual(new Map());
  expect(place?.knownUs).toBeGreaterThanOrEqual(newestUs);
  const again = await firstPlace(id);
  expect([...again.place?.streams.values() ?? []].filter(({ sequence }) => sequence === 0)).toEqual(
    [],
  );
  expect(again.place?.knownUs).toBe(place?.knownUs);
});
