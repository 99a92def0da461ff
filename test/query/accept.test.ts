import { describe, expect, test } from "vitest";
import { negotiate, type Offer } from "../../src/query/accept.ts";
import { ProblemError } from "../../src/query/problem.ts";

const OFFERS: readonly Offer<"json" | "ndjson" | "csv">[] = [
  { form: "json", types: ["application/json"] },
  { form: "ndjson", types: ["application/x-ndjson", "application/jsonl"] },
  { form: "csv", types: ["text/csv"] },
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
