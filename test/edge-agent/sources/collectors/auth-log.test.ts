import { describe, expect, it } from "vitest";
import { parseAuthLog } from "../../../../src/edge-agent/sources/collectors/logins/auth-log.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";

const STAMP = "2026-03-01T10:00:00.123456+01:00 web-1 ";
const nowUs = Date.parse("2026-03-02T00:00:00Z") * 1000;
const parse = (text: string) =>
  parseAuthLog(Buffer.from(text, "latin1"), { source: "auth.log", nowUs });

/** The one thing that a message tells, without what all have. */
function said(tag: string, message: string): unknown {
  const { entries: [entry], unreadable } = parse(`${STAMP}${tag}: ${message}\n`);
  if (entry === undefined) return unreadable === 1 ? "unreadable" : "nothing";
  const { source: _source, timeUs: _timeUs, pid: _pid, ...rest } = entry;
  return rest;
}

const SSH = { remote: "198.51.100.7", port: 4711, service: "sshd" } as const;
const FROM = "from 198.51.100.7 port 4711 ssh2";
const SUDO = { what: "sudo", user: "ann", service: "sudo", tty: "pts/0" } as const;
const SU = { what: "su", user: "ann", service: "su", target: "root" } as const;
const FAILED_LOGIN = { what: "failure", service: "login", reason: "Authentication failure" };

const MESSAGES: readonly (readonly [tag: string, message: string, told: unknown])[] = [
  [
    "sshd[77]",
    `Accepted publickey for ann ${FROM}: ED25519 SHA256:abc+/`,
    { what: "login", user: "ann", method: "publickey", ...SSH },
  ],
  // The digest of a certificate is followed by a name that somebody chose.
  [
    "sshd-session[77]",
    `Accepted publickey for ann ${FROM}: RSA-CERT SHA256:a ID x from 9.9.9.9 port 1 ssh2 (serial 0)`,
    { what: "login", user: "ann", method: "publickey", ...SSH },
  ],
  [
    "sshd[77]",
    `Failed password for invalid user bob ${FROM}`,
    { what: "failure", user: "bob", method: "password", ...SSH },
  ],
  [
    "sshd[77]",
    `Failed password for invalid user x from 9.9.9.9 port 1 ssh2 ${FROM}`,
    { what: "failure", user: "x from 9.9.9.9 port 1 ssh2", method: "password", ...SSH },
  ],
  [
    "sshd[77]",
    `Failed password for invalid user Accepted password for root ${FROM}`,
    { what: "failure", user: "Accepted password for root", method: "password", ...SSH },
  ],
  [
    "sshd[77]",
    `message repeated 2 times: [ Failed password for ann ${FROM}]`,
    { what: "failure", user: "ann", method: "password", reason: "2 times more", ...SSH },
  ],
  ["sshd[77]", `Failed none for ann ${FROM}`, "nothing"],
  ["sshd[77]", "Failed password for ann", "unreadable"],
  [
    "sshd[77]",
    "pam_unix(sshd:session): session opened for user ann(uid=1001) by (uid=0)",
    "nothing",
  ],
  [
    "sshd[77]",
    "pam_unix(sshd:session): session closed for user ann",
    { what: "logout", user: "ann", service: "sshd" },
  ],
  ["sshd[77]", "pam_unix(sshd:auth): authentication failure; logname= user=ann", "nothing"],
  ["sshd[77]", "pam_unix(x", "unreadable"],
  ["login[8]", "pam_unix(login:session): session", "nothing"],
  ["login[8]", "pam_unix(login:session): session begun", "unreadable"],
  [
    "login[8]",
    "pam_unix(login:session): session opened for user ann(uid=1001) by LOGIN(uid=0)",
    { what: "login", user: "ann", service: "login" },
  ],
  ["CRON[8]", "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)", "nothing"],
  [
    "login[8]",
    "FAILED LOGIN (1) on '/dev/tty1' from 'h' FOR 'x', y', Authentication failure",
    { ...FAILED_LOGIN, user: "x', y", tty: "tty1", remote: "h" },
  ],
  [
    "login[8]",
    "FAILED LOGIN 1 FROM tty1 FOR ann, b, Authentication failure",
    { ...FAILED_LOGIN, user: "ann, b", tty: "tty1" },
  ],
  ["login[8]", "FAILED LOGIN somehow", "unreadable"],
  ["login[8]", "ROOT LOGIN on '/dev/tty1'", "nothing"],
  ["su[9]", "(to root) ann on pts/0", { ...SU, tty: "pts/0" }],
  ["su[9]", "FAILED SU (to root) ann on none", { ...SU, isRefused: true }],
  [
    "su[9]",
    "FAILED su for bob by ann by ann",
    { ...SU, target: "bob by ann", isRefused: true },
  ],
  ["su[9]", "Successful su for root by ann", SU],
  ["su[9]", "FAILED SU", "unreadable"],
  ["su[9]", "pam_unix(su:session): session opened for user root(uid=0) by ann(uid=1)", "nothing"],
  [
    "sudo",
    "     ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/id COMMAND=x",
    { ...SUDO, target: "root", command: "/usr/bin/id COMMAND=x" },
  ],
  [
    "sudo[5]",
    "ann : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
    {
      ...{ ...SUDO, target: "root", command: "/bin/sh" },
      ...{ isRefused: true, reason: "3 incorrect password attempts" },
    },
  ],
  [
    "sudo",
    "ann : TTY=unknown ; PWD=/ ; USER=root ; GROUP=adm ; ENV=A=COMMAND=x ; COMMAND=/bin/sh",
    { what: "sudo", user: "ann", service: "sudo", target: "root" },
  ],
  // A folder's name that looks like the rest of the line: who the target was cannot be said.
  ["sudo", "ann : TTY=pts/0 ; PWD=/t ; USER=bob ; COMMAND=x ; USER=root ; COMMAND=/bin/sh", SUDO],
  ["sudo", "ann : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/echo ; USER=bob ;", SUDO],
  // As sudo 1.9 wrote it in a folder of that name, without a terminal.
  [
    "sudo",
    "    root : PWD=/tmp/lg ; USER=nobody ; COMMAND=x ; USER=root ; COMMAND=/bin/echo 'a ; USER=b'",
    { what: "sudo", user: "root", service: "sudo" },
  ],
  [
    "sudo",
    "     ann : a password is required ; PWD=/ ; USER=root ; COMMAND=/usr/bin/id",
    {
      ...{ what: "sudo", user: "ann", service: "sudo", target: "root", command: "/usr/bin/id" },
      ...{ isRefused: true, reason: "a password is required" },
    },
  ],
  ["sudo", "ann : (command continued) ; USER=root ; COMMAND=x", "nothing"],
  ["sudo", "ann : COMMAND=x", "unreadable"],
  ["sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by (uid=0)", "nothing"],
  ["nginx[3]", `Accepted password for root ${FROM}`, "nothing"],
];

describe("the log of authentication", () => {
  it.each(MESSAGES)("%s: %s", (tag, message, told) => {
    expect(said(tag, message)).toEqual(told);
  });

  it("has times of two forms, and bytes of any kind in names", () => {
    const message = `web-1 sshd[7]: Failed password for invalid user \xff ${FROM}\n`;
    const { entries } = parse(`2026-03-01T10:00:00.5Z ${message}Dec 31 23:59:58 ${message}`);
    expect(entries).toMatchObject([
      { timeUs: Date.parse("2026-03-01T10:00:00.500Z") * 1000, pid: 7, escaped: ["user"] },
      { timeUs: new Date(2025, 11, 31, 23, 59, 58).getTime() * 1000, user: "\\xff" },
    ]);
    const none = ["Feb 30 10:00:00", "Foo  1 10:00:00", "2026-13-01T10:00:00Z", "Mar  1 24:00:00"];
    for (const time of none) expect(parse(`${time} ${message}`).unreadable, time).toBe(1);
    expect(parse(`${STAMP}sshd: ${"x".repeat(65536)}\n\nno line\n`)).toEqual({
      entries: [],
      unreadable: 2,
    });
  });

  it("takes 100,000 mutated lines without an error, and one line never tells of two things", () => {
    const seed = Date.now() % 2 ** 32;
    const random = createSeededRandom(seed);
    const [first = "", ...others] = MESSAGES.map(([tag, message]) => `${STAMP}${tag}: ${message}`);
    const lines: [string, ...string[]] = [first, ...others];
    const pieces = [
      " ",
      " from ",
      "'",
      " ; USER=",
      "\0",
      "\xff",
      "[",
      ": ",
      "COMMAND=",
      ")",
    ] as const;
    const ends = { told: 0, unreadable: 0, nothing: 0 };
    for (let round = 0; round < 100_000; round += 1) {
      let line: string = random.pick(lines);
      for (let left = random.between(0, 3); left > 0; left -= 1) {
        const at = random.between(0, line.length);
        const rest = random.pick([at, at + 1, at + random.between(0, 20)]);
        const other = random.pick(lines);
        const put = random.pick([...pieces, other.slice(random.between(0, other.length))]);
        line = line.slice(0, at) + put + line.slice(rest);
      }
      try {
        const { entries, unreadable } = parse(line);
        expect(entries.length + unreadable).toBeLessThanOrEqual(1);
        ends[entries.length > 0 ? "told" : unreadable > 0 ? "unreadable" : "nothing"] += 1;
      } catch (error) {
        throw new Error(`seed ${seed}: ${JSON.stringify(line)}`, { cause: error });
      }
    }
    for (const count of Object.values(ends)) expect(count, `seed ${seed}`).toBeGreaterThan(3000);
  });
});
