import { describe, expect, test } from "vitest";
import { negotiate, type Offer } from "../../src/query/accept.ts";
import { ProblemError } from "../../src/query/problem.ts";

const OFFERS: readonly Offer<"json" | "ndjson" | "csv">[] = [
  { form: "json", types: ["application/json"] },
  { form: "ndjson", types: ["application/x-ndjson", "application/jsonl"] },
  { form: "csv", types: ["text/csv"] },
];

const PROFILED: readonly Offer<"json" | "ocsf" | "lines">[] = [
  { form: "json", types: ["application/json"] },
  { form: "ocsf", types: ["application/json"], profile: "ocsf" },
  { form: "lines", types: ["application/x-ndjson", "application/jsonl"], profile: "ocsf" },
];

describe("the form of an answer", () => {
  test.each([
    [undefined, "json"],
    ["*/*", "json"],
    ["application/*", "json"],
    ["application/x-ndjson", "ndjson"],
    ["application/jsonl; q=0.5", "ndjson"],
    ["text/csv, application/json;q=0.9", "csv"],
    ["text/html,application/xhtml+xml,*/*;q=0.8", "json"],
    ["application/json;q=0, text/*", "csv"],
    ["application/json;q=0.1, application/x-ndjson;q=0.2", "ndjson"],
    ["TEXT/CSV", "csv"],
  ])("for %s is %s", (accept, form) => expect(negotiate(accept, OFFERS)).toBe(form));

  test.each(["text/html", "application/json;q=0", "application/json;q=2", ""])(
    "for %j is none of them",
    (accept) => {
      expect(() => negotiate(accept, OFFERS)).toThrow(ProblemError);
      expect(() => negotiate(accept, OFFERS)).toThrow("media types");
    },
  );
});

describe("a profile", () => {
  test.each([
    ["application/json", "json"],
    ["application/json; charset=utf-8", "json"],
    ["*/*", "json"],
    ["application/json; profile=ocsf", "ocsf"],
    ['Application/JSON;charset=utf-8; Profile="OCSF"', "ocsf"],
    ["application/jsonl; profile=ocsf", "lines"],
    ["application/x-ndjson", "lines"],
    ["application/json; profile=ocsf; q=0.1, application/json; q=0.9", "json"],
    ["application/json; q=0.1, application/json; profile=ocsf", "ocsf"],
    ["application/json; profile=ecs, */*; q=0.1", "json"],
    ["application/json; profile=ocsf; q=0, application/jsonl", "lines"],
  ])("in %s leads to %s", (accept, form) => expect(negotiate(accept, PROFILED)).toBe(form));

  test.each([
    "application/json; profile=ecs",
    "application/json; profile=",
    "text/csv; profile=ocsf",
  ])(
    "that nobody offers, as in %s, is refused with those that are",
    (accept) => {
      const refused = expect.objectContaining({
        problem: expect.objectContaining({
          status: 406,
          accepted:
            "application/json, application/json; profile=ocsf, application/x-ndjson; profile=ocsf",
        }),
      });
      expect(() => negotiate(accept, PROFILED)).toThrow(refused);
    },
  );
});
