/** The rules of ARCHITECTURE.md and CONTRIBUTING.md as tests; each rule is shown to fail on a bad sample first. */
import { describe, expect, it } from "vitest";
import * as language from "./architecture/language-rules.ts";
import * as layers from "./architecture/layer-rules.ts";
import * as strays from "./architecture/stray-rules.ts";
import { readRepository, sourceFile, trackedPaths } from "./architecture/repository.ts";
import type { Rule } from "./architecture/language-rules.ts";

interface Case {
  readonly rule: Rule;
  /** Where the rule holds. */
  readonly in: RegExp;
  /** Each sample alone must be found; a sample may name its path. */
  readonly bad: readonly (string | readonly [path: string, text: string])[];
  readonly good: readonly (string | readonly [path: string, text: string])[];
}

const SOURCE = /^src\//;
const TYPESCRIPT = /^/;

const CASES: Readonly<Record<string, Case>> = {
  "a file has at most 400 lines": {
    rule: language.fileSize,
    in: TYPESCRIPT,
    bad: ["\n".repeat(401)],
    good: ["\n".repeat(400)],
  },
  "names of files and folders say what they are about": {
    rule: language.specificNames,
    in: TYPESCRIPT,
    bad: [["src/event/utils.ts", ""], ["src/common/x.ts", ""], ["src/query/cache-manager.ts", ""]],
    good: [["src/event/utilisation.ts", ""], ["src/query/planner.ts", ""]],
  },
  "a source file opens with a module comment": {
    rule: language.moduleComment,
    in: SOURCE,
    bad: ["const x = 1;\n", "// a line\n", "#!/usr/bin/env node\nrun();\n"],
    good: ["/** What it decides. */\n", "#!/usr/bin/env node\n/** What it decides. */\n"],
  },
  "no default exports": {
    rule: language.noDefaultExport,
    in: TYPESCRIPT,
    bad: ["export default 1;"],
    good: ["// export default\nexport const x = `export default`;", [
      "vitest.config.ts",
      "export default {};",
    ]],
  },
  "no barrels": {
    rule: language.noBarrel,
    in: TYPESCRIPT,
    bad: [
      'export * from "./x.ts";',
      'export { a } from "./x.ts";\nexport type { B } from "./y.ts";',
    ],
    good: ["const a = 1;\nexport { a };", 'export { a } from "./x.ts";\nexport const b = 1;'],
  },
  "only syntax that runtimes can erase": {
    rule: language.erasableSyntax,
    in: TYPESCRIPT,
    bad: [
      "enum A { B }",
      "export const enum A { B }",
      "namespace A { }",
      "@sealed class A {}",
      "class A { constructor(private b: string) {} }",
      "class A { constructor(a: string, readonly b: string) {} }",
    ],
    good: [
      'const x = { enum: 1 }; const y = "@a";',
      "class A { constructor(b: readonly string[]) {} }",
    ],
  },
  "no inheritance but of Error": {
    rule: language.noInheritance,
    in: TYPESCRIPT,
    bad: ["class A extends B {}", "const a = class extends EventEmitter {};"],
    good: ["class A extends Error {}", "class A<T extends B> {}", "interface A extends B {}"],
  },
  "no swallowed errors": {
    rule: language.noEmptyCatch,
    in: TYPESCRIPT,
    bad: [
      "try { a(); } catch {}",
      "try { a(); } catch (error) { /* quiet */ }",
      "a().catch(() => {});",
      "a().catch((error) => {});",
      "a().catch(() => undefined);",
    ],
    good: ["try { a(); } catch { return 1; }", "a().catch((error) => log(error));"],
  },
  "no any": {
    rule: language.noAny,
    in: TYPESCRIPT,
    bad: ["let a: any;", "const a = <T = any>() => 1;", "f<any>()"],
    good: ["Promise.any([]);", 'const a = "any"; // any', "const a = { any: 1 };"],
  },
  "no non-null assertions": {
    rule: language.noNonNull,
    in: TYPESCRIPT,
    bad: ["a!.b", "f(a[0]!)", "g()!;", "let a!: string;"],
    good: ["if (!a) b = !c;", "a !== b; a != b;", "return !a;", "const a = [1];\n!b;"],
  },
  "casts have reasons": {
    rule: language.castsHaveReasons,
    in: SOURCE,
    bad: ["const a = b as string;", "f(g() as unknown as T);", "/** Opens. */\nconst a = b as T;"],
    good: [
      "const a = [1] as const;",
      'import { a as b } from "./x.ts";\nimport * as c from "./y.ts";\nexport { b as d };',
      "const a = JSON.parse(b) as T; // as: the schema was checked by the reader",
      "// as: the schema was checked by the reader\nconst a = JSON.parse(b) as T;",
      "type A = { [K in B as Exclude<K, C>]: D };",
      "/**\n * Reads.\n *\n * as: rows come typed from the one read\n */\nconst a = b as T;",
    ],
  },
  "no globals of one runtime": {
    rule: language.noRuntimeGlobals,
    in: SOURCE,
    bad: ["Deno.exit(1);", "const a = Bun.file(b);"],
    good: ['// Deno.exit\nconst a = "Deno.x";', "x.Deno.y"],
  },
  "limits of time keep no runtime": {
    rule: language.noHoldingTimeouts,
    in: SOURCE,
    bad: ["const a = AbortSignal.timeout(1);"],
    good: ["// AbortSignal.timeout\nconst a = AbortSignal.any([timeLimit(1)]);"],
  },
  "nothing says that it is unfinished": {
    rule: language.nothingUnfinished,
    in: TYPESCRIPT,
    bad: ["// FIX" + "ME: later", "/* XX" + "X */"],
    good: ["// fixed"],
  },
  "folders of src are in the table": {
    rule: layers.knownFolder,
    in: SOURCE,
    bad: [["src/extra/x.ts", ""], ["src/x.ts", ""]],
    good: [["src/event/x.ts", ""], ["src/edge-agent/sources/file/x.ts", ""]],
  },
  "imports follow the table": {
    rule: layers.importTable,
    in: SOURCE,
    bad: [
      ["src/event/x.ts", 'import { a } from "../runtime/log.ts";'],
      ["src/query/x.ts", 'import type { A } from "../pipeline/rollup.ts";'],
      ["src/edge-agent/sources/file/x.ts", 'import { a } from "../../../storage/table.ts";'],
      ["src/client/x.ts", 'const a = await import("../runtime/log.ts");'],
      ["src/storage/x.ts", 'export { a } from "../cli/main.ts";'],
      ["src/storage/x.ts", 'import { a } from "../../test/support/require.ts";'],
    ],
    good: [
      ["src/storage/x.ts", 'import { a } from "../event/event.ts";\nimport { b } from "./y.ts";'],
      ["src/cli/x.ts", 'import { a } from "../query/app.ts";'],
      ["src/edge-agent/sources/file/x.ts", 'import { a } from "../../source.ts";'],
    ],
  },
  "dependencies have one owner": {
    rule: layers.dependencyOwners,
    in: SOURCE,
    bad: [
      ["src/pipeline/x.ts", 'import { DuckDBInstance } from "@duckdb/node-api";'],
      ["src/storage/duckdb.ts", 'import koffi from "koffi";'],
      ["src/event/x.ts", 'import left from "left-pad";'],
    ],
    good: [
      ["src/storage/duckdb.ts", 'import { DuckDBInstance } from "@duckdb/node-api";'],
      ["src/query/routes/events.ts", 'import { Hono } from "hono/tiny";'],
      ["src/event/x.ts", 'import { createHash } from "node:crypto";'],
    ],
  },
  "specifiers end in .ts": {
    rule: layers.specifiersEndInTs,
    in: TYPESCRIPT,
    bad: ['import { a } from "./x";', 'import { a } from "../x.js";', 'await import("./x")'],
    good: ['import { a } from "./x.ts";', 'import a from "./x.json" with { type: "json" };'],
  },
  "names of contracts are spelled in the contracts": {
    rule: strays.contractNames,
    in: SOURCE,
    bad: [
      'headers.get("Probity-Digest")',
      "`audit.${shard}.${agent}`",
      '"audit.0.web"',
      "`probity.commit.${shard}`",
      "`AUDIT_${shard}`",
      '"PROBITY_watermarks"',
      "`table/_delta_log/${name}`",
      '"evidence/"',
    ],
    good: [
      ["src/event/wire.ts", '"Probity-Digest"; `AUDIT_${shard}`; `audit.${shard}`'],
      ["src/storage/layout.ts", "`table/${path}`"],
      '"audit"; "audit/query"; "Probity-Count"; "Probity-Scanned-Files"; "no table / bucket"',
    ],
  },
  "columns are listed once": {
    rule: strays.oneListOfColumns,
    in: SOURCE,
    bad: [
      '"time, incarnation, seq, idx, host, topic, logged_at, outcome"',
      '["time", "seq", "idx", "host", "topic", "user", "pid", "exe"]',
    ],
    good: [
      '["time", "host", "topic", "user"]',
      '"order by time, incarnation, seq, idx"; f("host"); g("user"); h("pid", "exe", "path")',
    ],
  },
};

const texts = await readRepository();
const sources = texts.filter(({ path }) => path.endsWith(".ts"))
  .map(({ path, text }) => sourceFile(path, text));

describe("the repository", () => {
  it("was read", () => {
    expect(sources.map(({ path }) => path)).toContain("src/event/columns.ts");
    expect(texts.map(({ path }) => path)).toContain("package.json");
  });

  for (const [name, { rule, in: where }] of Object.entries(CASES)) {
    it(name, () => {
      expect(sources.filter(({ path }) => where.test(path)).flatMap(rule)).toEqual([]);
    });
  }

  const ours = sources.filter(({ path }) => SOURCE.test(path));
  it("has no cycles of imports", () => expect(layers.noCycles(ours)).toEqual([]));
  it("has a client that browsers can load", () =>
    expect(layers.clientRunsInBrowsers(ours)).toEqual([]));
  it("holds nothing that is installed or made", async () =>
    expect(strays.nothingInstalled(await trackedPaths())).toEqual([]));
  it("names no path of a machine", () =>
    expect(texts.flatMap((file) => strays.noMachinePaths(file))).toEqual([]));
});

describe("the rules", () => {
  for (const [name, { rule, bad, good }] of Object.entries(CASES)) {
    it.each(bad.map(sample))(`can fail: ${name}: %#`, (file) => {
      expect(rule(file)).not.toEqual([]);
    });
    it.each(good.map(sample))(`can hold: ${name}: %#`, (file) => {
      expect(rule(file)).toEqual([]);
    });
  }

  it("find cycles, and none where only types go round", () => {
    const a = sourceFile("src/event/a.ts", 'import { b } from "./b.ts";');
    const b = sourceFile("src/event/b.ts", 'import { a } from "./a.ts";');
    const types = sourceFile("src/event/b.ts", 'import { type A } from "./a.ts";');
    expect(layers.noCycles([a, b])).toHaveLength(1);
    expect(layers.noCycles([a, types])).toEqual([]);
  });

  it("find what browsers cannot load, through other files", () => {
    const client = sourceFile("src/client/a.ts", 'import { b } from "../event/b.ts";');
    const node = sourceFile("src/event/b.ts", 'import { createHash } from "node:crypto";');
    const plain = sourceFile("src/event/b.ts", 'import type { Hash } from "node:crypto";');
    expect(layers.clientRunsInBrowsers([client, node])).toHaveLength(1);
    expect(layers.clientRunsInBrowsers([client, plain])).toEqual([]);
  });

  it("find what is installed, also as a link", () => {
    const paths = ["node_modules", "a/node_modules/b.ts", "probity-data/admin.token"];
    expect(strays.nothingInstalled(paths)).toHaveLength(3);
    expect(strays.nothingInstalled(["src/node_modules.ts", "package-lock.json"])).toEqual([]);
  });

  it("find paths of machines", () => {
    const text = `see ${"/wo" + "rk/main"}`;
    expect(strays.noMachinePaths({ path: "README.md", text })).toHaveLength(1);
    expect(strays.noMachinePaths({ path: "README.md", text: "a/work/b and network/" })).toEqual([]);
  });
});

function sample(
  text: string | readonly [path: string, text: string],
): ReturnType<typeof sourceFile> {
  return typeof text === "string" ? sourceFile("src/event/x.ts", text) : sourceFile(...text);
}
