import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withoutSecrets } from "../../../../src/edge-agent/sources/file-integrity/kinds/content-secrets.ts";
import { describeChange } from "../../../../src/edge-agent/sources/file-integrity/kinds/describe-change.ts";
import type { FileKind } from "../../../../src/edge-agent/sources/file-integrity/kinds/file-kind.ts";
import { reduceContent } from "../../../../src/edge-agent/sources/file-integrity/kinds/reduce-content.ts";
import { shown } from "../../../../src/edge-agent/sources/file-integrity/kinds/secret-marker.ts";
import { blobOf, fingerprint, HASHES, hostileText, KEY, pem, realKey } from "./samples.ts";

const reduced = (text: string) => shown(withoutSecrets(text, KEY));

describe("a line", () => {
  const R = "{redacted}";
  const cases: readonly (readonly [line: string, kept: string])[] = [
    ["password = hunter2", `password = ${R}`],
    ["DB_PASSWORD=hunter2 two", `DB_PASSWORD=${R}`],
    ["  db-password: 'hunter2'  ", `  db-password: '${R}'  `],
    ['  "apiKey": "abc",', `  "apiKey": "${R}",`],
    ["requirepass hunter2", `requirepass ${R}`],
    ['secret "abc";', `secret "${R}";`],
    ["PrivateKey = abc=", `PrivateKey = ${R}`],
    ["#password=old", `#password=${R}`],
    ["export API_TOKEN=abc", `export API_TOKEN=${R}`],
    ["<Password>hunter2</Password>", `<Password>${R}</Password>`],
    ['<add key="x" password="hunter2" />', `<add key="x" password="${R}" />`],
    ["run --password hunter2 --verbose", `run --password ${R} --verbose`],
    ["run --token=abc;ls", `run --token=${R};ls`],
    ["url=postgres://me:hunter2@db/x", `url=postgres://me:${R}@db/x`],
    ["Server=db;Password=hunter2;Port=1", `Server=db;Password=${R};Port=1`],
    ["x: Bearer abcdefghijklmnop1234", `x: Bearer ${R}`],
    [`admin:${HASHES["bcrypt"]}`, `admin:${R}`],
    ["admin:{SSHA}abcdefghijkl", `admin:${R}`],
    ["t ghp_abcdefghijklmnopqrstuvwx", `t ${R}`],
    ["t prb_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13sRzl1", "t prb_{key}"],
    ["t eyJhbGciOiJI.eyJzdWIiOiIx.sig-na_ture", `t ${R}`],
    ["t=x-eyJhbGciOiJI.eyJzdWIiOiIx.;", `t=x-${R};`],
    ["long.name.eyJhbGciOiJI.eyJzdWIiOiIx.sig.rest", `long.name.${R}.rest`],
    ["requirepass hunter2\r", `requirepass ${R}\r`],
    ["password = 'hunter2' ; \r", `password = '${R}' ; \r`],
    // What is no secret stays.
    ["PasswordAuthentication no", "PasswordAuthentication no"],
    ["password required pam_unix.so sha512", "password required pam_unix.so sha512"],
    [
      "password\t[success=1 default=ignore]\tpam_unix.so",
      "password\t[success=1 default=ignore]\tpam_unix.so",
    ],
    ["Password must be long", "Password must be long"],
    ["password=", "password="],
    ["password: true", "password: true"],
    ["password = ${DB_PASSWORD}", "password = ${DB_PASSWORD}"],
    ["token_file = /etc/x", "token_file = /etc/x"],
    ["http://host:80/a@b", "http://host:80/a@b"],
    ["see sk-ssh-ed25519@openssh.com", "see sk-ssh-ed25519@openssh.com"],
    [
      "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 x",
      "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 x",
    ],
    [
      "/usr/lib/x86_64-linux-gnu/some/where/far/below",
      "/usr/lib/x86_64-linux-gnu/some/where/far/below",
    ],
    ["a\x7fb", "a\\x7fb"],
  ];
  it.each(cases)("%j is kept as %j", (line, kept) => {
    expect(reduced(line)).toBe(kept);
  });

  it("keeps its keys as fingerprints", () => {
    const blob = blobOf("ssh-rsa", 256);
    expect(reduced(`host ssh-rsa ${blob}`)).toBe(`host ssh-rsa ${fingerprint(blob)}`);
  });
});

const MIB = 1024 * 1024;
const filled = (part: string, length = MIB): string =>
  part.repeat(Math.ceil(length / part.length)).slice(0, length);

type Place = { readonly kind: FileKind; readonly path: string };
const KEYS: Place = { kind: "accounts", path: "/home/a/.ssh/authorized_keys" };
const PASSWD: Place = { kind: "accounts", path: "/etc/passwd" };
const UNIT: Place = { kind: "units", path: "/etc/systemd/system/a.service" };
const CRON: Place = { kind: "cron", path: "/etc/crontab" };
const SUDOERS: Place = { kind: "sudoers", path: "/etc/sudoers" };

describe("no text of a file takes long", () => {
  const blanks = filled(" ", 65_500);
  const cases: readonly (readonly [name: string, text: string, place?: Place])[] = [
    ["a value, blanks, and more", `password=x${blanks}y`],
    ["a marker, blanks, and more", `password=-----BEGIN SECRET-----END SECRET-----${blanks}y`],
    ["a word, returns, and more", `password ${filled("\r", 65_500)} x`],
    ["a setting without a sign", `[S]\na${filled(" ", MIB - 5)}`, UNIT],
    ["a job of blanks", `@a${filled(" ", MIB - 5)}\rx`, CRON],
    ["a setting of blanks", `A=${filled(" ", MIB - 5)}\rx`, CRON],
    ["aliases without a value", `User_Alias ${filled("A: ", MIB - 12)}`, SUDOERS],
    ["users of one line", filled(":"), PASSWD],
    ["users of many lines", filled(":a\n"), PASSWD],
    ["secrets of many lines", filled("pwd=a\n")],
    ["secrets of one line", filled("pwd=a ")],
    ["keys that begin", filled("-----BEGIN A-----\n")],
    [
      "keys of many kinds that begin",
      Array.from({ length: 45_000 }, (_each, number) => `-----BEGIN ${number}-----\n`).join(""),
    ],
    ["keys that begin and end", filled("-----BEGIN A-----END A-----\n")],
    ...[
      "-eyJ",
      "eyJ",
      "eyJaaaaaaaa.",
      "password",
      '="',
      "$6$a",
      "a.",
      "-",
      "--token ",
      "http://a:",
      "<a",
      "AAAA",
      "ssh-rsa ",
      "a ",
    ].map((part) => [`${part} again and again`, filled(part)] as const),
  ];
  it.each(cases.map(([name, text, place = KEYS]) => ({ name, text, place })))(
    "$name",
    ({ text, place }) => {
      const options = { ...place, key: KEY };
      // Time of the processor: others use it, too.
      const begun = process.cpuUsage();
      const kept = reduceContent(Buffer.from(text, "latin1"), options);
      describeChange({ text: Buffer.from("before\n") }, kept, place);
      expect(process.cpuUsage(begun).user / 1000).toBeLessThan(2000);
      expect(kept.text?.byteLength ?? 0).toBeLessThan(8 * MIB);
    },
  );
});

describe("a block of a key", () => {
  it("is one line with the fingerprint that ssh-keygen prints", () => {
    const folder = mkdtempSync(join(tmpdir(), "probity-keys-"));
    try {
      const key = realKey(folder, "ed25519");
      const text = readFileSync(key.file, "utf8");
      expect(reduced(`a\n${text}b\n`)).toBe(`a\n{openssh private key} ${key.fingerprint}\nb\n`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("that does not end hides all the rest", () => {
    const cut = pem().split("\n").slice(0, 2).join("\n");
    expect(reduced(`a\n${cut}\nmore\n`)).toBe("a\n{private key}");
  });

  it("of a certificate has the fingerprint of its bytes, and one that does not end stays", () => {
    const block = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----";
    expect(reduced(`${block}\n`)).toBe(`{certificate} ${fingerprint("AAAABBBB")}\n`);
    expect(reduced("-----BEGIN CERTIFICATE-----\nx\n")).toBe("-----BEGIN CERTIFICATE-----\nx\n");
  });

  it("that changed is grave", () => {
    const kept = (text: string) =>
      reduceContent(Buffer.from(text), { kind: "content-diff", path: "/etc/ssl/a.key", key: KEY });
    const { severity, diff } = describeChange(kept(pem()), kept(pem()), {
      kind: "content-diff",
      path: "/etc/ssl/a.key",
    });
    expect(severity).toBe("high");
    expect(diff).toMatch(
      /\n-\{private key\} SHA256:\S{43}\n\+\{private key, new\} SHA256:\S{43}\n$/,
    );
  });
});

describe("no secret is kept or told", () => {
  it("wherever it stands", () => {
    const secret = fc.oneof(
      fc.constantFrom(...Object.values(HASHES).filter((hash) => hash.startsWith("$"))).map((
        hash,
      ) => ({
        text: hash,
        body: hash.slice(-12),
      })),
      fc.uint8Array({ minLength: 40, maxLength: 300 }).map((bytes) => {
        const blob = blobOf("ssh-rsa", 0, bytes);
        return { text: blob, body: blob.slice(20, 60) };
      }),
      fc.constantFrom("password=", "--secret ", "token: ", "x://u:").map((name) => ({
        text: `${name}q7W9zR2kLmX${name.startsWith("x:") ? "@h" : ""}`,
        body: "q7W9zR2kLmX",
      })),
      fc.constant(null).map(() => {
        const text = pem();
        return { text, body: text.split("\n")[1] ?? "" };
      }),
    );
    const glue = fc.constantFrom("\n", " ", "\t", "\n  ", " \n");
    fc.assert(
      fc.property(
        hostileText,
        fc.array(fc.tuple(glue, secret, glue, hostileText), { minLength: 1, maxLength: 3 }),
        (head, parts) => {
          const text = head +
            parts.map(([open, { text: inner }, close, rest]) => open + inner + close + rest).join(
              "",
            );
          const kept = reduceContent(Buffer.from(text, "utf8"), {
            kind: "content-diff",
            path: "/etc/x",
            key: KEY,
          });
          const told = JSON.stringify(
            describeChange(undefined, kept, { kind: "content-diff", path: "/etc/x" }),
          );
          const all = Buffer.from(kept.text ?? []).toString("latin1") + told;
          for (const [, { body }] of parts) expect(all).not.toContain(body);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("what is not kept says why", () => {
  it.each(
    [
      ["a\0b", "content-diff", "/etc/x", "binary"],
      ["abc", "content-diff", "/etc/x", "larger than 2 bytes"],
      ["abc", "digest", "/etc/x", "kind digest"],
      ["a", "content-diff", "/etc/ppp/chap-secrets", "content is secret"],
      ["a:b\n".repeat(10_001), "accounts", "/etc/passwd", "more than 10000 secrets"],
    ] as const,
  )("%j under %s at %s: %s", (text, kind, path, missing) => {
    const bytesMax = text === "abc" ? 2 : MIB;
    expect(reduceContent(Buffer.from(text), { kind, path, key: KEY, bytesMax })).toEqual({
      missing,
    });
  });

  it("zero bytes in an account file are lines as they stand", () => {
    const kept = reduceContent(Buffer.from("a\0b\n"), {
      kind: "accounts",
      path: "/etc/passwd",
      key: KEY,
    });
    const { diff } = describeChange(undefined, kept, { kind: "accounts", path: "/etc/passwd" });
    expect(diff).toContain("+a\0b\n");
  });
});
