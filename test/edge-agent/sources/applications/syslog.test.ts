/** Syslog: the RFC's own examples, what is not of it, and both transports on real sockets. */
import { once } from "node:events";
import { createSocket } from "node:dgram";
import { describe, expect, it } from "vitest";
import { parseSyslog } from "../../../../src/edge-agent/sources/applications/syslog.ts";
import { connectTo, openApplicationRig, TCP } from "../../../support/application-rig.ts";
import { runSource } from "../../../support/source-run.ts";

const FIRST =
  "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick on /dev/pts/8";
const THIRD =
  '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"] \ufeffAn application event log entry...';
const FOURTH =
  '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"][examplePriority@32473 class="high"]';

const parse = (text: string) => parseSyslog(Buffer.from(text));

describe("RFC 5424", () => {
  it("parses the examples of section 6.5", () => {
    expect(parse(FIRST)).toMatchObject({
      ...{ facility: 4, severity: 2, hostname: "mymachine.example.com", appName: "su" },
      ...{ procid: undefined, msgid: "ID47", structuredData: [] },
      text: Buffer.from("'su root' failed for lonvick on /dev/pts/8"),
    });
    const second =
      "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time.";
    expect(parse(second)).toMatchObject({
      procid: "8710",
      timestamp: expect.stringMatching("-07:"),
    });
    expect(parse(THIRD)).toMatchObject({
      structuredData: [{
        id: "exampleSDID@32473",
        parameters: [["iut", "3"], ["eventSource", "Application"], ["eventID", "1011"]],
      }],
    });
    expect(parse(FOURTH)).toMatchObject({ text: Buffer.alloc(0) });
  });

  it.each([
    ["<192>1 - - - - - -", "priority"],
    ["<01>1 - - - - - -", "priority"],
    ["Oct 11 22:14:15 mymachine su: 'su root' failed", "priority"],
    ["<34>2 - - - - - -", "version"],
    ["<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "version"],
    ["<34>1 2003-10-11T22:14:15.0000031Z - - - - -", "timestamp"],
    ["<34>1 2003-02-30T22:14:15Z - - - - -", "timestamp"],
    ["<34>1 2003-10-11T23:59:60Z - - - - -", "timestamp"],
    ["<34>1 2003-10-11t22:14:15z - - - - -", "timestamp"],
    [`<34>1 - ${"h".repeat(256)} - - - -`, "hostname"],
    ["<34>1 -  - - - -", "hostname"],
    [`<34>1 - - ${"a".repeat(49)} - - -`, "app_name"],
    ["<34>1 - - - é - -", "procid"],
    ["<34>1 - - - -", "procid"],
    [`<34>1 - - - - ${"m".repeat(33)} -`, "msgid"],
    ["<34>1 - - - - - text", "structured_data"],
    ["<34>1 - - - - - [a][a]", "structured_data"],
    ['<34>1 - - - - - [a b="]"]', "structured_data"],
    ['<34>1 - - - - - [a b="c" ]', "structured_data"],
    ["<34>1 - - - - - -text", "structured_data"],
  ])("finds in %j a fault of its %s", (text, fault) => {
    expect(parse(text)).toBe(fault);
  });

  it("keeps spaces, and a backslash that escapes nothing", () => {
    expect(parse('<0>1 - - - - - [a b="\\"\\\\\\]\\n"]   two  spaces ')).toMatchObject({
      structuredData: [{ id: "a", parameters: [["b", '"\\]\\n']] }],
      text: Buffer.from("  two  spaces "),
    });
    expect(parseSyslog(Buffer.from('<0>1 - - - - - [a b="\xff"]', "latin1"))).toBe(
      "parameter_text",
    );
  });
});

describe("syslog", () => {
  it("comes over TCP, counted and by lines on one connection, and over UDP", async () => {
    await using rig = await openApplicationRig({ syslog: TCP });
    await using run = runSource(rig.source);
    const port = rig.source.syslogPort ?? 0;
    const socket = await connectTo({ port });
    const counted = Buffer.from(FIRST.replace("failed", "failed\ntwice"));
    const old = "<34>Oct 11 22:14:15 mymachine su: old form";
    socket.end(`${counted.length} ${counted}${THIRD}\n${old}\r\n${FOURTH}`);
    const datagrams = createSocket("udp4");
    datagrams.send(FIRST.replace("lonvick", "datagram"), port, "127.0.0.1");
    const lines = await run.waitFor(() => true, { count: 5 });
    datagrams.close();
    await once(datagrams, "close");
    expect(lines.find(({ message }) => String(message).includes("failed\ntwice"))).toMatchObject({
      topic: "app/su/ID47",
      severity: "high",
      service: "su",
      protocol: "tcp",
      detail: {
        ...{ facility: "auth", level: "crit", hostname: "mymachine.example.com", app_name: "su" },
        time: "2003-10-11T22:14:15.003Z",
      },
    });
    expect(lines.find(({ message }) => message === old)).toMatchObject({
      topic: "app/unnamed/message",
      detail: { syslog_fault: "version" },
    });
    expect(
      lines.filter(({ topic }) => topic === "app/evntslog/ID47").map(({ detail }) =>
        Reflect.get(detail, "structured_data")
      ),
    ).toEqual([
      { "exampleSDID@32473": { iut: "3", eventSource: "Application", eventID: "1011" } },
      expect.objectContaining({ "examplePriority@32473": { class: "high" } }),
    ]);
    expect(lines.find(({ protocol }) => protocol === "udp")?.message).toContain("datagram");
  });
});
