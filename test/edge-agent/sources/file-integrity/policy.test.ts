import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compilePattern } from "../../../../src/edge-agent/sources/file-integrity/kinds/linear-pattern.ts";
import { parseExpression } from "../../../../src/edge-agent/sources/file-integrity/kinds/pattern-syntax.ts";
import {
  createPolicies,
  type FileRule,
  patternFault,
} from "../../../../src/edge-agent/sources/file-integrity/kinds/policy.ts";
import { processorMsOf } from "../../../support/processor-time.ts";

const policies = (rules: readonly FileRule[], homes: readonly string[] = []) =>
  createPolicies(rules, { homes });
const matches = (pattern: string, path: string): boolean => {
  const { match } = policies([{ paths: [pattern], kind: "digest" }], ["/home/a", "/srv/b*/"]);
  return match(Buffer.from(path).toString("latin1")) !== undefined;
};

describe("a path of a policy", () => {
  const cases:
    readonly (readonly [pattern: string, yes: readonly string[], no: readonly string[]])[] = [
      ["/etc/passwd", ["/etc/passwd"], [
        "/etc/passwd-",
        "/etc/passw",
        "/x/etc/passwd",
        "/etc/passwd/a",
      ]],
      ["/etc/*", ["/etc/a", "/etc/.hidden", "/etc/a\nb", "/etc/"], ["/etc/a/b", "/etc"]],
      ["/etc/*.conf", ["/etc/a.conf", "/etc/.conf"], ["/etc/a/b.conf", "/etc/a.conf.bak"]],
      ["/etc/**", ["/etc/a", "/etc/a/b/c"], ["/etc", "/etcetera/a"]],
      ["/etc/**/x", ["/etc/x", "/etc/a/x", "/etc/a/b/x"], ["/etc/ax", "/etc/a/bx", "/x"]],
      ["/**/**/x", ["/x", "/a/x", "/a/b/x"], ["/ax"]],
      ["/a**b/c", ["/ab/c", "/a/x/b/c"], ["/a/b"]],
      ["/etc/a?c", ["/etc/abc"], ["/etc/ac", "/etc/a/c", "/etc/abbc"]],
      ["/etc/[a-c]x", ["/etc/ax", "/etc/cx"], ["/etc/dx", "/etc/x"]],
      ["/etc/[!a-c]x", ["/etc/dx"], ["/etc/ax", "/etc//x"]],
      ["/etc/[^a]", ["/etc/b"], ["/etc/a", "/etc//"]],
      ["/etc/[]a]", ["/etc/]", "/etc/a"], ["/etc/b"]],
      ["/etc/[a-]", ["/etc/a", "/etc/-"], ["/etc/b"]],
      ["/etc/{a,b/c,d*}", ["/etc/a", "/etc/b/c", "/etc/dd"], ["/etc/b", "/etc/c"]],
      ["/etc/{a,{b,c}}x", ["/etc/ax", "/etc/cx"], ["/etc/x"]],
      ["/etc/{a,}b", ["/etc/ab", "/etc/b"], ["/etc/a"]],
      ["/etc/\\*", ["/etc/*"], ["/etc/a"]],
      ["/etc/ż*", ["/etc/żółw"], ["/etc/z"]],
      ["/etc/?\u20ac?", ["/etc/ż\u20ac\u{1f422}"], ["/etc/\u20ac"]],
      [
        "~/.ssh/authorized_keys*",
        ["/home/a/.ssh/authorized_keys2", "/srv/b*/.ssh/authorized_keys"],
        [
          "/home/c/.ssh/authorized_keys",
          "/srv/bx/.ssh/authorized_keys",
        ],
      ],
      ["re:\\.conf$", ["/a.conf", "/x/b.conf"], ["/a.conf.d"]],
      ["re:^/etc/(a|b)+/\\d{2,3}$", ["/etc/ab/12", "/etc/a/123"], [
        "/etc/c/12",
        "/etc/a/1",
        "/x/etc/a/12",
      ]],
      ["re:swp", ["/a.swp", "/swp/x"], ["/sw"]],
    ];
  it.each(cases)("%s", (pattern, yes, no) => {
    expect(yes.filter((path) => !matches(pattern, path))).toEqual([]);
    expect(no.filter((path) => matches(pattern, path))).toEqual([]);
  });

  it.each([
    ["etc/passwd", 'it begins neither with "/" nor with "~/" or "re:"'],
    ["/etc/[a", '"[" without "]" at character 6'],
    ["/etc/{a", '"{" without "}" at character 6'],
    ["/etc/[z-a]", "a range out of order in the class at character 6"],
    ["/etc/\\", "a backslash at the end"],
    ["re:(a", '"(" without ")" at character 1'],
    ["re:a)", '")" without "(" at character 2'],
    ["re:*", 'nothing to repeat before "*" at character 1'],
    ["re:a**", "nothing to repeat at character 2"],
    ["re:(?=a)", 'lookaround and other "(?" at character 1 are not supported'],
    ["re:(a)\\1", '"\\1" at character 4 is not supported'],
    ["re:\\bword", '"\\b" at character 1 is not supported'],
    ["re:a{3,2}", "repeated out of 0 to 1000 times at character 2"],
    ["re:(a{1000}){1000}", "the pattern needs more than 4096 steps"],
  ])("%s is refused with the reason", (pattern, why) => {
    expect(patternFault(pattern)).toBe(`Cannot use path "${pattern}": ${why}`);
    expect(() => policies([{ paths: ["/a"], exclude: [pattern] }])).toThrow(why);
  });

  it("that can be used has no fault, and a deep or empty one ends", () => {
    expect(patternFault("/etc/**")).toBeUndefined();
    expect(patternFault("~/.ssh/*")).toBeUndefined();
    expect(patternFault(`re:${"(".repeat(60)}a${")".repeat(60)}`)).toContain("more than 50 groups");
    expect(patternFault("re:(((){1000}){1000}){1000}")).toBeUndefined();
  });
});

describe("an expression", () => {
  const atom = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "\\d", "\\W", "/", "\\.", "^", "$");
  const { node } = fc.letrec<{ node: string }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      atom,
      fc.tuple(tie("node"), tie("node")).map(([one, two]) => one + two),
      fc.tuple(tie("node"), tie("node")).map(([one, two]) => `(${one}|${two})`),
      fc.tuple(tie("node"), fc.constantFrom("*", "+", "?", "{2}", "{0,2}", "{1,}"))
        .map(([inner, times]) => `(?:${inner})${times}`),
    ),
  }));
  const text = fc.string({ unit: fc.constantFrom("a", "b", "/", ".", "1", "\n"), maxLength: 8 });

  it("matches what the runtime's own expressions match", () => {
    fc.assert(
      fc.property(node, fc.array(text, { maxLength: 12 }), (source, texts) => {
        const [ours, theirs] = [matcher(source), new RegExp(source, "s")];
        for (const each of texts) {
          expect([source, each, ours(each)]).toEqual([source, each, theirs.test(each)]);
        }
      }),
      { numRuns: 400 },
    );
  });

  it("that makes backtracking explode takes no time", () => {
    const tookMs = processorMsOf(() => {
      for (const source of ["(a+)+$", "^(a|a)*$", "(.*a){20}$", "((a{0,20}){0,20})*b"]) {
        expect(matcher(source)(`${"a".repeat(4_000)}!`)).toBe(false);
      }
    });
    expect(tookMs).toBeLessThan(2_000);
  });

  /** Searching anywhere, as a policy does it. */
  function matcher(source: string): (text: string) => boolean {
    const dot = parseExpression(".*");
    const pattern = compilePattern({ kind: "sequence", nodes: [dot, parseExpression(source)] });
    return (each) => pattern.test(each);
  }
});

describe("of several policies", () => {
  const rules: readonly FileRule[] = [
    { paths: ["/etc/**"], exclude: ["/etc/ssl/**", "re:~$"] },
    { paths: ["/etc/**", "/usr/**"], kind: "digest" },
    { paths: ["/etc/sudoers.d/*"], kind: "sudoers" },
    { paths: ["/etc/hosts"], kind: "content-diff" },
  ];
  it.each([
    ["/etc/sudoers.d/a", { kind: "sudoers", rule: 2 }],
    ["/etc/hosts", { kind: "content-diff", rule: 0 }],
    ["/etc/ssl/a", { kind: "digest", rule: 1 }],
    ["/etc/hosts~", { kind: "digest", rule: 1 }],
    ["/usr/bin/x", { kind: "digest", rule: 1 }],
    ["/var/x", undefined],
    ["/etc/shadow", { kind: "accounts", rule: 0 }],
    ["/etc/group-", { kind: "accounts", rule: 0 }],
    ["/etc/pam.d/passwd", { kind: "content-diff", rule: 0 }],
  ])("that of the most specific kind, then the first one, has %s", (path, expected) => {
    expect(policies(rules).match(path)).toEqual(expected);
  });

  it("keys that let in are accounts below a policy of text, and digests below one of digests", () => {
    const path = "/root/.ssh/authorized_keys";
    expect(policies([{ paths: ["/root/**"] }]).match(path)?.kind).toBe("accounts");
    expect(policies([{ paths: ["/root/**"], kind: "digest" }]).match(path)?.kind).toBe("digest");
  });

  it("a folder is walked only where something below may match", () => {
    const { mayHoldBelow } = policies([{ paths: ["/etc/*/x", "re:^/var/log/"] }]);
    const folders = [
      "/",
      "/etc",
      "/etc/a",
      "/etc/a/x",
      "/usr",
      "/var",
      "/var/log/deep/er",
      "/etcx",
    ];
    expect(folders.filter(mayHoldBelow)).toEqual([
      "/",
      "/etc",
      "/etc/a",
      "/var",
      "/var/log/deep/er",
    ]);
  });
});

describe("watching begins", () => {
  const roots = (paths: readonly string[], homes: readonly string[] = []) =>
    policies([{ paths }], homes).roots.map(({ folder, depth }) => [folder, depth]);
  const cases: readonly (readonly [string, readonly string[], readonly unknown[]])[] = [
    ["at the folder of a file", ["/etc/passwd"], [["/etc", 1]]],
    ["at the last fixed folder", ["/etc/ssh/*.d/*.conf"], [["/etc/ssh", 2]]],
    ["at the root", ["/*", "/x"], [["/", 1]]],
    ["as deep as two asterisks go", ["/etc/**/x"], [["/etc", Infinity]]],
    ["once for folders in folders", ["/etc/**", "/etc/ssh/a", "/etcx/a"], [["/etc", Infinity], [
      "/etcx",
      1,
    ]]],
    ["apart where the outer one does not reach", ["/etc/*", "/etc/a/b"], [["/etc", 1], [
      "/etc/a",
      1,
    ]]],
    ["at each choice of braces", ["/{etc,usr/lib}/systemd/*"], [["/etc/systemd", 1], [
      "/usr/lib/systemd",
      1,
    ]]],
    ["without escapes", ["/a\\*b/c/*"], [["/a*b/c", 1]]],
    ["at what an expression fixes", ["re:^/etc/ssh/[a-z]"], [["/etc/ssh", Infinity]]],
    ["at the root for expressions that fix nothing", ["re:conf$"], [["/", Infinity]]],
    ["at the root when a choice fixes nothing", ["re:^/etc/a|b"], [["/", Infinity]]],
    ["above what an expression repeats", ["re:^/etc/a/*b"], [["/etc", Infinity]]],
  ];
  it.each(cases)("%s", (_name, paths, expected) => {
    expect(roots(paths)).toEqual(expected);
  });

  it("at every home, whatever its name", () => {
    expect(roots(["~/.ssh/authorized_keys"], ["/home/a", "/home/b[1]/", "relative", "/"]))
      .toEqual([["/home/a/.ssh", 1], ["/home/b[1]/.ssh", 1]]);
  });

  it("above everything that matches", () => {
    const part = fc.constantFrom(
      "a",
      "b",
      "*",
      "**",
      "{a,b}",
      "{a/b,c}",
      "[ab]",
      "a?",
      "\\*",
      "{a}",
    );
    const glob = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) =>
      `/${parts.join("/")}`
    );
    const path = fc.array(fc.constantFrom("a", "b", "c", "ab", "*"), { minLength: 1, maxLength: 5 })
      .map((parts) => `/${parts.join("/")}`);
    fc.assert(
      fc.property(fc.array(glob, { minLength: 1, maxLength: 3 }), path, (globs, each) => {
        const { match, roots: all, mayHoldBelow } = policies([{ paths: globs, kind: "digest" }]);
        fc.pre(match(each) !== undefined);
        const above = all.some(({ folder, depth }) => {
          const start = folder === "/" ? "/" : `${folder}/`;
          return each.startsWith(start) &&
            each.slice(start.length).split("/").length <= depth;
        });
        expect([globs, each, above]).toEqual([globs, each, true]);
        const folders = each.split("/").slice(1, -1).map((_, at) =>
          each.split("/").slice(0, at + 2).join("/")
        );
        expect([...folders, "/"].every(mayHoldBelow)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
