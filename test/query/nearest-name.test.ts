import { expect, test } from "vitest";
import { EXPRESSION_FUNCTIONS } from "../../src/query/sql/functions.ts";
import { nearestName } from "../../src/query/sql/nearest-name.ts";
import { TABLES } from "../../src/query/sql/views.ts";

test.each([
  ["proces_exec", TABLES, "process_exec"],
  ["PROCESS_EXECS", TABLES, "process_exec"],
  ["event", TABLES, "events"],
  ["files", TABLES, "file"],
  ["network_conect", TABLES, "network_connect"],
  ["information", TABLES, undefined],
  ["x", TABLES, undefined],
  ["", TABLES, undefined],
  ["e".repeat(100_000), TABLES, undefined],
  ["cuont", EXPRESSION_FUNCTIONS, "count"],
  ["topic_uder", EXPRESSION_FUNCTIONS, "topic_under"],
  ["read_csv", EXPRESSION_FUNCTIONS, undefined],
])("%.40s is meant as the nearest known name, if one is near", (name, names, nearest) => {
  expect(nearestName(name, names)).toBe(nearest);
});
