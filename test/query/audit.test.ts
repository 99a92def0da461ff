import { describe, expect, test } from "vitest";
import type { AuditEvent } from "../../src/event/event.ts";
import { createAudit } from "../../src/query/audit.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
import { systemClock } from "../../src/runtime/clock.ts";

const LONG = "🦀".repeat(100_000);

function told(parameters: Readonly<Record<string, unknown>>): AuditEvent[] {
  const events: AuditEvent[] = [];
  const audit = createAudit({ emit: (event) => events.push(event), clock: systemClock });
  const principal = { name: "admin", scopes: ADMIN_SCOPES };
  const said = { principal, route: "POST /v1/sql", parameters, remote: undefined };
  audit.read({ ...said, rows: 1, bytes: 1, outcome: "success" });
  audit.changed({ ...said, what: "changed something" });
  return events;
}

describe("parameters, as the audit tells them,", () => {
  test.each([
    ["a text", LONG],
    ["an object", { pad: LONG }],
    ["a list of lists", [[LONG], ["short"]]],
    ["many that are short", Array(50_000).fill("x")],
  ])("are bounded: %s", (_name, value) => {
    for (const { detail } of told({ sql: "SELECT 1", value })) {
      const text = JSON.stringify(detail);
      expect(text.length).toBeLessThan(20_000);
      expect(text).toContain("…");
    }
  });

  test("keep their form where they are short", () => {
    const parameters = {
      sql: "SELECT $a",
      parameters: { a: [1, null, "é"] },
      limit: 3,
      none: null,
    };
    for (const { detail } of told(parameters)) expect(detail).toMatchObject({ parameters });
  });
});
