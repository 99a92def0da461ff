import { describe, expect, test } from "vitest";
import { parseCondition } from "../../src/query/filter.ts";
import { ADMIN_SCOPES, type Principal } from "../../src/query/principal.ts";
import {
  CLIENTS_MAX,
  createLiveClients,
  FILTER_COST_MAX,
} from "../../src/query/tail/live-clients.ts";

const LIMITS = { clientsMax: 4, clientsEachMax: 2, costEachMax: 6 };
const time = { nowUs: 0, bootUs: 0 };
const filter = (text: string) => [parseCondition("path", text, time)];
const named = (name: string): Principal => ({ name, scopes: ADMIN_SCOPES });

function statusOf(act: () => unknown): unknown {
  try {
    act();
    return "admitted";
  } catch (error) {
    return error;
  }
}

describe("who may follow the record", () => {
  test("nobody has more than their share, and all together no more than there may be", () => {
    const clients = createLiveClients(LIMITS);
    const ends = [clients.admit(named("ana")), clients.admit(named("ana"))];
    expect(statusOf(() => clients.admit(named("ana")))).toMatchObject({ problem: { status: 429 } });
    ends.push(clients.admit(named("bo")), clients.admit(named("bo")));
    expect(statusOf(() => clients.admit(named("cy")))).toMatchObject({ problem: { status: 503 } });
    ends[0]?.();
    ends[0]?.();
    expect(clients.count).toBe(3);
    expect(statusOf(() => clients.admit(named("cy")))).toBe("admitted");
  });

  test("nobody's filters together have more patterns than can be looked at", () => {
    const clients = createLiveClients(LIMITS);
    const end = clients.admit(named("ana"), filter("/a/*,/b/*"));
    expect(statusOf(() => clients.admit(named("ana"), filter("/c/*/d"))))
      .toMatchObject({ problem: { status: 429 } });
    end();
    expect(statusOf(() => clients.admit(named("ana"), filter("/c/*/d")))).toBe("admitted");
  });

  test("a filter of many values is taken, one of many patterns is refused", () => {
    const clients = createLiveClients();
    const many = (form: (at: number) => string): string =>
      Array.from({ length: FILTER_COST_MAX }, (_, at) => form(at)).join(",");
    expect(statusOf(() => clients.admit(named("ana"), filter(many((at) => `/file${at}`)))))
      .toBe("admitted");
    expect(statusOf(() => clients.admit(named("ana"), filter(many((at) => `/file${at}*`)))))
      .toMatchObject({ problem: { status: 400 } });
  });

  test("a thousand may be one person's", () => {
    const clients = createLiveClients();
    for (let at = 0; at < 1_000; at++) clients.admit(named("ana"), filter(`/home/user${at}/*`));
    expect(clients.count).toBe(1_000);
    expect(CLIENTS_MAX).toBeGreaterThan(1_000);
  });
});
