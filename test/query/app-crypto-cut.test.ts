import { expect, test } from "vitest";
import type { AuditEvent } from "../../src/event/event.ts";
import { REPORT_ROWS_MAX } from "../../src/query/planner/reports.ts";
import { INCARNATION, openQueryFixture, START_US, VIEWER } from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

/** One program more than are judged; the last of them does what should end. */
const USES: readonly AuditEvent[] = Array.from({ length: REPORT_ROWS_MAX + 1 }, (_, each) => ({
  ...{ timeUs: START_US + each * 1_000, topic: "crypto/tls/protocol_version", severity: "info" },
  exe: `/usr/bin/program-${String(each).padStart(6, "0")}`,
  detail: {
    ...{ key: "tls::protocol_version", library: "/usr/lib/libtls.so", origin: "ab" },
    value: each < REPORT_ROWS_MAX ? 0x0304 : 0x0302,
  },
}));

test("a report of cryptography says that its findings were cut with the uses", async () => {
  await using query = await openQueryFixture({
    shards: [],
    write: async (store, folder) => {
      const web = createMessageMaker({ agent: "w", host: "web-1" });
      const messages = [];
      for (let at = 0; at < USES.length; at += 1_000) {
        messages.push(await web.next(USES.slice(at, at + 1_000)));
      }
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  });
  const answer = await query.ask(
    "/v1/reports/crypto?from=2026-06-01&to=2026-06-01T01:00:00Z",
    { headers: { accept: "application/json", authorization: `Bearer ${VIEWER}` } },
  );
  expect(answer.status).toBe(200);
  const { statements, whole } = await answer.json();
  const said = `in the first ${REPORT_ROWS_MAX} of ${REPORT_ROWS_MAX + 1} uses that are judged`;
  expect(statements.filter((each: string) => each.includes(said))).toHaveLength(1);
  expect(whole).not.toBe(true);
});
