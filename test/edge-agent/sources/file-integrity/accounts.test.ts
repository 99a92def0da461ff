import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeChange } from "../../../../src/edge-agent/sources/file-integrity/kinds/describe-change.ts";
import { reduceContent } from "../../../../src/edge-agent/sources/file-integrity/kinds/reduce-content.ts";
import {
  fingerprintOf,
  SSH_KEY_TYPES,
} from "../../../../src/edge-agent/sources/file-integrity/kinds/ssh-key.ts";
import { blobOf, fingerprint, HASHES, hostileText, KEY, realKey } from "./samples.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "probity-keys-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const reduce = (path: string, text: string) =>
  reduceContent(Buffer.from(text), { kind: "accounts", path, key: KEY });
const change = (path: string, before: string | undefined, after: string | undefined) =>
  describeChange(
    before === undefined ? undefined : reduce(path, before),
    after === undefined ? undefined : reduce(path, after),
    { kind: "accounts", path },
  );
/** `what who: before > after`, one per change. */
const told = (path: string, before: string | undefined, after: string | undefined) =>
  change(path, before, after).semantic.map(({ what, who, before: from, after: to }) =>
    `${what} ${who}: ${from} > ${to}`
  );

const ALICE = "alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n";
const ROOT = "root:x:0:0:root:/root:/bin/bash\n";

describe("changes of passwd, shadow, group and gshadow", () => {
  const { yescrypt = "", sha512crypt = "", bcrypt = "", descrypt = "" } = HASHES;
  const other = yescrypt.replace("X3DX", "Y4EY");
  const shadow = (hash: string, day = 19000) => `alice:${hash}:${day}:0:99999:7:::\n`;
  const cases: readonly (readonly [
    string,
    path: string,
    before: string,
    after: string,
    told: readonly string[],
  ])[] = [
    ["a new user", "/etc/passwd", ROOT, ROOT + ALICE, [
      "user/add alice: null > password=shadowed uid=1000 gid=1000 comment=Alice,,, home=/home/alice shell=/bin/bash",
    ]],
    ["a user that went", "/etc/passwd", ROOT + ALICE, ROOT, [
      "user/remove alice: password=shadowed uid=1000 gid=1000 comment=Alice,,, home=/home/alice shell=/bin/bash > null",
    ]],
    ["two fields", "/etc/passwd", ALICE, ALICE.replace(":1000:1000", ":0:0"), [
      "user/uid alice: 1000 > 0",
      "user/gid alice: 1000 > 0",
    ]],
    ["a password that is needed no more", "/etc/passwd", ALICE, ALICE.replace(":x:", "::"), [
      "user/password alice: shadowed > none",
    ]],
    ["a second entry of a name", "/etc/passwd", ROOT, ROOT + ROOT.replace("bash", "sh"), [
      "user/add root: null > password=shadowed uid=0 gid=0 comment=root home=/root shell=/bin/sh",
    ]],
    ["lines in another order", "/etc/passwd", ROOT + ALICE, ALICE + ROOT, []],
    ["a first password", "/etc/shadow", shadow("!"), shadow(yescrypt, 19001), [
      "user/password alice: locked > yescrypt",
      "user/password_changed alice: 19000 > 19001",
    ]],
    ["another password", "/etc/shadow", shadow(yescrypt), shadow(other), [
      "user/password alice: yescrypt > yescrypt, changed",
    ]],
    ["another algorithm", "/etc/shadow", shadow(descrypt), shadow(sha512crypt), [
      "user/password alice: descrypt > sha512crypt",
    ]],
    ["a lock before the hash", "/etc/shadow", shadow(bcrypt), shadow(`!${bcrypt}`), [
      "user/password alice: bcrypt > locked, bcrypt",
    ]],
    ["no password at all", "/etc/shadow", shadow(bcrypt), shadow(""), [
      "user/password alice: bcrypt > none",
    ]],
    ["a password of no known form", "/etc/shadow", shadow("*"), shadow("hunter2"), [
      "user/password alice: locked > unknown",
    ]],
    ["a line that came to shadow", "/etc/shadow", "", shadow("!"), [
      "user/password alice: null > locked",
    ]],
    ["a member of a group", "/etc/group", "sudo:x:27:\n", "sudo:x:27:alice,bob\n", [
      "group/members sudo:  > alice,bob",
    ]],
    ["a new group", "/etc/group", "", "wheel:x:10:alice\n", [
      "group/add wheel: null > password=shadowed gid=10 members=alice",
    ]],
    ["administrators of a group", "/etc/gshadow", "a:!::\n", `a:${sha512crypt}:bob:\n`, [
      "group/password a: locked > sha512crypt",
      "group/administrators a:  > bob",
    ]],
    ["a malformed line, as it stands", "/etc/passwd", ROOT, `${ROOT}broken line\nalice:x:ten:\n`, [
      "line/add null: null > broken line",
      "line/add null: null > alice:x:ten:",
    ]],
    ["a comment", "/etc/passwd", ROOT, `#${ROOT}${ROOT}`, []],
    ["an empty line", "/etc/group", "", "\n\n", []],
    ["a malformed line with a hash in the wrong place", "/etc/shadow", "", `alice ${yescrypt}\n`, [
      "line/add null: null > alice {hash}",
    ]],
  ];
  it.each(cases)("%s", (_name, path, before, after, expected) => {
    // What is new is marked so: here only what it is matters.
    const plain = (line: string) => line.replaceAll("{hash, new}", "{hash}");
    expect(told(path, before, after).map(plain)).toEqual(expected);
  });

  it("are grave, and are events of accounts", () => {
    const { severity, accounts, diff } = change("/etc/passwd", ROOT + ALICE, ROOT);
    expect(severity).toBe("high");
    expect(accounts).toEqual([{
      topic: "account/user/remove",
      severity: "high",
      target: "alice",
      what: "user/remove",
      before: expect.stringContaining("uid=1000"),
      after: null,
      message: "user alice was removed",
    }]);
    expect(diff).toBe(`--- /etc/passwd\n+++ /etc/passwd\n@@ -1,2 +1 @@\n ${ROOT}-${ALICE}`);
  });

  it("have an event per field, with who and what", () => {
    const { accounts } = change("/etc/group", "a:x:1:\n", "a:x:2:b\n");
    expect(accounts.map(({ topic, target, message }) => [topic, target, message])).toEqual([
      ["account/group/change", "a", "gid of group a was changed"],
      ["account/group/change", "a", "members of group a was changed"],
    ]);
  });

  it("of copies beside the files are neither grave nor events", () => {
    for (const path of ["/etc/passwd-", "/etc/shadow-", "/var/backups/passwd.bak"]) {
      const { accounts, severity, semantic } = change(path, "", `a:${yescrypt}:1:1::/:\n`);
      expect([path, accounts, severity, semantic.length]).toEqual([path, [], "low", 1]);
    }
  });

  it("show of a hash its algorithm and that it is new, in the diff, too", () => {
    const { diff } = change("/etc/shadow", shadow(yescrypt), shadow(other));
    expect(diff).toBe(
      "--- /etc/shadow\n+++ /etc/shadow\n@@ -1 +1 @@\n" +
        "-alice:{yescrypt}:19000:0:99999:7:::\n+alice:{yescrypt, new}:19000:0:99999:7:::\n",
    );
  });

  it("come and go with the file", () => {
    expect(change("/etc/shadow", undefined, shadow("!")).diff).toContain("--- /dev/null\n");
    expect(change("/etc/shadow", shadow("!"), undefined).diff).toContain("+++ /dev/null\n");
  });

  it("give the same hash another tag per user and per key", () => {
    const kept = (text: string, key: Uint8Array) =>
      Buffer.from(
        reduceContent(Buffer.from(text), { kind: "accounts", path: "/etc/shadow", key })
          .text ?? [],
      ).toString();
    const [alice = "", bob = ""] = kept(`${shadow(yescrypt)}bob:${yescrypt}:1::::::`, KEY)
      .split("\n").map((line) => line.split(":")[1] ?? "");
    expect(alice).not.toBe(bob);
    expect(kept(shadow(yescrypt), KEY)).not.toBe(kept(shadow(yescrypt), Buffer.alloc(32, 8)));
  });
});

describe("changes of authorized_keys", () => {
  const path = "/home/alice/.ssh/authorized_keys";

  it.each([...SSH_KEY_TYPES])("name a key of type %s by its fingerprint", (type) => {
    const blob = blobOf(type);
    expect(told(path, "", `${type} ${blob} a b\n`)).toEqual([
      `key/add alice: null > ${type} ${fingerprint(blob)} a b`,
    ]);
    expect(fingerprintOf("ssh-other", blob)).toBeUndefined();
  });

  it("have the fingerprints that ssh-keygen prints", () => {
    for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
      const key = realKey(folder, type);
      const line = readFileSync(`${key.file}.pub`, "utf8");
      const { semantic, accounts } = change(path, undefined, line);
      expect(semantic[0]?.after).toContain(` ${key.fingerprint} someone@host`);
      expect(accounts[0]?.topic).toBe("account/key/add");
    }
  });

  it("tell of options, comments and what went", () => {
    const [one, two] = [blobOf("ssh-rsa"), blobOf("ssh-ed25519")];
    const options = 'from="10.0.0.0/8",command="echo \\"a b\\" c",no-pty';
    const before = `ssh-rsa ${one} a\nssh-ed25519 ${two} b\n`;
    const after = `${options} ssh-rsa ${one} c\n`;
    expect(told(path, before, after)).toEqual([
      `key/remove alice: ssh-ed25519 ${fingerprint(two)} b > null`,
      `key/options alice: ssh-rsa ${fingerprint(one)} > ssh-rsa ${fingerprint(one)} ${options}`,
      `key/comment alice: ssh-rsa ${fingerprint(one)} a > ssh-rsa ${fingerprint(one)} c`,
    ]);
  });

  it("know whose keys they are by the path or by who says so", () => {
    const kept = reduce(path, `ssh-rsa ${blobOf("ssh-rsa")}`);
    const who = (at: string, owner?: string) =>
      describeChange(undefined, kept, { kind: "accounts", path: at, owner }).semantic[0]?.who;
    expect(who("/root/.ssh/authorized_keys")).toBe("root");
    expect(who("/home/x/bob/.ssh/authorized_keys2")).toBe("bob");
    expect(who("/etc/ssh/authorized_keys.d/carol")).toBe("carol");
    expect(who("/srv/git/.ssh/authorized_keys")).toBeNull();
    expect(who("/srv/git/.ssh/authorized_keys", "git")).toBe("git");
  });

  it("report malformed lines as they are, without what may be a key", () => {
    const blob = blobOf("ssh-rsa", 256);
    const lines = told(
      path,
      "",
      `ssh-rsa\nssh-rsa ${blob.slice(0, 90)}!\nssh-foo ${blob}\nhello\n`,
    );
    expect(lines).toEqual([
      "line/add alice: null > ssh-rsa",
      "line/add alice: null > ssh-rsa {key, new}!",
      "line/add alice: null > ssh-foo {key, new}",
      "line/add alice: null > hello",
    ]);
  });
});

describe("whatever stands in an account file", () => {
  const secret = fc.oneof(
    fc.constantFrom(...Object.values(HASHES)),
    fc.uint8Array({ minLength: 32, maxLength: 300 }).map((bytes) =>
      blobOf("ssh-ed25519", 0, bytes)
    ),
  );
  const paths = fc.constantFrom(
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/root/.ssh/authorized_keys",
    "/etc/shadow-",
  );
  const file = fc.tuple(hostileText, secret, hostileText, secret, hostileText);

  it("is described, and no hash or key of it is kept or told", () => {
    fc.assert(
      fc.property(paths, file, file, (path, before, after) => {
        const kept = [before, after].map((parts) => reduce(path, parts.join("\n")));
        const description = describeChange(kept[0], kept[1], { kind: "accounts", path });
        const all = kept.map(({ text }) => Buffer.from(text ?? []).toString("latin1")).join("") +
          JSON.stringify(description);
        for (const each of [before[1], before[3], after[1], after[3]]) {
          // Thirteen letters are a hash where hashes stand; in a file of keys they are a word.
          if (path.endsWith("_keys") && each.length < 21) continue;
          // A hash by its body, a key by any stretch that would tell it.
          const body = each.includes("$") ? each.slice(-12) : each;
          for (const piece of [body, body.slice(-40), body.slice(0, 60)]) {
            expect(all).not.toContain(piece);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("is told line by line, also between colons of an entry", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.values(HASHES)),
        fc.nat(8),
        paths,
        (hash, place, path) => {
          fc.pre(!path.endsWith("_keys") || hash.includes("$"));
          const fields = Array.from({ length: 9 }, (_, at) => at === place ? hash : "a");
          const { diff = "", semantic } = change(path, "", `${fields.join(":")}\n`);
          expect(diff + JSON.stringify(semantic)).not.toContain(hash.slice(-12));
        },
      ),
    );
  });
});

describe("events of account files", () => {
  const dummies = (count: number): string =>
    Array.from({ length: count }, (_each, id) => `a${id}:x:${id}:1::/:/bin/false\n`).join("");
  const evil = "evil:x:0:0::/root:/bin/sh\n";

  it("are told of every change, also of those that the list omits", () => {
    const { semantic, semanticOmitted, accounts } = change(
      "/etc/passwd",
      ROOT,
      ROOT + dummies(100) + evil,
    );
    expect([semantic.length, semanticOmitted, accounts.length]).toEqual([100, 1, 101]);
    expect(accounts.at(-1)).toMatchObject({ topic: "account/user/add", target: "evil" });
  });

  it("say how many there are not, beyond 10,000", () => {
    const { accounts } = change("/etc/passwd", ROOT, ROOT + dummies(10_000) + evil + ALICE);
    expect(accounts).toHaveLength(10_001);
    expect(accounts.at(-1)).toMatchObject({
      topic: "account/user/change",
      severity: "high",
      what: "user/omitted",
      message: "2 more changes of users, groups or keys have no event of their own",
    });
  });
});
