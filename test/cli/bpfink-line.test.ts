import { describe, expect, it } from "vitest";
import { bpfinkLine } from "../../src/cli/bpfink-line.ts";
import type { RecordedEvent } from "../../src/client/record.ts";
import { describeChange } from "../../src/edge-agent/sources/file-integrity/kinds/describe-change.ts";
import type { FileKind } from "../../src/edge-agent/sources/file-integrity/kinds/file-kind.ts";
import { accountState } from "../../src/edge-agent/sources/file-integrity/kinds/login-state.ts";
import { reduceContent } from "../../src/edge-agent/sources/file-integrity/kinds/reduce-content.ts";
import { blobOf, fingerprint, HASHES, KEY } from "../edge-agent/sources/file-integrity/samples.ts";

const event = (path: string, detail: object): RecordedEvent => ({
  id: "0123abcd-7-0",
  time: "2026-01-02T03:04:05.000006Z",
  host: "web-1",
  topic: "file/change",
  user: "alice",
  uid: 1000,
  cmdline: "vim /etc/x",
  comm: "vim",
  path,
  detail: { ...detail },
});
const lineOf = (path: string, detail: object) =>
  JSON.stringify(bpfinkLine(event(path, detail), { version: "1.2.3" }));
/** A line with the head and the tail that all have. */
const line = (fields: string, message: string) =>
  '{"level":"warn","version":"1.2.3","time":"2026-01-02T03:04:05.000006Z","host":"web-1","id":"0123abcd-7-0",' +
  `${fields},"processName":"vim /etc/x","user":"alice","message":"${message}"}`;
const kept = (kind: FileKind, path: string, text: string) =>
  reduceContent(Buffer.from(text), { kind, path, key: KEY });

describe("bpfink's line", () => {
  it("of accounts has all who can log in, and whoever changed, twice", () => {
    const file = (path: string, text: string) => ({ path, content: kept("accounts", path, text) });
    const passwd = file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nbob:x:1:1::/home/bob:/bin/sh\n");
    const shadow = file("/etc/shadow", `root:${HASHES["yescrypt"]}:1::::::\n`);
    const blob = blobOf("sk-ssh-ed25519@openssh.com");
    const keys = file("/home/bob/.ssh/authorized_keys", `sk-ssh-ed25519@openssh.com ${blob} x\n`);
    const state = accountState({ before: [passwd, shadow], after: [passwd, shadow, keys] });
    const bob = `{"user":"bob","passwd":"","keys":["${fingerprint(blob)}"]}`;
    expect(lineOf("/home/bob/.ssh/authorized_keys", { kind: "accounts", state })).toBe(line(
      `"users":[{"user":"root","passwd":"XXXX","keys":[]},${bob}],"add":[${bob}],"del":[]`,
      "Users Modified",
    ));
  });

  it("of access.conf has who may and may not", () => {
    const path = "/etc/security/access.conf";
    const { state } = describeChange(
      kept("access", path, "+:root:ALL\n-:ALL:ALL\n"),
      kept("access", path, "+:root:ALL\n+:bob:LOCAL\n-:ALL:ALL\n"),
      { kind: "access", path },
    );
    expect(lineOf(path, { kind: "access", state })).toBe(line(
      '"access":{"grant":["root","bob"],"deny":["ALL"]},"add":{"grant":["bob"],"deny":[]},' +
        '"del":{"grant":[],"deny":[]}',
      "access entries",
    ));
  });

  it("of text has lines that came and went, in order, without comments", () => {
    const path = "/etc/sudoers";
    const of = (before: string | undefined, after: string | undefined) => {
      const [old, now] = [before, after].map((text) =>
        text === undefined ? undefined : kept("sudoers", path, text)
      );
      const { diff } = describeChange(old, now, { kind: "sudoers", path });
      return lineOf(path, { kind: "sudoers", ...(diff === undefined ? {} : { diff }) });
    };
    expect(of("a ALL=ALL\nb ALL=ALL\n", "# x\n\nb ALL=ALL\nc ALL=ALL\nc ALL=ALL\n")).toBe(line(
      '"add":{"Content":["c ALL=ALL","c ALL=ALL"]},"del":{"Content":["a ALL=ALL"]},"file":"/etc/sudoers"',
      "Critical Generic file modified",
    ));
    expect(of(undefined, "a ALL=ALL\n")).toBe(line(
      '"add":{"Content":["a ALL=ALL"]},"del":{"Content":[]},"file":"/etc/sudoers"',
      "Critical Generic file created",
    ));
    expect(of("a ALL=ALL\n", undefined)).toBe(line(
      '"add":{"Content":[]},"del":{"Content":["a ALL=ALL"]},"file":"/etc/sudoers"',
      "Critical Generic file deleted",
    ));
    expect(of("a ALL=ALL\n", "a ALL=ALL\n# x\n")).toBeUndefined();
  });

  it.each([
    [{ sha256_before: "aa", sha256_after: "bb" }, '"current":"aa","next":"bb"', "Modified"],
    [{ sha256_after: "bb" }, '"current":"","next":"bb"', "created"],
    [{ sha256_before: "aa" }, '"current":"aa","next":""', "deleted"],
  ])("of a digest %j has both", (detail, generic, deed) => {
    for (const kind of [{ kind: "digest" }, { kind: "content-diff", diff_missing: "binary" }, {}]) {
      expect(lineOf("/usr/bin/x", { ...kind, ...detail }))
        .toBe(line(`"generic":{${generic}},"file":"/usr/bin/x"`, `generic file ${deed}`));
    }
  });

  it("of accounts whose state is not told has digests", () => {
    const detail = {
      kind: "accounts",
      sha256_before: "aa",
      sha256_after: "bb",
      state: { users: 1 },
    };
    expect(lineOf("/etc/passwd", detail)).toBe(line(
      '"generic":{"current":"aa","next":"bb"},"file":"/etc/passwd"',
      "generic file Modified",
    ));
  });

  it("is none for what has no meaning there", () => {
    expect(lineOf("/etc/shadow", { kind: "accounts", state: { users: [], add: [], del: [] } }))
      .toBeUndefined();
    expect(lineOf("/etc/x", { package: "coreutils", count: 1, paths: ["/etc/x"] })).toBeUndefined();
    const other = { ...event("/x", {}), topic: "file/attribute" };
    expect(bpfinkLine(other, { version: "1" })).toBeUndefined();
  });

  it("names the writer as far as it is known", () => {
    const { cmdline: _cmdline, user: _user, ...less } = event("/x", { kind: "digest" });
    expect(bpfinkLine(less, { version: "1" })).toMatchObject({ processName: "vim", user: "1000" });
    const nobody = { id: "a", topic: "file/change", path: "/x" };
    expect(bpfinkLine(nobody, { version: "1" })).toEqual({
      level: "warn",
      version: "1",
      id: "a",
      generic: { current: "", next: "" },
      file: "/x",
      processName: "",
      user: "",
      message: "generic file Modified",
    });
  });
});
