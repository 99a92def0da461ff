/**
 * Events as answers have them, at least one of every topic: by the sources' own decoders where those need no machine,
 * by their makers, else with the members that docs/formats.md names.
 */
import { type AuditEvent, lineFields } from "../../src/event/event.ts";
import { gapEvent } from "../../src/event/gap.ts";
import { heartbeatEvent, startEvent, stopEvent } from "../../src/edge-agent/agent-events.ts";
import { configEvent, refusedConfigEvent } from "../../src/edge-agent/config-events.ts";
import type { LineDecoder } from "../../src/edge-agent/line-decoder.ts";
import { FLAG, VM_WRITEV } from "../../src/edge-agent/record-layout.ts";
import { DEFAULT_RULES } from "../../src/edge-agent/rules.ts";
import { createControlDecoder } from "../../src/edge-agent/sources/control/control-lines.ts";
import { createFileDecoder } from "../../src/edge-agent/sources/file/file-lines.ts";
import { describe } from "../../src/edge-agent/sources/filesystem/describe.ts";
import {
  FAN_CREATE,
  FAN_DELETE,
  FAN_RENAME,
} from "../../src/edge-agent/sources/filesystem/fanotify-event.ts";
import { createNetworkDecoder } from "../../src/edge-agent/sources/network/network-lines.ts";
import { createProcessDecoder } from "../../src/edge-agent/sources/process/process-lines.ts";
import { createAudit } from "../../src/query/audit.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { BOOT, createTestContext } from "./decoders.ts";
import {
  credentialsRecord,
  execRecord,
  exitRecord,
  fileRecord,
  forkRecord,
  locate,
  networkRecord,
  ptraceRecord,
  signalRecord,
} from "./records.ts";

/** An event as answers have it. */
export type Answered = Readonly<Record<string, unknown>> & { readonly topic: string };

const TIME_US = 1_795_000_000_123_456;
const SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const SECOND_NS = 1_000_000_000n;
const parent = { pid: 10, startNs: 2n * SECOND_NS, comm: "sh", timeNs: 2n * SECOND_NS };
const child = {
  pid: 11,
  ppid: 10,
  startNs: 3n * SECOND_NS,
  parentStartNs: 2n * SECOND_NS,
  timeNs: 4n * SECOND_NS,
  uid: 1000,
  euid: 0,
  gid: 1000,
  auid: 1000,
  session: 4,
  cgroupId: 77n,
  comm: "ls",
};
const ends = {
  ...child,
  local: [10, 0, 0, 1],
  localPort: 40_000,
  remote: [10, 0, 0, 2],
  remotePort: 443,
};

/** Every sample, in the order of topics' kinds. */
export function ocsfSamples(): readonly Answered[] {
  const lines = [
    ...kernelLines(),
    ...[...fileEvents(), ...ownEvents(), ...others()].map(lineFields),
  ];
  return lines.map(answered);
}

function answered(fields: string, idx: number): Answered {
  const line: AuditEvent & { readonly time: string } = JSON.parse(`{"idx":${idx},${fields}`);
  return {
    id: `0a1b2c3d-7-${idx}`,
    ...line,
    incarnation: "0a1b2c3d",
    seq: 7,
    host: "web-1",
    logged_at: "2026-11-18T23:06:41.000001Z",
    agent: "0123456789abcdef",
    epoch: "e1",
    batch: 3,
    event_date: line.time.slice(0, 10),
  };
}

function kernelLines(): string[] {
  const exec = execRecord({
    ...child,
    exe: "/usr/bin/ls",
    cwd: "/home/ann",
    argv: "ls\0-l\0",
    env: "PATH=/bin\0",
    tty: "pts/0",
    ancestors: [{ pid: 10, startNs: 2n * SECOND_NS, exe: "/bin/sh" }],
  });
  const shell = execRecord({ ...parent, exe: "/bin/sh" });
  const target = { pid: 10, startNs: 2n * SECOND_NS };
  const processes = createProcessDecoder(createTestContext());
  const control = createControlDecoder(createTestContext());
  const files = createFileDecoder(createTestContext(), undefined);
  const network = createNetworkDecoder(createTestContext(), () => undefined);
  const written = {
    ...child,
    path: "/etc/hosts",
    inode: 12n,
    size: 300n,
    device: (254 << 20) | 3,
  };
  const sums = { bytesIn: 1000n, bytesOut: 200n, begunNs: 3n * SECOND_NS };
  return [
    ...[shell, exec, forkRecord(child), exitRecord({ ...child, status: 256 })]
      .map((record) => decode(processes, record)),
    ...[
      exitRecord({ ...child, status: 9 }),
      credentialsRecord({ ...child, before: { euid: 1000 }, after: { euid: 0 } }),
    ].map((record) => decode(processes, record)),
    ...[0, 16, VM_WRITEV].map((request) =>
      decode(control, ptraceRecord({ ...child, request, target }))
    ),
    decode(
      control,
      ptraceRecord({ ...child, request: 16, error: 3, askedPid: 9, isInitial: false }),
    ),
    ...[9, 10].map((signal) => decode(control, signalRecord({ ...child, signal, target }))),
    ...[0, FLAG.created].map((flags) => decode(files, fileRecord({ ...written, flags }))),
    ...([
      { ...ends, kind: "connect" },
      { ...ends, kind: "connect", isFailure: true, error: 111 },
      { ...ends, kind: "connect", isFailure: true, error: 110 },
      { ...ends, kind: "connect", remote: ends.local },
      { ...ends, kind: "accept" },
      { ...ends, kind: "listen", flags: FLAG.noProcess },
      { ...ends, kind: "close", role: "connect", ...sums },
      { ...ends, kind: "close", role: "accept", isFailure: true, error: 104, ...sums },
      { ...ends, kind: "close", role: "listen" },
      { ...ends, kind: "close", protocol: 17, packetsIn: 3n, packetsOut: 2n, ...sums },
    ] as const).map((fields) => decode(network, networkRecord(fields))),
    `${
      JSON.stringify({
        time: "2026-11-18T23:06:40.123456Z",
        topic: "process/hash",
        severity: "info",
        pid: 11,
        process_id: `${BOOT}-11-300`,
        exe: "/usr/bin/ls",
        message: "The digest of /usr/bin/ls is known",
        detail: { sha256: SHA256, size: 138208 },
      }).slice(1)
    }`,
  ];
}

function decode(decoder: LineDecoder, record: Uint8Array): string {
  const located = locate(record, { timeUs: TIME_US });
  decoder.learn(located);
  const line = decoder.line(located);
  if (line === undefined) throw new Error("Cannot make a sample: no line");
  return line;
}

function fileEvents(): AuditEvent[] {
  const seen = {
    readAtUs: TIME_US,
    path: { path: "/d/name", isComplete: true },
    newPath: undefined,
    isExchange: false,
    isLink: false,
    device: "8:1",
    inode: { inode: 7, generation: 9 },
    attributes: undefined,
    linkText: undefined,
  };
  const newPath = { path: "/d/other", isComplete: true };
  const actor = { name: "/bin/x", escaped: [] };
  return [
    ...describe({ ...seen, mask: FAN_CREATE }, actor),
    ...describe({ ...seen, mask: FAN_CREATE, isLink: true }, actor),
    ...describe({ ...seen, mask: FAN_DELETE }, actor),
    ...describe({ ...seen, mask: FAN_RENAME, newPath }, actor),
    ...["write", "create", "delete", "rename"].map((how) =>
      event("file/change", {
        path: "/etc/hosts",
        ...(how === "rename" ? { old_path: "/etc/hosts.new" } : {}),
        detail: {
          how,
          kind: "content-diff",
          type: "regular",
          device: "8:1",
          inode: 12,
          mode: "0100644",
          owner: "0:0",
          size: 14,
          links: 1,
          ...(how === "create" ? {} : { sha256_before: SHA256 }),
          ...(how === "delete" ? {} : { sha256_after: SHA256.replace("9", "8") }),
          diff: "@@ -1 +1 @@\n-a\n+b\n",
          semantic: [{ what: "line/add", after: "b" }],
        },
      })
    ),
    event("file/change", {
      message: "dpkg changed 2 files of base-files 12.4",
      detail: {
        how: "package",
        package: "base-files",
        version: "12.4",
        count: 2,
        paths: ["/a", "/b"],
      },
    }),
    ...[["mode"], ["times"]].map((changed) =>
      event("file/attribute", {
        path: "/etc/hosts",
        detail: { how: "attribute", type: "directory", mode: "040755", changed },
      })
    ),
    event("file/mount", { path: "/mnt", detail: { how: "mount" } }),
    event("file/mount", { path: "/mnt", detail: { how: "umount" } }),
  ];
}

/** What agents and services say of themselves. */
function ownEvents(): AuditEvent[] {
  const producer = {
    eventsAppended: 5,
    batchesClosed: 1,
    batchesPublished: 1,
    batchesResent: 0,
    batchesReleased: 0,
    eventsVoided: 0,
    eventsLost: 0,
    spoolBytes: 4096,
    spoolBatches: 1,
  };
  const told = { sources: [], producer, configSha256: SHA256 };
  const report = { version: "1.0.0", boot: "8975aece", pid: 4, ...told };
  const rules = {
    rules: DEFAULT_RULES,
    places: { fileAt: () => undefined, cgroupAt: () => undefined },
  };
  const change = { pid: 4, before: "a", now: "b", changed: ["limits"], needsRestart: [], ...rules };
  const gap = {
    class: "fork",
    count: null,
    reason: "a hole",
    agent: "a",
    epoch: "e",
    batches: [2, 4],
  } as const;
  const audited: AuditEvent[] = [];
  const audit = createAudit({
    emit: (each) => audited.push(each),
    clock: { ...systemClock, nowUs: () => TIME_US },
  });
  const principal = {
    name: "ann",
    scopes: { actions: new Set(["read"] as const), topics: "all", hosts: "all" },
  } as const;
  const read = { principal, parameters: { host: "web-1" }, remote: "10.0.0.9" };
  audit.read({ ...read, route: "GET /v1/events", rows: 5, bytes: 300, outcome: "success" });
  audit.read({
    ...read,
    route: "POST /v1/sql",
    rows: undefined,
    bytes: undefined,
    outcome: "failure",
  });
  for (const route of ["PUT /v1/holds/{name}", "POST /v1/tokens", "DELETE /v1/holds/{name}", ""]) {
    audit.changed({ ...read, route, what: "did it" });
  }
  audit.refused({ remote: "10.0.0.9", reason: "an unknown token" });
  audit.refused({ remote: undefined, reason: "an unknown token" });
  return [
    startEvent({ ...report, ...rules, labels: {} }, TIME_US),
    heartbeatEvent(report, TIME_US),
    stopEvent(report, TIME_US),
    configEvent(change, TIME_US),
    refusedConfigEvent({ pid: 4, now: "a", reason: "unknown key" }, TIME_US),
    event("agent/collector", {
      severity: "medium",
      outcome: "failure",
      service: "backup",
      message: "Collector backup ended with exit code 3.",
      detail: { collector: "backup", state: "exited", exit_code: 3, duration_ms: 20, lines: 1 },
    }),
    gapEvent(gap, TIME_US),
    event("agent/gap", {
      severity: "high",
      message: "3 events are missing: the ring was full.",
      detail: {
        class: "ring_full",
        count: 3,
        reason: "the ring was full",
        from: "2026-11-18T23:06:39.000001Z",
        to: "2026-11-18T23:06:40.000009Z",
        classes: { exec: 3 },
        cpus: [{ cpu: 0, count: 3 }],
      },
    }),
    ...audited,
  ];
}

/** Topics whose members the contract names. */
function others(): AuditEvent[] {
  const login = { source: "journal", tty: "pts/1", remote: "10.0.0.7", method: "publickey" };
  const members = { what: "group/members", before: "ann", after: "ann,bob" };
  return [
    ...["login", "logout", "failure"].map((name) =>
      event(`auth/${name}`, { user: "ann", uid: 1000, session: "5", detail: login })
    ),
    event("auth/login", { service: "cron", detail: { remote: "example.org" } }),
    event("auth/sudo", { user: "ann", uid: 1000, detail: { target: "root", tty: "pts/1" } }),
    event("auth/su", { user: "ann", uid: 1000, detail: { target: "bob" } }),
    ...["add", "change", "remove"].flatMap((verb) =>
      ["user", "group", "key"].map((entity) =>
        event(`account/${entity}/${verb}`, {
          severity: "high",
          path: "/etc/passwd",
          detail: {
            source: "file",
            target: "bob",
            what: `${entity}/shell`,
            before: "a",
            after: "b",
          },
        })
      )
    ),
    event("account/user/change", { detail: { target: "bob", what: "user/password" } }),
    event("account/group/change", { detail: { target: "wheel", ...members } }),
    event("account/group/change", {
      detail: { target: "wheel", ...members, before: members.after, after: members.before },
    }),
    ...["install", "update", "remove"].map((verb) =>
      event(`package/${verb}`, {
        detail: { source: "dpkg", name: "curl", version: "8.1", old_version: "8.0", arch: "amd64" },
      })
    ),
    ...["start", "stop", "enable", "disable", "change"].map((verb) =>
      event(`service/${verb}`, {
        unit: "ssh.service",
        detail: { source: "systemd", state: "active", old_state: "inactive", enabled: true },
      })
    ),
    ...["load", "unload"].map((how) =>
      event("kernel/module", { pid: 11, user: "root", uid: 0, detail: { name: "loop", how } })
    ),
    event("kernel/bpf", { pid: 11, detail: { how: "prog_load" } }),
    event("kernel/uring", { pid: 11, detail: {} }),
    event("kernel/sysctl", { detail: { name: "kernel.sysrq", before: "0", after: "1" } }),
    event("audit/export", {
      user: "ann",
      detail: { principal: "ann", rows: 3, remote: "10.0.0.9" },
    }),
    event("crypto/tls/handshake", {
      context: "span-2",
      parent_context: "span-1",
      detail: { key: "tls::version", value: 772, type: "word", origin: "ab12" },
    }),
    event("app/shop/order", { service: "shop", detail: { order: 12, topic: "inner" } }),
    event("somebody/else", { topics: ["app/shop"], detail: { sample: 10 } }),
  ];
}

function event(topic: string, fields: Partial<AuditEvent>): AuditEvent {
  return { timeUs: TIME_US, severity: "info", message: `of ${topic}`, ...fields, topic };
}
