/**
 * A syslog message as a line: taken apart when it is of RFC 5424, else kept whole, with the part that is at fault.
 *
 * Invariant: what the header claims of host and process stays in `detail`; only severity and the application's name go
 * into columns, which say of nobody who they are.
 */
import { isUtf8 } from "node:buffer";
import { escapedTextOf } from "../../byte-text.ts";
import { jsonInner } from "../../decode-text.ts";
import type { MessageLines } from "./message-lines.ts";
import { FACILITY_NAMES, parseSyslog, SEVERITY_NAMES, type SyslogElement } from "./syslog.ts";

/** Gives one message to the lines. */
export function takeSyslog(lines: MessageLines, bytes: Buffer): void {
  const parsed = parseSyslog(bytes);
  if (typeof parsed === "string") return lines.takeWhole(bytes, `"syslog_fault":"${parsed}"`);
  const { facility, severity, timestamp, hostname, appName, procid, msgid } = parsed;
  const { text, structuredData } = parsed;
  const isText = isUtf8(text);
  const level = SEVERITY_NAMES[severity];
  const rest: Readonly<Record<string, unknown>> = {
    facility: FACILITY_NAMES[facility],
    ...{ level, time: timestamp, hostname, app_name: appName, procid, msgid },
    structured_data: structuredData.length === 0 ? undefined : dataOf(structuredData),
    escaped: isText ? undefined : ["message"],
  };
  lines.takeParts({
    topic: msgid,
    message: jsonInner(isText ? text.toString("utf8") : escapedTextOf(text)),
    level,
    user: undefined,
    service: appName,
    rest: JSON.stringify(rest).slice(1, -1),
  }, bytes);
}

/** Parameters by element; one that is there several times has a list. */
function dataOf(elements: readonly SyslogElement[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(elements.map(({ id, parameters }) => {
    const values = Object.groupBy(parameters, ([name]) => name);
    const members = Object.entries(values).map(([name, found = []]) => {
      const texts = found.map(([, value]) => value);
      return [name, texts.length === 1 ? texts[0] : texts];
    });
    return [id, Object.fromEntries(members)];
  }));
}
