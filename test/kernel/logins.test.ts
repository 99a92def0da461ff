import { execFile } from "node:child_process";
import { appendFileSync, chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it, vi } from "vitest";
import {
  AUDIT_TYPE,
  openAuditSocket,
  receiveAudit,
  stirAudit,
} from "../../src/edge-agent/audit-socket.ts";
import { loadLibbpf } from "../../src/edge-agent/libbpf.ts";
import { ERRNO, loadLibc } from "../../src/edge-agent/libc.ts";
import { removePinFolder } from "../../src/edge-agent/pinned-programs.ts";
import type { AuditRecord } from "../../src/edge-agent/sources/collectors/logins/audit-record.ts";
import { HOST_AUDIT } from "../../src/edge-agent/sources/collectors/logins/audit-tap.ts";
import { type AuditControl, openAuditControl } from "../support/audit-control.ts";
import { auditMessage } from "../support/audit-records.ts";
import { openLogStream } from "../support/log-stream.ts";
import { openNatsServer } from "../support/nats-server.ts";
import { type DividedAgent, startDividedAgent } from "../support/privileged-agent.ts";
import { requireCapability } from "../support/require.ts";
import { hasBpf } from "../support/ring-sources.ts";
import type { Line } from "../support/source-run.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { utmpOf } from "../support/utmp-writer.ts";

const run = promisify(execFile);
const SPEAKER = fileURLToPath(new URL("../support/audit-speaker.ts", import.meta.url));
/** Mounts a folder on /var/log for a program alone. */
const WITH_LOGS = 'mount --bind "$1" /var/log && shift && exec "$@"';
const SSH = 'exe="/usr/sbin/sshd" hostname=198.51.100.7 addr=198.51.100.7 terminal=ssh';
const AUID = 70_123;
/** More than the largest buffer that is asked for has room for, and than is kept between two looks. */
const FLOOD = 6_000;
const FORGED_PID = 4_242_424;

/** Audit as it is controlled from here; undefined where this kernel has none. */
function controlIfThere(): AuditControl | undefined {
  const control = openAuditControl();
  if (control.wasEnabled !== undefined) return control;
  control[Symbol.dispose]();
  return undefined;
}

const hasAudit = (() => {
  using control = controlIfThere();
  return control !== undefined;
})();
const isReady = requireCapability(
  "audit",
  hasBpf && hasAudit,
  "it needs root, and a kernel with audit",
);

/** What somebody told in a login of its own. */
async function speak(type: number, said: string): Promise<{ pid: number; session: string }> {
  const words = [SPEAKER, String(type), String(AUID), said];
  return JSON.parse((await run(process.execPath, words)).stdout);
}

it.runIf(isReady)(
  "audit that is off is told so, and one that is on is proven by hearing it",
  async () => {
    using control = openAuditControl();
    if (control.wasEnabled === false) {
      expect(await HOST_AUDIT.probe()).toEqual({
        state: "off",
        reason: expect.stringMatching(/^the kernel's audit is off; .*auditctl -e 1/),
      });
    }
    control.enable();
    expect(await HOST_AUDIT.probe()).toEqual({ state: "on" });
  },
);

it.runIf(isReady)(
  "what comes faster than it is read is counted by the kernel, and nothing else comes",
  async () => {
    using control = openAuditControl();
    control.enable();
    await using tap = HOST_AUDIT.open();
    const said = "op=login id=0 res=success";
    // Keystrokes, which may be passwords, stay away, as do calls.
    for (const type of [1103, 1124, 1120]) control.tell(type, said);
    // Nothing is read meanwhile: this process does nothing else.
    for (let each = 0; each < FLOOD; each += 1) control.tell(AUDIT_TYPE.USER_LOGIN, said);
    await delay(1_000);
    const { records = [], lost = 0, unreadable } = tap?.take() ?? {};
    expect(records.every(({ type }) => type === AUDIT_TYPE.USER_LOGIN)).toBe(true);
    expect(lost).toBeGreaterThan(0);
    expect([records.length + lost, unreadable]).toEqual([FLOOD, 0]);
  },
);

it.runIf(isReady)(
  "what another than the kernel sends to those who listen is not heard",
  async () => {
    using control = openAuditControl();
    control.enable();
    await using tap = HOST_AUDIT.open();
    const said = "op=login id=0 res=success";
    control.forge(auditMessage({ type: AUDIT_TYPE.USER_LOGIN, said, pid: FORGED_PID }));
    control.tell(AUDIT_TYPE.USER_LOGIN, said);
    const heard: AuditRecord[] = [];
    const isHeard = ({ pid }: AuditRecord): boolean => pid === process.pid;
    await vi.waitFor(() => {
      heard.push(...tap?.take().records ?? []);
      expect(heard.some(isHeard)).toBe(true);
    }, { timeout: 2_000 });
    expect(heard.filter(({ pid }) => pid === FORGED_PID)).toEqual([]);
  },
);

it.runIf(isReady)("audit that is turned off while somebody listens says so", async () => {
  using control = openAuditControl();
  control.enable();
  await using tap = HOST_AUDIT.open();
  control.tell(AUDIT_TYPE.USER_LOGIN, "op=login id=0 res=success");
  await vi.waitFor(() => expect(tap?.take().records).toHaveLength(1), { timeout: 2_000 });
  control.disable();
  await vi.waitFor(
    () => expect(tap?.take()).toMatchObject({ isTurnedOff: true, unreadable: 0, lost: 0 }),
    { timeout: 2_000 },
  );
  expect(tap?.take()).toMatchObject({ isTurnedOff: false });
});

it.runIf(isReady)("audit that is turned on later is noticed by what stirs it", async () => {
  using control = openAuditControl();
  control.disable();
  await using tap = HOST_AUDIT.open();
  tap?.stir();
  await delay(300);
  expect(tap?.take().state).toBeUndefined();
  control.enable();
  tap?.stir();
  await vi.waitFor(() => expect(tap?.take().state).toEqual({ state: "on" }), { timeout: 2_000 });
  control.disable();
  await vi.waitFor(() => expect(tap?.take().state).toMatchObject({ state: "off" }), {
    timeout: 2_000,
  });
});

it.runIf(isReady)(
  "audit that is on is stirred by a program, too, where sockets are forbidden",
  () => {
    using control = openAuditControl();
    control.enable();
    const libc = loadLibc();
    const fd = openAuditSocket(libc);
    const forbidden = { ...libc, socket: () => -ERRNO.EAFNOSUPPORT };
    stirAudit(forbidden, loadLibbpf);
    const types = new Set<number>();
    const untilMs = performance.now() + 2_000;
    const buffer = new Uint8Array(16 * 1024);
    while (!types.has(AUDIT_TYPE.BPF) && performance.now() < untilMs) {
      if (receiveAudit(libc, fd, buffer) > 0) {
        types.add(
          new DataView(buffer.buffer).getUint16(4, true),
        );
      }
    }
    libc.close(fd);
    expect(types).toContain(AUDIT_TYPE.BPF);
  },
);

it.runIf(isReady)(
  "a divided agent hears audit's logins with session and auid, reads logs that only root may, and tells each once",
  async () => {
    await using nats = await openNatsServer();
    await using log = await openLogStream(nats.url);
    await using folder = await openTemporaryFolder("logins-agent");
    chmodSync(folder.path, 0o755);
    const logs = join(folder.path, "log");
    mkdirSync(logs);
    for (const name of ["auth.log", "btmp"]) writeFileSync(join(logs, name), "", { mode: 0o600 });
    writeFileSync(join(logs, "wtmp"), "");
    const data = join(folder.path, "data");
    const pins = createHash("sha256").update(data).digest("hex").slice(0, 12);
    using _pins = { [Symbol.dispose]: () => removePinFolder(`/sys/fs/bpf/probity-${pins}`) };
    using control = openAuditControl();
    control.enable();
    await using agent = await startDividedAgent({
      ...{ data, natsUrl: nats.url },
      runtime: ["unshare", "--mount", "sh", "-c", WITH_LOGS, "sh", logs, process.execPath],
    });
    expect(hooksOf(agent)).toEqual(["audit on", "auth.log on", "wtmp on", "btmp on"]);
    const heard = (want: (line: Line) => boolean) =>
      log.waitFor((line) => line.topic.startsWith("auth/") && want(line), {
        ...{ count: 1, timeoutMs: 20_000 },
      });
    await untilLooked(data);

    // Real words of a real su, in a login of its own.
    const login =
      `echo ${AUID} > /proc/self/loginuid; cat /proc/self/sessionid; su nobody -s /bin/true`;
    const { stdout: session } = await run("sh", ["-c", login]);
    const [su] = await heard((line) => line.topic === "auth/su");
    expect(su?.line).toMatchObject({
      ...{ outcome: "success", user: "root", uid: 0, auid: AUID, session, service: "su" },
      detail: { source: "audit", target: "nobody" },
    });
    // The login leads to what was done in it.
    const [exec] = await log.waitFor(
      (line) =>
        line.topic === "process/exec" && line["session"] === session && line["auid"] === AUID,
      { count: 1 },
    );
    expect(exec?.line["exe"]).toMatch(/^\//);

    const opened = await speak(
      AUDIT_TYPE.USER_START,
      `op=PAM:session_open grantors=pam_unix acct="nobody" ${SSH} res=success`,
    );
    const [came] = await heard((line) => line.topic === "auth/login");
    expect(came?.line).toMatchObject({
      ...{ user: "nobody", auid: AUID, session: opened.session, pid: opened.pid, service: "sshd" },
      ...{ src_ip: "198.51.100.7", detail: { source: "audit" } },
    });

    // What only root may read; what audit told of the same process is told of that alone.
    const now = new Date().toISOString();
    appendFileSync(
      join(logs, "auth.log"),
      `${now} host su[${su?.line["pid"]}]: (to nobody) root on none\n` +
        `${now} host sshd[${opened.pid}]: Accepted password for nobody from 198.51.100.7 port 1 ssh2\n` +
        `${now} host su[999999]: (to daemon) root on none\n`,
    );
    await heard((line) => line.detail["target"] === "daemon");
    appendFileSync(
      join(logs, "btmp"),
      utmpOf([{ type: 6, pid: 999_998, tty: "tty1", user: "guess", time: now }]),
    );
    const [failure] = await heard((line) => line.topic === "auth/failure");
    expect(failure?.line).toMatchObject({ user: "guess", detail: { source: "btmp" } });
    const told = log.lines.map(({ line }) => line).filter(({ topic }) => topic.startsWith("auth/"));
    expect(told.map(({ topic, detail }) => `${topic} ${detail["source"]}`)).toEqual([
      ...["auth/su audit", "auth/login audit", "auth/su auth.log", "auth/failure btmp"],
    ]);
    expect(await agent.stop()).toBe(0);
  },
);

/** The state of each log that the agent told when it started. */
function hooksOf({ sources }: DividedAgent): readonly string[] {
  const { hooks = [] } = sources.find(({ name }) => name === "logins") ?? {};
  return hooks.map(({ name, state }) => `${name} ${state}`);
}

/** What is there before the first look is not told. */
async function untilLooked(data: string): Promise<void> {
  const path = join(data, "agent-logins.db");
  const has = (): boolean => {
    if (!existsSync(path)) return false;
    using database = new DatabaseSync(path, { readOnly: true, timeout: 1000 });
    const tables = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'memory'");
    if (tables.get() === undefined) return false;
    return database.prepare("SELECT 1 FROM memory WHERE key = 'log:btmp'").get() !== undefined;
  };
  while (!has()) await delay(50);
}
