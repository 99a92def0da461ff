import { expect, it } from "vitest";
import {
  parseJournalEntry,
} from "../../../../src/edge-agent/sources/collectors/logins/journal-entry.ts";

const entry = (fields: Readonly<Record<string, unknown>>): string =>
  JSON.stringify({
    ...{ __CURSOR: "s=1;i=2", __REALTIME_TIMESTAMP: "1772359200123456", _PID: "4242", _UID: "0" },
    ...{ _EXE: "/usr/sbin/sshd", SYSLOG_IDENTIFIER: "sshd", ...fields },
  });
const MESSAGE = "Accepted publickey for ann from 198.51.100.7 port 4711 ssh2: ED25519 SHA256:abc";
const recordOf = (fields: Readonly<Record<string, unknown>>) =>
  parseJournalEntry(entry(fields)).record;

it("takes who wrote an entry from journald alone", () => {
  expect(parseJournalEntry(entry({ MESSAGE, SYSLOG_PID: "1", _AUDIT_SESSION: "4294967295" })))
    .toEqual({
      cursor: "s=1;i=2",
      record: {
        ...{ what: "login", source: "journal", timeUs: 1_772_359_200_123_456, pid: 4242 },
        ...{ user: "ann", remote: "198.51.100.7", port: 4711, method: "publickey" },
        service: "sshd",
      },
    });
  const su = { SYSLOG_IDENTIFIER: "su", MESSAGE: "(to root) ann on pts/3", _UID: "1001" };
  const identity = { session: "7", auid: 1001 };
  const audit = { _AUDIT_SESSION: "7", _AUDIT_LOGINUID: "1001" };
  expect(recordOf({ ...su, ...audit, _EXE: "/usr/bin/su" })).toMatchObject({ identity });
  // It had ended when journald asked.
  expect(recordOf({ ...su, _EXE: undefined })).toMatchObject({ what: "su" });
  expect(recordOf({ ...su, _EXE: "/usr/bin/logger" })).toBeUndefined();
  expect(recordOf({ ...su, _EXE: "/usr/bin/logger", _UID: "0" })).toMatchObject({ what: "su" });
});

it("takes bytes as bytes, and of what is strange nothing", () => {
  const bytes = (text: string) => [...Buffer.from(text, "latin1")];
  const su = { SYSLOG_IDENTIFIER: "su", _EXE: "/usr/bin/su" };
  expect(recordOf({ ...su, MESSAGE: bytes("(to n\xff) ann on pts/3") })).toMatchObject({
    ...{ target: "n\\xff", escaped: ["target"] },
  });
  expect(recordOf({ MESSAGE: "Server listening on 0.0.0.0 port 22." })).toBeUndefined();
  expect(recordOf({ MESSAGE, SYSLOG_IDENTIFIER: undefined })).toBeUndefined();
  expect(recordOf({ MESSAGE, _PID: "-1" })).toMatchObject({ user: "ann" });
  expect(recordOf({ MESSAGE, _PID: "-1" })).not.toHaveProperty("pid");
  // Too long; twice; no bytes; a time that is none.
  for (
    const strange of [
      ...[{ MESSAGE: null }, { MESSAGE: [MESSAGE, MESSAGE] }, { MESSAGE: [256] }, { MESSAGE: {} }],
      ...[{ MESSAGE: "Accepted nothing" }, { MESSAGE, __REALTIME_TIMESTAMP: ["1", "2"] }],
      { MESSAGE, __REALTIME_TIMESTAMP: "9".repeat(16) },
    ]
  ) {
    expect(parseJournalEntry(entry(strange))).toEqual({ cursor: "s=1;i=2", record: "unreadable" });
  }
  for (const line of ["", "{", "null", "[]", '{"__CURSOR":7}', '{"MESSAGE":"x"}']) {
    expect(parseJournalEntry(line)).toEqual({ cursor: undefined, record: "unreadable" });
  }
});
