/** `[[sinks]]`: what each kind needs and may have, and where it may lead. */
import { describe, expect, test } from "vitest";
import { sinkSettingsOf } from "../../src/cli/config-sinks.ts";
import { parseConfig } from "../../src/cli/config-file.ts";

const sinksOf = (text: string) =>
  parseConfig(`[[sinks]]\nname = "a"\n${text}`, "x.toml").structures.sinks;
const faultOf = (text: string): string => {
  try {
    sinksOf(text);
    return "";
  } catch (error) {
    return String(error);
  }
};

describe("a sink", () => {
  const amqp = 'type = "amqp"\nexchange = ""\n';
  const postgres = 'type = "postgres"\ntable = "t"\n';
  const rows: readonly (readonly [string, RegExp])[] = [
    ['type = "file"', /path|what type file needs/],
    ['type = "file"\npath = "events.ndjson"', /a path that begins with \//],
    ['type = "file"\npath = "/x"\nurl = "http://x"', /for type file: name, type, topics/],
    ['type = "webhook"\nurl = "http://siem.example/"', /https, or http to this machine/],
    ['type = "webhook"\nurl = "https://u:p@siem.example/"', /without name and password/],
    [`${amqp}url = "amqp://mq.example"`, /amqps, or amqp to this machine/],
    [`${amqp}url = "amqp://localhost"\ntls_ca = "/ca"`, /amqps:\/\/ where tls_ca is set/],
    [`${amqp}url = "amqps://u:p@mq.example"`, /without a password/],
    [`${amqp}url = "amqps://mq.example"\ntls_cert = "/c"`, /tls_cert and tls_key together/],
    [`${amqp}url = "amqp://localhost"\ntls_cert = "/c"\ntls_key = "/k"`, /an address of TLS/],
    [`${postgres}url = "mysql://db.example/x"`, /an address such as postgres:/],
    [`${postgres}url = "postgres://db.example/x"\ntls_key = "/k"`, /tls_cert and tls_key together/],
    ['type = "syslog"\nurl = "https://log.example"', /an address such as tls:/],
    ['type = "syslog"\nurl = "tcp://log.example"\ntls_ca = "/ca"', /an address of TLS/],
    ['type = "nats"\nurl = "nats://x:4222"\nsubject = "audit.0.a"', /not below audit or probity/],
    ['type = "stdout"\nfilters = {colour = "red"}', /a table of conditions by column/],
    ['type = "stdout"\ntopics = ["auth/*"]', /a list of topics such as/],
    ['type = "stdout"\nbatch = 1001', /a number of events up to 1000/],
  ];
  test.each(rows)("cannot be %j", (text, expected) => {
    expect(faultOf(text)).toMatch(expected);
  });

  test("has the files of TLS that it names", () => {
    const tls = 'tls_ca = "/ca"\ntls_cert = "/c"\ntls_key = "/k"\n';
    const files = { caFile: "/ca", certFile: "/c", keyFile: "/k" };
    for (
      const text of [
        `${amqp}url = "amqps://mq.example"`,
        `${postgres}url = "postgres://localhost/x"`,
        'type = "syslog"\nurl = "tls://log.example"',
      ]
    ) {
      expect(sinkSettingsOf(sinksOf(`${text}\n${tls}`))[0]?.target).toMatchObject(files);
    }
  });
});
