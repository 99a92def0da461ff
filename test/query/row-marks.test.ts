/** That no row is missed for its marks is tried in `tail-matcher.test.ts`; here it is which marks are looked for. */
import { describe, expect, test } from "vitest";
import { parseCondition } from "../../src/query/filter.ts";
import { createMarkIndex, type Mark, marksOf } from "../../src/query/tail/row-marks.ts";

type Filter = Readonly<Record<string, string>>;

function marks(filter: Filter): readonly Mark[] | undefined {
  const context = { nowUs: 0, bootUs: 0 };
  const conditions = Object.entries(filter)
    .map(([name, text]) => parseCondition(name, text, context));
  return marksOf({ conditions });
}

describe("marks of the rows that a filter wants", () => {
  test.each<[Filter, readonly string[] | undefined]>([
    [{ exe: "/usr/bin/id,/bin/id" }, ["exe whole /usr/bin/id", "exe whole /bin/id"]],
    [{ pid: "4711" }, ["pid whole 4711"]],
    [{ path: "/etc/*" }, ["path begin /etc/"]],
    [{ path: "*.conf" }, ["path end .conf"]],
    [{ path: "/a*/authorized_keys" }, ["path end horized_keys"]],
    [{ path: "/etc/*,*.key,/bin/su" }, ["path begin /etc/", "path end .key", "path whole /bin/su"]],
    [{ host: "web*", path: "/etc/*" }, ["path begin /etc/"]],
    [{ topic: "file", exe: "?d" }, ["topic whole file"]],
    [{ topic: "proc*exec" }, ["topic begin proc"]],
    [{ topic: "*exec" }, undefined],
    [{ path: "/etc/*,*a*" }, undefined],
    [{ path: "!/etc/*" }, undefined],
    [{ uid: ">=1000" }, undefined],
    [{ time: "2026-01-01T00:00:00Z" }, undefined],
    [{}, undefined],
  ])("of %j are %j", (filter, expected) => {
    const texts = marks(filter)?.map(({ column, part, value }) =>
      `${column.name} ${part} ${value}`
    );
    expect(texts).toEqual(expected);
  });

  test("are found in a row, by all of its topics and above, until they are taken out", () => {
    const index = createMarkIndex<string>();
    const filters = { topic: "file", path: "/etc/*", exe: "*sudo", pid: "7" };
    const all = Object.entries(filters).flatMap(([name, text]) => marks({ [name]: text }) ?? []);
    const found = (row: Readonly<Record<string, unknown>>): string[] =>
      [...index.of(row)].flatMap((items) => [...items]).toSorted();
    for (const mark of all) index.add(mark, mark.column.name);
    const row = { topic: "process/exec", topics: ["file/open"], path: "/etc/passwd", pid: 7 };
    expect(found({ ...row, exe: "/bin/sudo" })).toEqual(["exe", "path", "pid", "topic"]);
    expect(found({ topic: "files", path: "/et", exe: null, pid: "7" })).toEqual([]);
    for (const mark of all) index.remove(mark, mark.column.name);
    expect(found({ ...row, exe: "/bin/sudo" })).toEqual([]);
  });
});
