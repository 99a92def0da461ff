/** Events as OCSF 1.8 has them, topic by topic. */
import { describe, expect, it } from "vitest";
import { TOPICS } from "../../src/event/topic.ts";
import type { Values } from "../../src/query/ocsf/fields.ts";
import { ocsfLine } from "../../src/query/ocsf/line.ts";
import { mappingOf, TOPIC_MAPPINGS } from "../../src/query/ocsf/topics.ts";
import { type Answered, ocsfSamples } from "../support/ocsf-samples.ts";
import { RECOMMENDED, valueAt, violationsOf } from "../support/ocsf-schema.ts";

const OPTIONS = { version: "1.2.3" };
const SAMPLES = ocsfSamples();

/** By way of a line, as answers are made. */
function told(event: Values) {
  return JSON.parse(ocsfLine(JSON.stringify(event), OPTIONS));
}

function toldOf(topic: string, matches: (event: Answered) => boolean = () => true) {
  const found = SAMPLES.find((each) => each.topic === topic && matches(each));
  if (found === undefined) throw new Error(`Cannot find a sample of ${topic}`);
  return told(found);
}

describe("every topic", () => {
  it("has a row of its own, and a sample", () => {
    const rows = TOPIC_MAPPINGS.map(({ topic }) => topic);
    expect(rows.toSorted()).toEqual([...TOPICS, "app", "crypto"].toSorted());
    const sampled = new Set(SAMPLES.map(({ topic }) => topic));
    expect(TOPICS.filter((topic) => !sampled.has(topic))).toEqual([]);
  });

  it.each(SAMPLES.map((sample) => [sample.topic, sample] as const))(
    "%s keeps to the schema",
    (_, sample) => {
      const event = told(sample);
      expect(violationsOf(event)).toEqual([]);
      expect(RECOMMENDED.filter((name) => valueAt(event, name) === undefined)).toEqual([]);
      expect(mappingOf(sample.topic).activities).toContain(event.activity_id);
      expect(event.metadata).toMatchObject({
        version: "1.8.0",
        uid: sample["id"],
        event_code: sample.topic,
        sequence: 7,
        logged_time: Date.UTC(2026, 10, 18, 23, 6, 41),
        logged_time_dt: "2026-11-18T23:06:41.000001Z",
        log_name: "probity",
        product: { name: "Probity", vendor_name: "Probity", version: "1.2.3" },
      });
      expect(event.time_dt).toBe(sample["time"]);
      expect(event.time).toBe(Date.parse(String(sample["time"])));
      expect(event.unmapped).toMatchObject({ agent: sample["agent"], epoch: "e1", batch: 3 });
      expect(event.activity_id === 99 && event.activity_name === "Other").toBe(false);
    },
  );

  it("occurs in samples with every activity of its row", () => {
    const seen = new Set(
      SAMPLES.map((sample) => `${mappingOf(sample.topic).topic} ${told(sample).activity_id}`),
    );
    const never = TOPIC_MAPPINGS.flatMap(({ topic, activities }) =>
      activities.map((activity) => `${topic} ${activity}`)
    ).filter((each) => !seen.has(each));
    // No source refuses what it accepts or listens to.
    expect(never).toEqual([
      "network/accept 4",
      "network/accept 5",
      "network/listen 4",
      "network/listen 5",
    ]);
  });

  it("that breaks the schema would be found", () => {
    const event = toldOf("process/exec");
    expect(violationsOf({ ...event, process: { name: "ls" } })).toEqual([
      "process: one of pid,uid,cpid",
    ]);
    expect(violationsOf({ ...event, actor: undefined, severity_id: 7 })).toEqual([
      "actor",
      "severity_id 7",
    ]);
    expect(violationsOf({ ...event, activity_id: 6 })).toEqual(["activity 6", "type_uid"]);
  });
});

describe("a process", () => {
  it("that began has its parent as actor, and what its exec told", () => {
    const event = toldOf("process/exec", ({ comm }) => comm === "ls");
    expect(event).toMatchObject({
      type_uid: 100701,
      type_name: "Process Activity: Launch",
      launch_type_id: 3,
      actor: {
        process: { pid: 10, uid: "abcd0123-10-200", file: { path: "/bin/sh", name: "sh" } },
        user: { name: "ann", uid: "1000", type_id: 1 },
        session: { uid: "4", terminal: "pts/0" },
      },
      process: {
        pid: 11,
        uid: "abcd0123-11-300",
        name: "ls",
        cmd_line: "ls -l",
        working_directory: "/home/ann",
        file: { name: "ls", path: "/usr/bin/ls", type_id: 8, uid: "0" },
        auid: 1000,
        euid: 0,
        group: { uid: "1000" },
        container: { uid: "c".repeat(64) },
        environment_variables: [{ name: "PATH", value: "/bin" }],
        parent_process: { pid: 10, uid: "abcd0123-10-200" },
        ancestry: [{ pid: 10, uid: "abcd0123-10-200", path: "/bin/sh" }],
      },
      unmapped: { auid_user: "ann", detail: { argv: ["ls", "-l"] } },
    });
    expect(event.metadata.profiles).toEqual(["host", "datetime", "linux/linux_users", "container"]);
    expect(event.unmapped.detail).not.toHaveProperty("ancestors");
    expect(event.observables).toContainEqual({
      name: "process.file.path",
      type_id: 45,
      type: "File Path",
      value: "/usr/bin/ls",
    });
    expect(toldOf("process/fork")).toMatchObject({ launch_type_id: 2, process: { pid: 11 } });
  });

  it("that ended, or is taken hold of, is not its actor's parent", () => {
    expect(toldOf("process/exit")).toMatchObject({
      type_uid: 100702,
      exit_code: 1,
      process: { pid: 11 },
    });
    const killed = toldOf("process/exit", ({ message }) => String(message).includes("SIGKILL"));
    expect(killed).not.toHaveProperty("exit_code");
    expect(killed.unmapped.detail.signal).toBe(9);
    expect(toldOf("process/hash").process.file).toMatchObject({
      size: 138208,
      hashes: [{ algorithm_id: 3, value: expect.stringMatching(/^9f86/) }],
    });
    const how = (name: string) => ({ message }: Answered) => String(message).includes(name);
    expect(toldOf("process/ptrace", how("attached"))).toMatchObject({
      type_uid: 100703,
      actor: { process: { pid: 11 } },
      process: { pid: 10, uid: "abcd0123-10-200" },
    });
    expect(toldOf("process/ptrace", how("memory"))).toMatchObject({
      type_uid: 100704,
      injection_type_id: 99,
      injection_type: "process_vm_writev",
    });
    expect(toldOf("process/ptrace", how("could not")).process).toEqual({
      uid: "unknown",
      namespace_pid: 9,
    });
    expect(toldOf("process/signal", how("SIGKILL"))).toMatchObject({
      type_uid: 100702,
      process: { pid: 10 },
    });
    expect(toldOf("process/signal", how("SIGUSR1"))).toMatchObject({ activity_name: "Signal" });
  });
});

describe("a file", () => {
  it("has its inode, with all digits", () => {
    const event = toldOf("file/write");
    expect(event.file).toEqual({
      name: "hosts",
      path: "/etc/hosts",
      type_id: 1,
      type: "Regular File",
      uid: "12",
      volume: "254:3",
      size: 300,
    });
    expect(event.actor.process).toMatchObject({ pid: 11, name: "ls" });
    const line = '{"topic":"file/write","path":"/x","detail":{"inode":18446744073709551615}}';
    expect(JSON.parse(ocsfLine(line, OPTIONS)).file.uid).toBe("18446744073709551615");
  });

  it("that changed has its digests before and after, and the difference", () => {
    expect(toldOf("file/change")).toMatchObject({
      type_uid: 100103,
      file: { path: "/etc/hosts", hashes: [{ value: expect.stringMatching(/^9f/) }] },
      file_result: {
        path: "/etc/hosts",
        size: 14,
        hashes: [{ value: expect.stringMatching(/^8f/) }],
      },
      file_diff: expect.stringContaining("+b"),
      actor: { app_name: "unknown" },
    });
    const deleted = toldOf(
      "file/change",
      ({ detail }) => JSON.stringify(detail).includes("delete"),
    );
    expect(deleted.activity_name).toBe("Delete");
    expect(deleted).not.toHaveProperty("file_result");
    expect(toldOf("file/change", ({ path }) => path === undefined).file).toMatchObject({
      name: "unknown",
      product: { name: "base-files", version: "12.4" },
    });
  });

  it("that was renamed has both names", () => {
    expect(toldOf("file/rename")).toMatchObject({
      type_uid: 100105,
      file: { path: "/d/name" },
      file_result: { path: "/d/other", uid: "7" },
    });
  });
});

describe("a connection", () => {
  const by = (direction: string) => (event: Answered) =>
    told(event).connection_info.direction === direction;

  it("has ends, direction and protocol", () => {
    expect(toldOf("network/connect")).toMatchObject({
      type_uid: 400101,
      src_endpoint: { ip: "10.0.0.1", port: 40_000 },
      dst_endpoint: { ip: "10.0.0.2", port: 443 },
      connection_info: {
        direction_id: 2,
        protocol_name: "tcp",
        protocol_num: 6,
        protocol_ver_id: 4,
      },
      observation_point_id: 1,
      is_src_dst_assignment_known: true,
    });
    expect(toldOf("network/connect", by("Local")).observation_point).toBe("Both");
    expect(toldOf("network/listen").dst_endpoint).toEqual({ ip: "10.0.0.1", port: 40_000 });
    const refused = toldOf("network/connect", ({ errno }) => errno === 111);
    expect(refused).toMatchObject({
      activity_name: "Refuse",
      status: "Failure",
      status_code: "111",
    });
  });

  it("counts what came from the destination as in", () => {
    expect(toldOf("network/close", by("Outbound"))).toMatchObject({
      activity_name: "Close",
      duration: 1000,
      traffic: { bytes: 1200, bytes_in: 1000, bytes_out: 200 },
    });
    expect(toldOf("network/close", by("Inbound"))).toMatchObject({
      activity_name: "Reset",
      traffic: { bytes: 1200, bytes_in: 200, bytes_out: 1000 },
    });
  });

  it("names the other end", () => {
    const [event] = SAMPLES.filter(({ topic }) => topic === "network/connect");
    const named = (topic: string, names: unknown) =>
      told({ ...event, topic, detail: { family: "inet", names } });
    expect(named("network/connect", ["a.example"]).dst_endpoint.hostname).toBe("a.example");
    expect(named("network/accept", ["a.example"]).src_endpoint.hostname).toBe("a.example");
    expect(named("network/connect", ["a", "b"]).unmapped.detail.names).toEqual(["a", "b"]);
    expect(named("network/connect", [3]).dst_endpoint).not.toHaveProperty("hostname");
  });
});

describe("people", () => {
  it("log in, and become others", () => {
    expect(toldOf("auth/login")).toMatchObject({
      type_uid: 300201,
      user: { name: "ann", uid: "1000" },
      src_endpoint: { ip: "10.0.0.7" },
      dst_endpoint: { hostname: "web-1" },
      is_remote: true,
      logon_type_id: 10,
      session: { uid: "5", terminal: "pts/1" },
    });
    expect(toldOf("auth/sudo")).toMatchObject({
      type_uid: 300207,
      account_switch_type_id: 1,
      user: { name: "root" },
      actor: { user: { name: "ann" } },
    });
  });

  it("are changed, and come into groups", () => {
    const what = (text: string) => ({ detail }: Answered) => JSON.stringify(detail).includes(text);
    expect(toldOf("account/user/add")).toMatchObject({ type_uid: 300101, user: { name: "bob" } });
    expect(toldOf("account/user/change", what("password")).activity_name).toBe("Password Change");
    expect(toldOf("account/group/change", what('"after":"ann,bob"'))).toMatchObject({
      type_uid: 300603,
      group: { name: "wheel" },
      user: { name: "bob" },
    });
  });

  it("read the record", () => {
    expect(toldOf("audit/query")).toMatchObject({
      type_uid: 600302,
      actor: { user: { name: "ann" } },
      api: {
        operation: "GET /v1/events",
        service: { name: "probity-query" },
        request: { data: { host: "web-1" } },
      },
      src_endpoint: { ip: "10.0.0.9" },
      unmapped: { detail: { rows: 5, bytes: 300 } },
    });
    expect(toldOf("audit/login")).toMatchObject({
      status_detail: "an unknown token",
      user: { name: "unknown" },
    });
  });
});

describe("the rest", () => {
  it("is told where it has a place", () => {
    expect(toldOf("agent/gap", ({ detail }) => JSON.stringify(detail).includes("cpus")))
      .toMatchObject({
        type_uid: 100899,
        activity_name: "Gap",
        log_provider: "probity",
        start_time: Date.UTC(2026, 10, 18, 23, 6, 39),
        start_time_dt: "2026-11-18T23:06:39.000001Z",
        status_detail: "the ring was full",
        unmapped: { detail: { class: "ring_full", count: 3, cpus: [{ cpu: 0, count: 3 }] } },
      });
    expect(toldOf("service/start")).toMatchObject({
      type_uid: 600203,
      app: { name: "ssh.service" },
    });
    expect(toldOf("app/shop/order")).toMatchObject({
      class_uid: 0,
      activity_name: "app/shop/order",
      actor: { app_name: "shop" },
      unmapped: { detail: { order: 12, topic: "inner" } },
    });
    expect(toldOf("crypto/tls/handshake").metadata.correlation_uid).toBe("span-2");
    expect(toldOf("somebody/else")).toMatchObject({
      count: 10,
      metadata: { labels: ["app/shop"] },
    });
  });

  it("is unmapped under its own name when it has another shape", () => {
    const event = told({ topic: 7, time: "yesterday", severity: "dire", detail: "text", pid: "x" });
    expect(event).toMatchObject({ class_uid: 0, time: 0, severity_id: 0 });
    expect(event.unmapped).toEqual({
      topic: 7,
      time: "yesterday",
      severity: "dire",
      detail: "text",
      pid: "x",
    });
  });
});
