import { describe, expect, it } from "vitest";
import { AUDIT_TYPE } from "../../../../src/edge-agent/audit-socket.ts";
import {
  createAuditLogins,
  REMEMBERED_MAX,
} from "../../../../src/edge-agent/sources/collectors/logins/audit-logins.ts";
import {
  AUDIT_RECORD_BYTES_MAX,
  type AuditRecord,
  isTurnedOff,
  parseAuditRecord,
} from "../../../../src/edge-agent/sources/collectors/logins/audit-record.ts";
import {
  AUDIT_START_S,
  auditMessage,
  UNSET,
  type WrittenAudit,
} from "../../../support/audit-records.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";

const SSH = 'exe="/usr/sbin/sshd" hostname=198.51.100.7 addr=198.51.100.7 terminal=ssh';
const PTS = "hostname=? addr=? terminal=/dev/pts/3";
const hex = (text: string): string => Buffer.from(text, "latin1").toString("hex").toUpperCase();
const { USER_AUTH, USER_ACCT, USER_START, USER_END, USER_LOGIN, USER_LOGOUT, USER_CMD } =
  AUDIT_TYPE;

const names: Readonly<Record<number, string>> = { 0: "root", 1001: "ann" };
const nameOf = (uid: number): string | undefined => names[uid];
const read = (record: WrittenAudit): AuditRecord => {
  const parsed = parseAuditRecord(auditMessage(record));
  if (parsed === "unreadable") throw new Error(`Cannot read ${JSON.stringify(record)}`);
  return parsed;
};
const take = (...records: readonly WrittenAudit[]) =>
  createAuditLogins().take(records.map(read), nameOf);

describe("a record of audit", () => {
  it("says whose process told it by the kernel's word, and what it said", () => {
    const said = `op=PAM:session_open grantors=pam_unix,pam_x acct="ann" ${SSH} res=success`;
    expect(read({ type: USER_START, said, subject: "snap.a (complain)" })).toEqual({
      ...{ type: USER_START, timeUs: AUDIT_START_S * 1e6 + 123_000, pid: 4242, uid: 0, auid: 1001 },
      session: "7",
      said: new Map(Object.entries({
        ...{ op: "PAM:session_open", grantors: "pam_unix,pam_x", acct: "ann", res: "success" },
        ...{ exe: "/usr/sbin/sshd", hostname: "198.51.100.7", addr: "198.51.100.7" },
        terminal: "ssh",
      })),
      escaped: [],
    });
    const none = read({ type: USER_END, said: "op=x acct=? res=1\n", auid: UNSET, ses: UNSET });
    expect(none).toMatchObject({ auid: undefined, session: undefined });
    expect([...none.said]).toEqual([["op", "x"], ["res", "1"]]);
  });

  it("has names in hexadecimal where a program wrote them so, and says which are no UTF-8", () => {
    const said = `op=login acct=${hex("a \"b' c")} exe=${hex("/opt/\xff/x")} res=failed`;
    const record = read({ type: USER_LOGIN, said });
    expect(record.said.get("acct")).toBe("a \"b' c");
    expect(record.said.get("exe")).toBe("/opt/\\xff/x");
    expect(record.escaped).toEqual(["exe"]);
    // Only of the members that libaudit writes so.
    expect(read({ type: USER_LOGIN, said: "id=1001 addr=ABCD" }).said.get("addr")).toBe("ABCD");
  });

  const UNREADABLE = {
    "nothing": "",
    "no member": "free text",
    "a member twice": 'acct="ann" acct="root"',
    "a quote that does not end": 'acct="ann',
    "something after a quote": 'acct="ann"b res=success',
    "text between": 'acct="ann"  and res=success',
  };
  it.each(Object.entries(UNREADABLE))("is none with %s", (_name, said) => {
    expect(parseAuditRecord(auditMessage({ type: USER_LOGIN, said }))).toBe("unreadable");
  });

  it("is none without the kernel's words, when it is cut, or too long", () => {
    const whole = auditMessage({ type: USER_LOGIN, said: "id=0 res=success" });
    expect(parseAuditRecord(whole)).not.toBe("unreadable");
    for (const end of [0, 15, 16, 17, 40, whole.length - 1]) {
      expect(parseAuditRecord(whole.subarray(0, end)), String(end)).toBe("unreadable");
    }
    const forged = Buffer.concat([whole.subarray(0, 16), Buffer.from("pid=1 uid=0 msg='id=0'")]);
    expect(parseAuditRecord(forged)).toBe("unreadable");
    const long = auditMessage({
      type: USER_LOGIN,
      said: `id=${"0".repeat(AUDIT_RECORD_BYTES_MAX)}`,
    });
    expect(parseAuditRecord(long)).toBe("unreadable");
  });
});

describe("a record of how audit is set", () => {
  const of = (said: string): Buffer => {
    const bytes = Buffer.alloc(16 + said.length + 1);
    bytes.write(said, 16);
    return bytes;
  };
  const AT = "audit(1772100000.123:42): ";
  it.each([
    [true, "op=set audit_enabled=0 old=1 auid=1001 ses=7 subj=unconfined res=1"],
    [true, "audit_enabled=0 old=1 auid=4294967295 ses=4294967295 res=1"],
    [false, "op=set audit_enabled=0 old=2 auid=1001 ses=7 res=0"],
    [false, "op=set audit_enabled=1 old=1 auid=1001 ses=7 res=1"],
    [false, "op=set audit_backlog_limit=0 old=64 auid=1001 ses=7 res=1"],
    [false, 'op=add_rule key="audit_enabled=0 old=1" list=4 res=1'],
  ])("says that audit was turned off (%s): %s", (isOff, said) => {
    expect(isTurnedOff(of(`${AT}${said}`))).toBe(isOff);
  });
});

describe("what audit tells of logins", () => {
  it("opens and closes a session once, however many records say so", () => {
    const open = `op=PAM:session_open acct="ann" ${SSH} res=success`;
    const login = 'op=login id=1001 exe="/usr/sbin/sshd" hostname=h addr=? terminal=/dev/pts/3';
    const close = `op=PAM:session_close acct="ann" ${SSH} res=success`;
    expect(take(
      { type: USER_START, said: open },
      { type: USER_LOGIN, said: `${login} res=success` },
      { type: USER_END, said: close },
      { type: USER_LOGOUT, said: `${login} res=success` },
      { type: USER_LOGIN, said: `${login} res=success`, ses: 8, pid: 4300 },
    )).toMatchObject([
      {
        ...{ what: "login", source: "audit", user: "ann", pid: 4242, address: "198.51.100.7" },
        ...{ service: "sshd", identity: { session: "7", auid: 1001 } },
      },
      { what: "logout", user: "ann", identity: { session: "7" } },
      { what: "login", user: "ann", remote: "h", tty: "pts/3", identity: { session: "8" } },
    ]);
  });

  it("tells each login of a process that lets in one after the other and has no session", () => {
    const none = { auid: UNSET, ses: UNSET };
    const of = (user: string): readonly WrittenAudit[] => {
      const said = `acct="${user}" exe="/usr/sbin/vsftpd" ${PTS} res=success`;
      return [
        { type: USER_START, said: `op=PAM:session_open ${said}`, ...none },
        { type: USER_LOGIN, said: `op=login ${said}`, ...none },
        { type: USER_END, said: `op=PAM:session_close ${said}`, ...none },
        { type: USER_LOGOUT, said: `op=logout ${said}`, ...none },
      ];
    };
    expect(take(...of("ann"), ...of("bob")).map(({ what, user }) => `${what} ${user}`))
      .toEqual(["login ann", "logout ann", "login bob", "logout bob"]);
  });

  it("tells failures of PAM, and of programs that have nothing else", () => {
    const said = `acct="root" ${SSH} res=failed`;
    expect(take(
      { type: USER_AUTH, said: `op=PAM:authentication ${said}`, auid: UNSET, ses: UNSET },
      { type: USER_ACCT, said: `op=PAM:accounting acct="old" exe="/usr/bin/login" res=failed` },
      // sshd says this for each method that a client asks about.
      { type: USER_LOGIN, said: `op=login ${said}` },
      { type: USER_LOGIN, said: `op=login acct="bob" exe="/usr/bin/display" res=failed` },
      { type: USER_START, said: `op=PAM:session_open acct="ann" exe="/usr/sbin/sshd" res=failed` },
    )).toMatchObject([
      { what: "failure", user: "root", address: "198.51.100.7", identity: {} },
      { what: "failure", user: "old", service: "login" },
      { what: "failure", user: "bob", service: "display" },
      { what: "failure", user: "ann" },
    ]);
  });

  it("tells su and sudo with who asked and who was to be become", () => {
    const open = (exe: string): string =>
      `op=PAM:session_open acct="root" exe="/usr/bin/${exe}" ${PTS} res=success`;
    const command = `cwd="/home/ann" cmd=${hex("ls -l")} terminal=pts/3`;
    const ann = { uid: 1001 };
    expect(take(
      { type: USER_START, said: open("su"), ...ann },
      {
        type: USER_AUTH,
        said: `op=PAM:authentication acct="root" exe="/bin/su" res=failed`,
        ...ann,
      },
      { type: USER_CMD, said: `${command} res=success`, ...ann, pid: 5 },
      // By now it is root's process.
      { type: USER_START, said: open("sudo"), uid: 0, pid: 5 },
      { type: USER_CMD, said: `${command} exe="/usr/bin/sudo" res=failed`, ...ann, pid: 6 },
      { type: USER_AUTH, said: `op=PAM:authentication acct="ann" exe="/usr/bin/sudo" res=failed` },
      { type: USER_END, said: `op=PAM:session_close acct="root" exe="/usr/bin/su" res=success` },
    )).toMatchObject([
      { what: "su", user: "ann", target: "root", tty: "pts/3", identity: { session: "7" } },
      { what: "su", user: "ann", target: "root", isRefused: true },
      { what: "sudo", user: "ann", target: "root", command: "ls -l", tty: "pts/3", pid: 5 },
      { what: "sudo", user: "ann", command: "ls -l", isRefused: true, pid: 6 },
    ]);
  });

  it("tells a command of sudo whose session does not come with the next look", () => {
    const logins = createAuditLogins();
    const command = read({ type: USER_CMD, said: 'cmd="id" res=success', uid: 1001 });
    expect(logins.take([command], nameOf)).toEqual([]);
    expect(logins.take([], nameOf)).toMatchObject([{ what: "sudo", user: "ann", command: "id" }]);
    expect(logins.take([], nameOf)).toEqual([]);
  });

  it("tells nothing of cron, systemd and what is no login", () => {
    const of = (exe: string): WrittenAudit => ({
      ...{ type: USER_START, said: `op=PAM:session_open acct="ann" exe="${exe}" res=success` },
    });
    expect(take(of("/usr/sbin/cron"), of("/usr/lib/systemd/systemd"), of("/usr/sbin/runuser")))
      .toEqual([]);
    expect(take({ type: 1103, said: 'op=PAM:setcred acct="ann" exe="/usr/sbin/sshd" res=success' }))
      .toEqual([]);
  });

  it("forgets the oldest sessions, so that a flood takes no memory", () => {
    const logins = createAuditLogins();
    const of = (ses: number) => read({ type: USER_LOGIN, said: "id=0 res=success", ses });
    for (let ses = 0; ses <= REMEMBERED_MAX; ses += 1) logins.take([of(ses)], nameOf);
    expect(logins.take([of(REMEMBERED_MAX)], nameOf)).toHaveLength(0);
    expect(logins.take([of(0)], nameOf)).toHaveLength(1);
  });
});

it("takes 100,000 mutated records without an error, and one never tells of two things", () => {
  const seed = Date.now() % 2 ** 32;
  const random = createSeededRandom(seed);
  const all = [
    auditMessage({ type: USER_START, said: `op=PAM:session_open acct="ann" ${SSH} res=success` }),
    auditMessage({
      type: USER_LOGIN,
      said: `op=login id=1001 exe="/bin/login" ${PTS} res=success`,
    }),
    auditMessage({ type: USER_AUTH, said: `acct=${hex("a b")} ${SSH} res=failed`, subject: "a" }),
    auditMessage({
      type: USER_CMD,
      said: `cwd="/" cmd=${hex("id\xff")} terminal=pts/0 res=success`,
    }),
    auditMessage({ type: USER_START, said: `acct="root" exe="/usr/bin/sudo" ${PTS} res=success` }),
    auditMessage({ type: USER_END, said: `acct="ann" ${SSH} res=success` }),
  ] as const;
  const texts = [
    "'",
    '"',
    "\0",
    "\n",
    " ",
    "=",
    "msg='",
    "acct=",
    "exe=",
    "\xff",
    "res=failed",
    "4294967296",
  ]
    .map((text) => Buffer.from(text, "latin1"));
  const logins = createAuditLogins();
  const ends = { told: 0, unreadable: 0, nothing: 0 };
  for (let round = 0; round < 100_000; round += 1) {
    let bytes: Buffer = random.pick(all);
    for (let left = random.between(0, 3); left > 0; left -= 1) {
      const at = random.between(0, bytes.length);
      const rest = random.pick([at, at + 1, at + random.between(0, 30)]);
      const other: Buffer = random.pick(all);
      const piece = other.subarray(
        random.between(0, other.length),
        random.between(0, other.length),
      );
      const put = random.pick([piece, ...texts] as [Buffer, ...Buffer[]]);
      bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(rest)]);
    }
    try {
      const record = parseAuditRecord(bytes);
      const told = record === "unreadable" ? [] : logins.take([record], nameOf);
      // A command of the look before may come with it.
      expect(told.length).toBeLessThanOrEqual(2);
      ends[record === "unreadable" ? "unreadable" : told.length > 0 ? "told" : "nothing"] += 1;
    } catch (error) {
      throw new Error(`seed ${seed}: ${bytes.toString("hex")}`, { cause: error });
    }
  }
  for (const count of Object.values(ends)) expect(count, `seed ${seed}`).toBeGreaterThan(3000);
});
