/**
 * CloudEvents 1.0 over HTTP: structured (one event as JSON), batched (a list of them) and binary (attributes as `ce-`
 * headers, data as the body).
 *
 * Invariant: what the specification does not allow is refused with what it is; nothing is taken of a batch of which one
 * event is refused. Source: CloudEvents 1.0.2, JSON Event Format, HTTP Protocol Binding.
 */
import { isUtf8 } from "node:buffer";
import type { IncomingHttpHeaders } from "node:http";
import { jsonInner } from "../../decode-text.ts";
import {
  DEPTH_MAX,
  depthOf,
  isObject,
  membersOf,
  type ObjectParts,
  parseExact,
  partsOf,
} from "./object-members.ts";

/** An event's parts for its line, and what it is as JSON. */
export interface TakenEvent {
  readonly parts: ObjectParts;
  readonly whole: Buffer;
}

/** Why a request is refused: its status and what is wrong. */
export interface IngestFault {
  readonly status: 400 | 415;
  readonly detail: string;
}

const STRUCTURED = "application/cloudevents+json";
const BATCH = "application/cloudevents-batch+json";
const ATTRIBUTE = /^[a-z0-9]+$/;
const REQUIRED = ["id", "source", "type"] as const;
const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** The events of a request. */
export function eventsOf(
  headers: IncomingHttpHeaders,
  body: Buffer,
): readonly TakenEvent[] | IngestFault {
  const type = (headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type === STRUCTURED || type === BATCH) {
    const value = isUtf8(body) ? parseExact(body.toString("utf8")) : undefined;
    if (value === undefined) return { status: 400, detail: "the body is not JSON in UTF-8" };
    if (type === STRUCTURED) return takeAll([value]);
    if (!Array.isArray(value)) return { status: 400, detail: "a batch is a list of events" };
    return takeAll(value);
  }
  if (headers["ce-specversion"] === undefined) {
    const detail = `neither ${STRUCTURED}, ${BATCH} nor an event of ce- headers`;
    return { status: 415, detail };
  }
  const attributes = attributesOf(headers);
  if (attributes === undefined) {
    return { status: 400, detail: "a ce- header is not percent-encoded UTF-8" };
  }
  return takeAll([{ ...attributes, ...dataOf(type, body) }]);
}

function takeAll(values: readonly unknown[]): readonly TakenEvent[] | IngestFault {
  const taken: TakenEvent[] = [];
  for (const [place, value] of values.entries()) {
    const fault = faultOf(value);
    if (fault !== undefined) {
      const which = values.length === 1 ? "the event" : `event ${place + 1}`;
      return { status: 400, detail: `${which}: ${fault}` };
    }
    if (isObject(value)) taken.push(takenOf(value));
  }
  return taken;
}

function faultOf(value: unknown): string | undefined {
  if (!isObject(value)) return "it is not an object";
  if (value["specversion"] !== "1.0") return 'specversion is not "1.0"';
  for (const name of REQUIRED) {
    const text = value[name];
    if (typeof text !== "string" || text === "") return `${name} is not a text`;
  }
  const { time } = value;
  if (time !== undefined && time !== null) {
    const isTime = typeof time === "string" && RFC_3339.test(time) && !isNaN(Date.parse(time));
    if (!isTime) return "time is not of RFC 3339";
  }
  if (value["data"] !== undefined && value["data_base64"] !== undefined) {
    return "it has both data and data_base64";
  }
  const base64 = value["data_base64"];
  if (base64 !== undefined && typeof base64 !== "string") return "data_base64 is not a text";
  for (const [name, attribute] of Object.entries(value)) {
    if (name === "data" || name === "data_base64") continue;
    if (!ATTRIBUTE.test(name)) return `attribute ${JSON.stringify(name)} is not of a-z and 0-9`;
    if (typeof attribute === "object" && attribute !== null) {
      return `attribute ${JSON.stringify(name)} is no single value`;
    }
  }
  return depthOf(value) > DEPTH_MAX ? `its data is deeper than ${DEPTH_MAX}` : undefined;
}

/** Data that is an object is looked at as a message would be; a text is the message itself. */
function takenOf(event: Readonly<Record<string, unknown>>): TakenEvent {
  const { data, type, source } = event;
  const said = isObject(data) ? partsOf(data) : undefined;
  const text = typeof data === "string" ? jsonInner(data) : undefined;
  return {
    parts: {
      topic: String(type),
      message: said?.message ?? text,
      level: said?.level,
      user: said?.user,
      service: String(source).replace(/^[a-zA-Z][a-zA-Z0-9+.-]*:/, "").replace(/^\/+/, ""),
      rest: membersOf(attributesKept(event), text === undefined ? [] : ["data"]),
    },
    whole: Buffer.from(JSON.stringify(event)),
  };
}

/** An extension of the name under which `detail` has the sender's spelling of the topic gets a `_` before it. */
function attributesKept(
  event: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const { topic, ...others } = event;
  return topic === undefined ? event : { ...others, _topic: topic };
}

function attributesOf(headers: IncomingHttpHeaders): Record<string, string> | undefined {
  const attributes: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith("ce-") || typeof value !== "string") continue;
    try {
      attributes[name.slice("ce-".length)] = decodeURIComponent(value);
    } catch {
      return undefined; // The caller says so.
    }
  }
  return attributes;
}

/** The body by its type: JSON and text as such, others in base64. */
function dataOf(type: string, body: Buffer): Readonly<Record<string, unknown>> {
  if (body.length === 0) return {};
  const said = type === "" ? {} : { datacontenttype: type };
  if (isUtf8(body)) {
    const text = body.toString("utf8");
    if (type.startsWith("text/")) return { ...said, data: text };
    const value = type === "" || /[/+]json$/.test(type) ? parseExact(text) : undefined;
    if (value !== undefined) return { ...said, data: value };
  }
  return { ...said, data_base64: body.toString("base64") };
}
