import { appendFile, mkdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, it, vi } from "vitest";
import type { Source } from "../../../../src/edge-agent/source.ts";
import {
  createCollectorSource,
} from "../../../../src/edge-agent/sources/collectors/collector-source.ts";
import {
  createLoginsCollector,
} from "../../../../src/edge-agent/sources/collectors/logins/logins-collector.ts";
import { AUDIT_TYPE } from "../../../../src/edge-agent/audit-socket.ts";
import {
  type AuditRecord,
  parseAuditRecord,
} from "../../../../src/edge-agent/sources/collectors/logins/audit-record.ts";
import type {
  AuditPlace,
  AuditState,
} from "../../../../src/edge-agent/sources/collectors/logins/audit-tap.ts";
import { auditMessage, type WrittenAudit } from "../../../support/audit-records.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { testLog } from "../../../support/ring-sources.ts";
import { type Line, runSource } from "../../../support/source-run.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";
import { utmpOf, type WrittenLogin } from "../../../support/utmp-writer.ts";

const BOOT_S = 1_772_000_000;
const START_US = (BOOT_S + 100_000) * 1_000_000;
const at = (second: number): string =>
  new Date(START_US / 1000 + second * 1000).toISOString().replace("Z", "000Z");

const ann = (second: number, more: Partial<WrittenLogin> = {}): WrittenLogin => ({
  ...{ type: 7, pid: 4242, tty: "pts/3", user: "ann", host: "client.example" },
  ...{ address: "198.51.100.7", time: at(second), ...more },
});
const gone = (second: number, more: Partial<WrittenLogin> = {}): WrittenLogin => ({
  ...{ type: 8, pid: 4242, tty: "pts/3", time: at(second), ...more },
});
const guess = (second: number): WrittenLogin =>
  ann(second, { type: 6, tty: "ssh:notty", pid: 5000 + second, user: "root" });

/** What a tap gives at the next look. */
function openAudit() {
  let [records, lost, unreadable]: [AuditRecord[], number, number] = [[], 0, 0];
  let isTurnedOff = false;
  let state: AuditState | undefined;
  let stirs = 0;
  const place: AuditPlace = {
    probe: () => Promise.resolve({ state: "on" }),
    open: () => ({
      take() {
        const taken = { records, lost, unreadable, isTurnedOff, state };
        [records, lost, unreadable, isTurnedOff] = [[], 0, 0, false];
        return taken;
      },
      stir: () => void (stirs += 1),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
  };
  return {
    place,
    tell(...written: readonly WrittenAudit[]) {
      for (const each of written) {
        const record = parseAuditRecord(auditMessage(each));
        if (record === "unreadable") unreadable += 1;
        else records.push({ ...record, timeUs: START_US + (each.second ?? 0) * 1_000_000 });
      }
    },
    lose: (count: number) => void (lost += count),
    turnOff: () => void ([isTurnedOff, state] = [true, { state: "off", reason: "it is off" }]),
    turnOn: () => void (state = { state: "on" }),
    stirs: () => stirs,
    /** Whether there is something of which nothing was told yet. */
    isLost: () => lost > 0,
  };
}

async function openHost(audit?: AuditPlace) {
  const folder = await openTemporaryFolder("logins");
  const root = join(folder.path, "root");
  await mkdir(join(root, "etc"), { recursive: true });
  await mkdir(join(root, "var/log"), { recursive: true });
  await mkdir(join(root, "proc/4242"), { recursive: true });
  await writeFile(join(root, "etc/passwd"), "ann:x:1001:1001::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n");
  const proc = join(root, "proc");
  await writeFile(join(proc, "stat"), `cpu 1\nbtime ${BOOT_S}\n`);
  // Started one second after the first moment of the test.
  const fields = Array.from({ length: 18 }, () => "0").join(" ");
  await writeFile(join(proc, "4242/stat"), `4242 (a) b) S ${fields} 10000100 0\n`);
  await writeFile(join(proc, "4242/sessionid"), "7");
  await writeFile(join(proc, "4242/loginuid"), "1001");
  const open = (): Source =>
    createCollectorSource({
      collector: createLoginsCollector({
        ...{ root, intervalMs: 5, auditIntervalMs: 20, proc },
        ...(audit && { audit }),
      }),
      ...{ dataDirectory: folder.path, position: undefined, clock: systemClock, log: testLog },
    });
  const log = (name: string): string => join(root, "var/log", name);
  return { folder, open, log };
}

const isAny = (): boolean => true;
const told = ({ topic, time, user, session, detail }: Line) =>
  [topic, time, user, session ?? "-", detail["tty"] ?? "-"].join(" ");

it("says what it hears of audit while it runs: turned off, and on again, without a start", async () => {
  const audit = openAudit();
  const host = await openHost(audit.place);
  await using _folder = host.folder;
  await using source = host.open();
  const hooks = () => {
    const status = source.status?.();
    return status?.state === "on" ? status.hooks?.map(({ name, state }) => `${name} ${state}`) : [];
  };
  expect(source.status?.()).toBeUndefined();
  await source.probe();
  await using _running = runSource(source);
  await vi.waitFor(() => expect(hooks()).toEqual(["audit on"]));
  expect(audit.stirs()).toBe(0);
  audit.turnOff();
  await vi.waitFor(() => expect(hooks()).toEqual(["auth.log off"]));
  await vi.waitFor(() => expect(audit.stirs()).toBeGreaterThan(1));
  audit.turnOn();
  await vi.waitFor(() => expect(hooks()).toEqual(["audit on"]));
  const stirs = audit.stirs();
  await systemClock.sleep(100);
  expect(audit.stirs()).toBe(stirs);
});

it("tells logins, logouts and failures of real records, over rotation and truncation", async () => {
  const host = await openHost();
  await using _folder = host.folder;
  const [wtmp, btmp] = [host.log("wtmp"), host.log("btmp")];
  await writeFile(wtmp, utmpOf([ann(-50, { user: "otto", tty: "tty1", host: "", pid: 9 })]));
  await using source = host.open();
  expect(await source.probe()).toMatchObject({ state: "on", how: "wtmp" });
  await using running = runSource(source);
  await untilKnown(host.folder.path, "baseline:wtmp");
  // Half a record waits for its rest.
  const login = utmpOf([ann(2)]);
  await appendFile(wtmp, login.subarray(0, 200));
  await systemClock.sleep(20);
  await appendFile(wtmp, login.subarray(200));
  const [first] = await running.waitFor(isAny, { count: 1 });
  expect(first).toMatchObject({
    ...{ topic: "auth/login", severity: "info", outcome: "success", time: at(2) },
    ...{ user: "ann", uid: 1001, auid: 1001, auid_user: "ann", session: "7", pid: 4242 },
    ...{ src_ip: "198.51.100.7", message: "ann logged in from client.example on pts/3" },
    detail: { source: "wtmp", tty: "pts/3", remote: "client.example" },
  });
  // Rotated with what was not read, then made anew; otto was there before the agent.
  await appendFile(wtmp, utmpOf([gone(3, { tty: "tty1", pid: 9 })]));
  await rename(wtmp, `${wtmp}.1`);
  await writeFile(wtmp, utmpOf([gone(4), gone(5, { tty: "tty2" })]));
  await running.waitFor(isAny, { count: 3 });
  // Emptied, and longer than before when it is looked at: another process has the terminal.
  await truncate(wtmp);
  await writeFile(wtmp, utmpOf([ann(6), gone(7), ann(8, { pid: 1, user: "root" })]));
  await running.waitFor(isAny, { count: 6 });
  expect(running.lines.map(told)).toEqual([
    `auth/login ${at(2)} ann 7 pts/3`,
    `auth/logout ${at(3)} otto - tty1`,
    `auth/logout ${at(4)} ann 7 pts/3`,
    `auth/login ${at(6)} ann 7 pts/3`,
    `auth/logout ${at(7)} ann 7 pts/3`,
    `auth/login ${at(8)} root - pts/3`,
  ]);
  expect(source.losses()).toEqual([
    { class: "log", count: null, reason: "wtmp was cut or changed where it had been read already" },
  ]);
  // One failure is a mistake, five from one place are none; the log is new, so all of it is told.
  await writeFile(btmp, utmpOf([1, 2, 3, 4, 5].map(guess)));
  const failures = await running.waitFor(({ topic }) => topic === "auth/failure", { count: 5 });
  expect(failures.map(({ severity }) => severity)).toEqual([
    ...["medium", "medium", "medium", "medium", "high"],
  ]);
  expect(failures[0]).toMatchObject({
    ...{ user: "root", uid: 0, outcome: "failure", pid: 5001, src_ip: "198.51.100.7" },
    detail: { source: "btmp", tty: "ssh:notty", remote: "client.example" },
  });
  // A record that is none hides no other; one that was wiped is noticed, and nothing is told twice.
  await appendFile(wtmp, Buffer.concat([Buffer.alloc(384, 0x7f), utmpOf([gone(9)])]));
  await running.waitFor(isAny, { count: 12 });
  expect(source.losses()).toEqual([
    { class: "unreadable", count: 1, reason: "records of wtmp cannot be read" },
  ]);
  await writeFile(wtmp, Buffer.concat([Buffer.alloc(384), utmpOf([ann(20)])]));
  await running.waitFor(isAny, { count: 13 });
  expect(source.losses()).toMatchObject([{ class: "log" }]);
  expect(running.lines).toHaveLength(13);
});

it("tells again, letter by letter, what the spool has not, and nothing else", async () => {
  const host = await openHost();
  await using _folder = host.folder;
  const fieldsOf = async (count: number): Promise<readonly string[]> => {
    await using source = host.open();
    const fields: string[] = [];
    for await (const chunk of source.start(AbortSignal.timeout(5000))) {
      fields.push(...chunk.fields);
      if (fields.length >= count) break;
    }
    return fields;
  };
  {
    await using source = host.open();
    await using _running = runSource(source);
    await untilKnown(host.folder.path, "log:wtmp");
  }
  await writeFile(host.log("wtmp"), utmpOf([ann(2), gone(3)]));
  const first = await fieldsOf(2);
  await appendFile(host.log("wtmp"), utmpOf([ann(4)]));
  const again = await fieldsOf(3);
  expect(first).toHaveLength(2);
  expect(again.slice(0, 2)).toEqual(first);
  expect(again).toHaveLength(3);
});

it("tells once what several logs tell, with what leads to the login", async () => {
  const host = await openHost();
  await using _folder = host.folder;
  await using source = host.open();
  await using running = runSource(source);
  await untilKnown(host.folder.path, "log:btmp");
  const line = (second: number, message: string, tag = "sshd[4242]"): string =>
    `${at(second)} web-1 ${tag}: ${message}\n`;
  const from = "from 198.51.100.7 port 4711 ssh2";
  const log = host.log("auth.log");
  await writeFile(
    log,
    line(2, `Failed password for ann ${from}`) + line(3, `Accepted password for ann ${from}`) +
      line(5, "     ann : TTY=pts/3 ; PWD=/ ; USER=root ; COMMAND=/bin/id", "sudo[4242]") +
      line(6, "FAILED SU (to root) ann on pts/3", "su[4242]"),
  );
  await running.waitFor(isAny, { count: 4 });
  // Whichever comes first: the other two, and the second failure of the process, are in one log only.
  await writeFile(host.log("btmp"), utmpOf([2, 4].map((second) => ann(second, { type: 6 }))));
  await writeFile(host.log("wtmp"), utmpOf([ann(3), gone(9)]));
  await running.waitFor(isAny, { count: 6 });
  await appendFile(log, line(9, "pam_unix(sshd:session): session closed for user ann"));
  await appendFile(
    log,
    line(10, "Accepted password for root from 198.51.100.8 port 1 ssh2", "sshd[8]"),
  );
  await running.waitFor(isAny, { count: 7 });
  const columns = ({ topic, outcome, severity, session, detail, cmdline }: Line) =>
    [topic, outcome, severity, session, detail["source"], detail["target"], cmdline]
      .map((each) => each ?? "-").join(" ");
  expect(running.lines.map(columns).toSorted()).toEqual([
    "auth/failure failure medium - auth.log - -",
    "auth/failure failure medium - btmp - -",
    "auth/login success info - auth.log - -",
    "auth/login success info 7 auth.log - -",
    "auth/logout success info 7 wtmp - -",
    "auth/su failure high 7 auth.log root -",
    "auth/sudo success info 7 auth.log root /bin/id",
  ]);
  expect(running.lines.find(({ topic }) => topic === "auth/login")).toMatchObject({
    ...{ user: "ann", uid: 1001, auid: 1001, service: "sshd", src_ip: "198.51.100.7" },
    ...{ src_port: 4711, detail: { remote: "198.51.100.7", method: "password" } },
  });
});

it("tells what audit told of that alone, by process, session or who asked, and what it lost", async () => {
  const audit = openAudit();
  const host = await openHost(audit.place);
  await using _folder = host.folder;
  await using source = host.open();
  expect(await source.probe()).toEqual({
    ...{ state: "on", how: "audit", hooks: [{ name: "audit", state: "on" }] },
  });
  await using running = runSource(source);
  await untilKnown(host.folder.path, "log:btmp");
  const ssh = 'acct="ann" exe="/usr/sbin/sshd" addr=198.51.100.7 terminal=ssh res=success';
  const sudo = 'cwd="/" cmd="id" terminal=pts/3 res=success';
  audit.tell(
    // The process that told it is not the one that wtmp names: 4242, whose session is 7.
    { type: AUDIT_TYPE.USER_START, said: `op=PAM:session_open ${ssh}`, pid: 4000, second: 2 },
    { type: AUDIT_TYPE.USER_CMD, said: sudo, pid: 4400, uid: 1001, second: 3 },
    {
      ...{ type: AUDIT_TYPE.USER_START, pid: 4400, uid: 0, second: 3 },
      said: 'op=PAM:session_open acct="root" exe="/usr/bin/sudo" res=success',
    },
    { type: AUDIT_TYPE.USER_END, said: 'half a quote "' },
  );
  audit.lose(3);
  audit.turnOff();
  await running.waitFor(isAny, { count: 2 });
  await writeFile(host.log("wtmp"), utmpOf([ann(2)]));
  const asked = "     ann : TTY=pts/3 ; PWD=/ ; USER=root ; COMMAND=/bin/id\n";
  const others = `${at(4)} web-1 sudo: ${asked}${at(5)} web-1 su[9]: (to root) ann on pts/3\n`;
  await writeFile(host.log("auth.log"), `${at(3)} web-1 sudo: ${asked}${others}`);
  await running.waitFor(isAny, { count: 4 });
  await untilKnown(host.folder.path, "last:wtmp");
  expect(
    running.lines.map(({ topic, time, session, detail }) =>
      [topic, time, session ?? "-", detail["source"], detail["target"] ?? "-"].join(" ")
    ),
  ).toEqual([
    `auth/login ${at(2)} 7 audit -`,
    `auth/sudo ${at(3)} 7 audit root`,
    // The second of its kind, and one of another process: audit has neither.
    `auth/sudo ${at(4)} - auth.log root`,
    `auth/su ${at(5)} - auth.log root`,
  ]);
  expect(source.losses()).toEqual([
    { class: "unreadable", count: 1, reason: "records of the kernel's audit cannot be read" },
    {
      ...{ class: "overflow", count: 3 },
      reason: "the kernel's audit told more of logins than was read in time",
    },
    {
      ...{ class: "log", count: null },
      reason: "the kernel's audit was turned off, and tells no logins until it is on again",
    },
  ]);
});

it("says which log cannot be read, and what to do", async () => {
  const host = await openHost();
  await using _folder = host.folder;
  await writeFile(host.log("wtmp"), "");
  await symlink("btmp", host.log("btmp"));
  await using source = host.open();
  const reason = `Cannot read "${host.log("btmp")}": ELOOP; let the agent's user read it ` +
    `(setfacl -m u:USER:r ${host.log("btmp")}, and after each rotation)`;
  expect(await source.probe()).toEqual({
    ...{ state: "on", how: "wtmp" },
    hooks: [
      { name: "wtmp", state: "on" },
      { name: "btmp", state: "off", reason },
      { name: "auth.log", state: "off", reason: expect.stringContaining("sudo, su and logins") },
    ],
  });
  await writeFile(host.log("secure"), "");
  const how = { state: "on", how: "secure, wtmp" };
  expect(await source.probe()).toMatchObject({ ...how, hooks: [{ name: "secure" }, {}, {}] });
  await rm(host.log("secure"));
  await rm(host.log("wtmp"));
  await symlink("wtmp", host.log("wtmp"));
  expect(await source.probe()).toMatchObject({
    ...{ state: "off", reason: "no log of logins can be read" },
    remedy: expect.stringContaining("setfacl -m u:USER:r"),
  });
  await rm(host.log("wtmp"));
  await using running = runSource(source);
  await untilKnown(host.folder.path, "log:wtmp");
  await running.stop();
  expect(source.losses()).toMatchObject([{ class: "unreadable", count: null }]);
});

it("counts what is lost again before anyone asks", async () => {
  const audit = openAudit();
  const host = await openHost(audit.place);
  await using _folder = host.folder;
  await using source = host.open();
  await using _running = runSource(source);
  let looks = 0;
  for (; looks < 3; looks += 1) {
    audit.lose(2);
    while (audit.isLost()) await systemClock.sleep(1);
  }
  expect(source.losses()).toMatchObject([{ class: "overflow", count: 6 }]);
  expect(source.losses()).toEqual([]);
});

/** What is there before the first look is not told. */
async function untilKnown(folder: string, key: string): Promise<void> {
  const has = (): boolean => {
    using database = new DatabaseSync(join(folder, "agent-logins.db"), { timeout: 1000 });
    const tables = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'memory'");
    if (tables.get() === undefined) return false;
    return database.prepare("SELECT 1 FROM memory WHERE key = ?").get(key) !== undefined;
  };
  while (!has()) await systemClock.sleep(5);
}
