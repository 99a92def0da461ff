import { describe, expect, it } from "vitest";
import {
  accessState,
  type AccountFile,
  accountState,
  homesOf,
  ownerByHome,
  STATE_ENTRIES_MAX,
} from "../../../../src/edge-agent/sources/file-integrity/kinds/login-state.ts";
import { reduceContent } from "../../../../src/edge-agent/sources/file-integrity/kinds/reduce-content.ts";
import { blobOf, fingerprint, HASHES, KEY } from "./samples.ts";

const file = (path: string, text: string): AccountFile => ({
  path,
  content: reduceContent(Buffer.from(text), { kind: "accounts", path, key: KEY }),
});
const [one, two] = [blobOf("ssh-ed25519"), blobOf("ssh-rsa")];
const PASSWD = file(
  "/etc/passwd",
  "root:x:0:0::/root:/bin/sh\nbin:x:1:1::/bin:/usr/sbin/nologin\nalice:x:2:2::/srv/a/:/bin/sh\n" +
    "bob:x:3:3::/home/bob:/bin/sh\nbroken\ncarol:x:4:4::/home/c:/bin/sh\n",
);
const SHADOW = file(
  "/etc/shadow",
  `root:${HASHES["yescrypt"]}:1::::::\nbin:${HASHES["md5crypt"]}:1::::::\nbob:!:1::::::\n` +
    `carol:!${HASHES["bcrypt"]}:1::::::\n`,
);
const KEYS = file("/srv/a/.ssh/authorized_keys", `ssh-ed25519 ${one} x\nbad\nssh-rsa ${two}\n`);

describe("the state of accounts", () => {
  it("has those who can log in, with what", () => {
    const state = accountState({ before: [], after: [PASSWD, SHADOW, KEYS] });
    expect(state?.users).toEqual([
      { user: "root", passwd: "XXXX", keys: [] },
      { user: "alice", passwd: "", keys: [fingerprint(one), fingerprint(two)] },
    ]);
    expect(state?.add).toEqual(state?.users);
    expect(state?.del).toEqual([]);
  });

  it("has whoever changed in both lists, though nothing shows of a password", () => {
    const other = file("/etc/shadow", `root:${HASHES["sha256crypt"]}:1::::::\n`);
    expect(accountState({ before: [PASSWD, SHADOW, KEYS], after: [PASSWD, other] })).toEqual({
      users: [{ user: "root", passwd: "XXXX", keys: [] }],
      add: [{ user: "root", passwd: "XXXX", keys: [] }],
      del: [
        { user: "root", passwd: "XXXX", keys: [] },
        { user: "alice", passwd: "", keys: [fingerprint(one), fingerprint(two)] },
      ],
    });
  });

  it("is nothing new when nothing that counts changed", () => {
    const before = [PASSWD, SHADOW];
    const after = [PASSWD, file("/etc/shadow", `root:${HASHES["yescrypt"]}:2::::::\n`)];
    expect(accountState({ before, after })).toMatchObject({ add: [], del: [] });
  });

  it("is that of the host, not of a container's files", () => {
    const other = file("/var/lib/c/etc/passwd", `eve:${HASHES["bcrypt"]}:0:0::/:/bin/sh\n`);
    const shadow = file("/var/lib/c/etc/shadow", `root:!:1::::::\n`);
    expect(accountState({ before: [], after: [other, shadow, PASSWD, SHADOW] })?.users)
      .toEqual([{ user: "root", passwd: "XXXX", keys: [] }]);
    expect(accountState({ before: [], after: [other] })?.users.map(({ user }) => user))
      .toEqual(["eve"]);
  });

  it("is left out of events when it is large", () => {
    const users = (count: number) => [
      file(
        "/etc/passwd",
        Array.from({ length: count }, (_, at) => `u${at}:${HASHES["md5crypt"]}:1:1::/:/bin/sh`)
          .join("\n"),
      ),
    ];
    expect(accountState({ before: [], after: users(STATE_ENTRIES_MAX) })).toBeDefined();
    expect(accountState({ before: [], after: users(STATE_ENTRIES_MAX + 1) })).toBeUndefined();
  });

  it("of a file that was not kept is empty, and homes are those of passwd", () => {
    const content = { missing: "larger than 1 bytes" };
    expect(accountState({ before: [], after: [{ path: "/etc/passwd", content }] })?.users)
      .toEqual([]);
    expect(homesOf(PASSWD.content).map(({ home }) => home))
      .toEqual(["/root", "/bin", "/srv/a/", "/home/bob", "/home/c"]);
  });
});

describe("the owner of a file of keys", () => {
  it("is the user in whose home it stands", () => {
    const of = (path: string) => ownerByHome(path, [PASSWD, SHADOW]);
    expect(of("/srv/a/.ssh/authorized_keys")).toBe("alice");
    expect(of("/srv/b/.ssh/authorized_keys")).toBeUndefined();
    expect(of("/etc/passwd")).toBeUndefined();
    expect(ownerByHome("/srv/a/.ssh/authorized_keys", [])).toBeUndefined();
  });
});

describe("the state of access.conf", () => {
  it("has who may and who may not, and what differs", () => {
    expect(accessState("+:root:ALL\n-:ALL:ALL\n", "+:root:ALL\n+:bob:10.0.0.1\nnonsense\n#x\n"))
      .toEqual({
        access: { grant: ["root", "bob"], deny: [] },
        add: { grant: ["bob"], deny: [] },
        del: { grant: [], deny: ["ALL"] },
      });
  });
});
