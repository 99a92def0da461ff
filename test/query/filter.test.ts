import { describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { ALTERNATIVES_MAX, type Match, parseCondition } from "../../src/query/filter.ts";
import { ProblemError } from "../../src/query/problem.ts";

const context = { nowUs: 1_000_000_000_000, bootUs: 0 };
const star = { wildcard: "*" } as const;
const one = { wildcard: "?" } as const;

function parse(name: string, text: string): { isNegated: boolean; matches: readonly Match[] } {
  const { column, ...rest } = parseCondition(name, text, context);
  expect(column.name).toBe(name);
  return rest;
}

const equal = (value: string | number): Match => ({ kind: "equal", value });

describe("a filter's value", () => {
  test.each<[string, string, boolean, Match[]]>([
    ["user", "root", false, [equal("root")]],
    ["user", "root,admin", false, [equal("root"), equal("admin")]],
    ["user", "!root,admin", true, [equal("root"), equal("admin")]],
    ["user", " root ", false, [equal(" root ")]],
    ["path", "/etc/*", false, [{ kind: "glob", parts: ["/etc/", star] }]],
    ["path", "/a/?.c,/b", false, [{ kind: "glob", parts: ["/a/", one, ".c"] }, equal("/b")]],
    ["path", "*", false, [{ kind: "glob", parts: [star] }]],
    ["path", "!*.log", true, [{ kind: "glob", parts: [star, ".log"] }]],
    ["path", "a!b", false, [equal("a!b")]],
    ["path", "a<b>c", false, [equal("a<b>c")]],
    ["path", "[a-z]", false, [equal("[a-z]")]],
    ["path", "100%_x", false, [equal("100%_x")]],
    ["cmdline", "\\!a\\,b\\*\\?\\\\\\<\\>", false, [equal("!a,b*?\\<>")]],
    ["cmdline", "\\>=1", false, [equal(">=1")]],
    ["cmdline", "a\\**", false, [{ kind: "glob", parts: ["a*", star] }]],
    ["uid", ">=1000", false, [{ kind: "compare", operator: ">=", value: 1000 }]],
    ["uid", "<1024", false, [{ kind: "compare", operator: "<", value: 1024 }]],
    ["uid", "0,>1000", false, [equal(0), { kind: "compare", operator: ">", value: 1000 }]],
    ["uid", "!>=1000", true, [{ kind: "compare", operator: ">=", value: 1000 }]],
    ["errno", "-1", false, [equal(-1)]],
    ["user", "<=m", false, [{ kind: "compare", operator: "<=", value: "m" }]],
    ["logged_at", ">1s", false, [{ kind: "compare", operator: ">", value: 999_999_000_000 }]],
    ["time", "<1970-01-02", false, [{ kind: "compare", operator: "<", value: 86_400_000_000 }]],
    ["event_date", "2026-03-14", false, [equal("2026-03-14")]],
    ["topics", "app/*", false, [{ kind: "glob", parts: ["app/", star] }]],
    ["detail", "*sha256*", false, [{ kind: "glob", parts: [star, "sha256", star] }]],
    ["severity", "high", false, [equal("high")]],
    ["severity", ">=medium", false, [equal("medium"), equal("high"), equal("critical")]],
    ["severity", ">medium", false, [equal("high"), equal("critical")]],
    ["severity", "<medium", false, [equal("info"), equal("low")]],
    ["severity", "!<=low", true, [equal("info"), equal("low")]],
    ["severity", "info,>high", false, [equal("info"), equal("critical")]],
    ["topic", "process,auth/login", false, [equal("process"), equal("auth/login")]],
  ])("of %s: %s", (name, text, isNegated, matches) => {
    expect(parse(name, text)).toEqual({ isNegated, matches });
  });

  test.each([
    ["user", ""],
    ["user", "!"],
    ["user", "a,,b"],
    ["user", "a,"],
    ["user", ">="],
    ["user", "a\\"],
    ["user", "a\\b"],
    ["user", ">=a*"],
    ["severity", ">=hgih"],
    ["severity", ">critical"],
    ["severity", "<info"],
    ["uid", "root"],
    ["uid", "1.5"],
    ["uid", "1*"],
    ["uid", "12345678901234567"],
    ["time", "soon"],
    ["time", "2026*"],
    ["event_date", "2026-02-30"],
    ["event_date", "today"],
    ["topics", ">a"],
    ["user", Array.from({ length: ALTERNATIVES_MAX + 1 }, (_, at) => at).join(",")],
  ])("of %s is refused by name: %.40j", (name, text) => {
    const refused = (): unknown => parse(name, text);
    expect(refused).toThrow(ProblemError);
    try {
      refused();
    } catch (error) {
      const { problem } = error as ProblemError;
      expect(problem).toMatchObject({ status: 400, parameter: name });
      expect(problem.accepted).toBeTruthy();
    }
  });

  test("is taken for every column", () => {
    for (const { name, type } of COLUMNS) {
      const value = { integer: "1", long: "1", timestamp: "now", date: "2026-01-01" }[
        String(type)
      ];
      expect(parse(name, value ?? "x").matches).toHaveLength(1);
    }
  });
});
