import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeChange } from "../../../../src/edge-agent/sources/file-integrity/kinds/describe-change.ts";
import type { FileKind } from "../../../../src/edge-agent/sources/file-integrity/kinds/file-kind.ts";
import { FILE_KINDS } from "../../../../src/edge-agent/sources/file-integrity/kinds/file-kind.ts";
import { reduceContent } from "../../../../src/edge-agent/sources/file-integrity/kinds/reduce-content.ts";
import { hostileText, KEY } from "./samples.ts";

const change = (kind: FileKind, path: string, texts: readonly [string, string]) => {
  const [before, after] = texts.map((text) =>
    reduceContent(Buffer.from(text), { kind, path, key: KEY })
  );
  return describeChange(before, after, { kind, path });
};
const told = (kind: FileKind, path: string, texts: readonly [string, string]) =>
  change(kind, path, texts).semantic.map(({ what, who, before, after }) =>
    `${what} ${who}: ${before} > ${after}`
  );

type Case = readonly [name: string, before: string, after: string, told: readonly string[]];

describe("changes of access.conf", () => {
  const cases: readonly Case[] = [
    ["a rule that came", "", "+ : root : LOCAL\n", ["rule/add root: null > +:root:LOCAL"]],
    ["a rule that went", "-:ALL:ALL\n", "", ["rule/remove ALL: -:ALL:ALL > null"]],
    ["addresses with colons", "", "+:a  b:2001:db8::/32\n", [
      "rule/add a b: null > +:a b:2001:db8::/32",
    ]],
    ["blanks and comments", "+:a:b\n", "# x\n  + :  a : b \n\n", []],
    ["another order", "+:a:b\n-:ALL:ALL\n", "-:ALL:ALL\n+:a:b\n", [
      "rule/order null: +:a:b > -:ALL:ALL",
    ]],
    ["a malformed line", "", "root\n*:a:b\n+:a\n", [
      "line/add null: null > root",
      "line/add null: null > *:a:b",
      "line/add null: null > +:a",
    ]],
  ];
  it.each(cases)("%s", (_name, before, after, expected) => {
    expect(told("access", "/etc/security/access.conf", [before, after])).toEqual(expected);
  });
});

describe("changes of sudoers", () => {
  const cases: readonly Case[] = [
    [
      "a rule",
      "root ALL=(ALL:ALL) ALL\n",
      "root ALL=(ALL:ALL) ALL\nbob  ALL=(ALL) NOPASSWD: ALL\n",
      [
        "rule/add bob: null > bob ALL=(ALL) NOPASSWD: ALL",
      ],
    ],
    ["a rule of several users", "", "alice, %wheel ,bob ALL = /bin/ls\n", [
      "rule/add alice, %wheel, bob: null > alice, %wheel ,bob ALL = /bin/ls",
    ]],
    ["a user by number is no comment", "", "#1000 ALL=ALL # one\n# comment\n", [
      "rule/add #1000: null > #1000 ALL=ALL",
    ]],
    ["continued lines", "", "bob ALL = \\\n  /bin/a, \\\n  /bin/b\n", [
      "rule/add bob: null > bob ALL = /bin/a, /bin/b",
    ]],
    ["a continued line that is joined means the same", "bob ALL=\\\n ALL\n", "bob ALL= ALL\n", []],
    [
      "an alias",
      "Cmnd_Alias A = /bin/a : B = /bin/b\n",
      "Cmnd_Alias A = /bin/a, /bin/c : B = /bin/b\n",
      [
        "alias/set Cmnd_Alias A: /bin/a > /bin/a, /bin/c",
      ],
    ],
    ["an alias that went", "User_Alias ADMINS = alice\n", "", [
      "alias/unset User_Alias ADMINS: alice > null",
    ]],
    [
      "includes of both forms",
      "#includedir /etc/sudoers.d\n",
      "@includedir /etc/sudoers.d\n@include /tmp/x\n",
      [
        "include/add null: null > @include /tmp/x",
      ],
    ],
    [
      "defaults",
      "Defaults env_reset\n",
      "Defaults !env_reset\nDefaults:bob timestamp_timeout=-1\n",
      [
        "defaults/remove null: Defaults env_reset > null",
        "defaults/add null: null > Defaults !env_reset",
        "defaults/add null: null > Defaults:bob timestamp_timeout=-1",
      ],
    ],
    ["another order of rules", "a ALL=ALL\nb ALL=ALL\n", "b ALL=ALL\na ALL=ALL\n", [
      "rule/order null: a ALL=ALL > b ALL=ALL",
    ]],
    ["a malformed line", "", "what is this\n", ["line/add null: null > what is this"]],
    ["a comment and blanks", "a ALL=ALL\n", "# b ALL=ALL\na   ALL=ALL\n", []],
    ["an open end", "", "bob ALL = ALL \\", ["rule/add bob: null > bob ALL = ALL"]],
  ];
  it.each(cases)("%s", (_name, before, after, expected) => {
    expect(told("sudoers", "/etc/sudoers", [before, after])).toEqual(expected);
  });
});

describe("changes of units", () => {
  const path = "/etc/systemd/system/web.service";
  const cases: readonly Case[] = [
    ["a value", "[Service]\nExecStart=/bin/a\n", "[Service]\nExecStart = /bin/b\n", [
      "unit/set web.service [Service] ExecStart: /bin/a > /bin/b",
    ]],
    ["a new and an old key", "[Unit]\nA=1\n", "[Unit]\nB=2\n", [
      "unit/unset web.service [Unit] A: 1 > null",
      "unit/set web.service [Unit] B: null > 2",
    ]],
    ["the same key of another section", "[Unit]\nA=1\n", "[Install]\nA=1\n", [
      "unit/unset web.service [Unit] A: 1 > null",
      "unit/set web.service [Install] A: null > 1",
    ]],
    ["a list that grows", "[Service]\nEnv=a\n", "[Service]\nEnv=a\nEnv=b\n", [
      "unit/set web.service [Service] Env: a > a\nb",
    ]],
    ["continued lines with a comment between", "", "[Service]\nExecStart=/bin/a \\\n# x\n  -b\n", [
      "unit/set web.service [Service] ExecStart: null > /bin/a -b",
    ]],
    ["comments and blanks", "[Unit]\nA=1\n", "; x\n\n[Unit]\n# y\n A = 1\n", []],
    ["malformed lines", "", "A=1\n[Unit]\nnonsense\n=x\n", [
      "line/add web.service: null > A=1",
      "line/add web.service: null > nonsense",
      "line/add web.service: null > =x",
    ]],
    [
      "a secret in the environment",
      "[Service]\nEnvironment=DB_PASSWORD=one A=b\n",
      "[Service]\nEnvironment=DB_PASSWORD=two A=b\n",
      [
        "unit/set web.service [Service] Environment: DB_PASSWORD={redacted} > DB_PASSWORD={redacted, new}",
      ],
    ],
  ];
  it.each(cases)("%s", (_name, before, after, expected) => {
    expect(told("units", path, [before, after])).toEqual(expected);
  });

  it("in drop-ins are of the unit they belong to", () => {
    const at = "/run/systemd/system/ssh.socket.d/50-x.conf";
    expect(told("units", at, ["", "[Socket]\nListenStream=2222\n"])).toEqual([
      "unit/set ssh.socket [Socket] ListenStream: null > 2222",
    ]);
  });
});

describe("changes of crontabs", () => {
  const cases:
    readonly (readonly [name: string, path: string, after: string, told: readonly string[]])[] = [
      ["a job of the system's table", "/etc/crontab", "17 *\t* * *\troot  run-parts /etc/x\n", [
        "job/add root: null > 17 * * * * run-parts /etc/x",
      ]],
      ["a job of a folder", "/etc/cron.d/a", "@reboot bob /bin/x  -y\n", [
        "job/add bob: null > @reboot /bin/x  -y",
      ]],
      [
        "a job of a user's table",
        "/var/spool/cron/crontabs/bob",
        "*/5 1-3 * JAN MON /bin/x # y\n",
        [
          "job/add bob: null > */5 1-3 * JAN MON /bin/x # y",
        ],
      ],
      ["a table elsewhere", "/var/spool/cron/alice", "@daily x\n", [
        "job/add alice: null > @daily x",
      ]],
      ["a setting", "/etc/crontab", "MAILTO = root\nPATH=/bin:/tmp\n", [
        "environment/set MAILTO: null > root",
        "environment/set PATH: null > /bin:/tmp",
      ]],
      ["a job of anacron", "/etc/anacrontab", "7 10 cron.weekly nice run-parts x\n", [
        "job/add cron.weekly: null > 7 10 nice run-parts x",
      ]],
      ["scripts have no jobs", "/etc/cron.daily/apt", "#!/bin/sh\n* * * * * x y\n", []],
      ["malformed lines", "/etc/crontab", "* * * root\nhello\n* * * * *\n", [
        "line/add null: null > * * * root",
        "line/add null: null > hello",
        "line/add null: null > * * * * *",
      ]],
      [
        "a token in a command",
        "/etc/cron.d/a",
        "@daily root curl -H 'Authorization: Bearer abcdefghijklmnopqrstuvwxyz' http://x\n",
        [
          "job/add root: null > @daily curl -H 'Authorization: Bearer {redacted, new}' http://x",
        ],
      ],
    ];
  it.each(cases)("%s", (_name, path, after, expected) => {
    expect(told("cron", path, ["", after])).toEqual(expected);
  });
});

describe("gravity", () => {
  it.each(
    [
      ["access", "+:a:b\n", "high"],
      ["sudoers", "a ALL=ALL\n", "high"],
      ["sudoers", "# a\n", "info"],
      ["units", "[Unit]\nA=1\n", "high"],
      ["cron", "@daily root x\n", "medium"],
      ["content-diff", "hello\n", "info"],
    ] as const,
  )("of a change of %s to %j is %s", (kind, text, severity) => {
    const description = change(kind, "/etc/cron.d/x", ["", text]);
    expect(description.severity).toBe(severity);
    expect(description.diff).toContain(`+${text.split("\n")[0]}\n`);
  });

  it("of a change that cannot be compared is that of the kind", () => {
    const missing = { missing: "binary" };
    const of = (kind: FileKind) => describeChange(missing, missing, { kind, path: "/etc/x" });
    expect(of("sudoers")).toMatchObject({ severity: "high", diffMissing: "binary" });
    expect(of("content-diff")).toMatchObject({ severity: "info", diffMissing: "binary" });
  });
});

describe("whatever stands in a file", () => {
  const path = fc.constantFrom(
    "/etc/crontab",
    "/var/spool/cron/a",
    "/etc/sudoers",
    "/etc/a.service",
    "/etc/x",
  );

  it("is described under every kind, within limits, and nothing is told of what is the same", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...FILE_KINDS),
        path,
        hostileText,
        hostileText,
        (kind, at, before, after) => {
          const description = change(kind, at, [before, after]);
          const text = JSON.stringify(description);
          expect(JSON.parse(text)).toBeDefined();
          expect(text.isWellFormed()).toBe(true);
          expect(description.semantic.length).toBeLessThanOrEqual(100);
          const same = change(kind, at, [after, after]);
          expect([same.diff, same.semantic]).toEqual([undefined, []]);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("of any bytes is escaped alike on both sides", () => {
    const description = (before: Uint8Array, after: Uint8Array) => {
      const [old, now] = [before, after].map((bytes) =>
        reduceContent(bytes, { kind: "content-diff", path: "/etc/x", key: KEY })
      );
      return describeChange(old, now, { kind: "content-diff", path: "/etc/x" });
    };
    const { diff, isDiffEscaped } = description(
      Buffer.from("a\\b\n"),
      Buffer.from("a\\b\nc\xff\n", "latin1"),
    );
    expect(isDiffEscaped).toBe(true);
    expect(diff).toContain(" a\\x5cb\n+c\\xff\n");
    fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (before, after) => {
      expect(JSON.stringify(description(before, after)).isWellFormed()).toBe(true);
    }));
  });

  it("is told under its name, whatever bytes that has", () => {
    const kept = reduceContent(Buffer.from("a\n"), { kind: "content-diff", path: "/x", key: KEY });
    const of = (name: Uint8Array) =>
      describeChange(undefined, kept, {
        kind: "content-diff",
        path: Buffer.from(name).toString("latin1"),
      });
    expect(of(Buffer.from("/etc/\u017c")).diff).toContain("+++ /etc/\u017c\n");
    expect(of(Buffer.from("/etc/\xff", "latin1"))).toMatchObject({
      diff: expect.stringContaining("+++ /etc/\\\\xff\n"),
      isDiffEscaped: true,
    });
  });

  it("is cut where a line is as long as the file", () => {
    const { semantic, semanticOmitted } = change("cron", "/etc/crontab", [
      "",
      `@daily root ${"x".repeat(20_000)}\n${
        Array.from({ length: 150 }, (_, at) => `@daily u${at} x\n`).join("")
      }`,
    ]);
    expect([semantic.length, semanticOmitted, semantic[0]?.after?.length]).toEqual([
      100,
      51,
      1_001,
    ]);
  });
});
