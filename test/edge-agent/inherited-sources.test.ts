/** Sources that go on at once with what an earlier agent left: only together with those that teach them. */
import { expect, it } from "vitest";
import { readableAtOnce } from "../../src/edge-agent/inherited-sources.ts";

const named = (names: string) => names.split(" ").filter(Boolean).map((name) => ({ name }));
const ALL = "process control network flow file filesystem";

it.each([
  ["all of them", "process control network flow file", ALL, "process control network flow file"],
  ["none without the processes", "control network flow file", ALL, ""],
  ["no connections without names", "process network file", ALL, "process file"],
  ["without processes that nobody wants", "network flow", "network flow", "network flow"],
  ["without names that nobody wants", "process network", "process network", "process network"],
  ["none where none is left", "", ALL, ""],
])("goes on with %s", (_, inherited, enabled, told) => {
  expect(readableAtOnce(named(inherited), named(enabled))).toEqual(named(told));
});
