/**
 * What the agent may ask of its privileged process, and how the words travel: one JSON object per message, descriptors
 * beside it. Pure.
 *
 * Invariants: a request is taken only when every field is there, none is there that is not named, and each is what it
 * should be; everything else is no request. Bytes travel as text, one character for each.
 */
import { HANDLES_MAX } from "../libc.ts";
import type { ProgramVariant } from "../program-object.ts";

/** What a field may be. A path is absolute, without NUL; a relative one is not; a name has letters, digits, - and _. */
type FieldKind =
  | "path"
  | "paths"
  | "relative"
  | "bytes"
  | "handles"
  | "name"
  | "number"
  | "values"
  | "variant";
type ValueOf<K extends FieldKind> = K extends "number" ? number
  : K extends "paths" | "handles" ? readonly string[]
  : K extends "values" ? Readonly<Record<string, string>>
  : K extends "variant" ? ProgramVariant
  : string;

interface RequestShape {
  readonly fields: Readonly<Record<string, FieldKind>>;
  /** Descriptors that come with it. */
  readonly descriptors: number;
}

/** Every request there is. */
export const REQUESTS = {
  /** The first of all, and only once: what may be read; see `ReadableFiles`. */
  policy: { fields: { contents: "paths", belowHomes: "paths" }, descriptors: 0 },
  open: { fields: { path: "path", flags: "number" }, descriptors: 0 },
  /** Descriptor: the folder that the path begins in; an empty one: what it is on, opened anew. */
  open_at: { fields: { path: "relative", flags: "number" }, descriptors: 1 },
  readlink: { fields: { path: "path" }, descriptors: 0 },
  mkdir: { fields: { path: "path" }, descriptors: 0 },
  rmdir: { fields: { path: "path" }, descriptors: 0 },
  unlink: { fields: { path: "path" }, descriptors: 0 },
  rename: { fields: { path: "path", to: "path" }, descriptors: 0 },
  fanotify_init: { fields: { flags: "number", eventFlags: "number" }, descriptors: 0 },
  /** Descriptors: the group, and what is to be marked. */
  fanotify_mark: { fields: { flags: "number", mask: "number" }, descriptors: 2 },
  /** Descriptor: the folder that the name is in. */
  handle_of: { fields: { name: "bytes", sizeBytes: "number", flags: "number" }, descriptors: 1 },
  /** Descriptor: anything on the filesystem. Gives one for each handle that could be opened; text: each one's status. */
  open_by_handles: { fields: { handles: "handles", flags: "number" }, descriptors: 1 },
  /** The group of the kernel's audit that is for reading, as far as it is about logins. */
  audit_socket: { fields: {}, descriptors: 0 },
  /** See `stirAudit`. */
  audit_stir: { fields: {}, descriptors: 0 },
  pin_open: { fields: { path: "path" }, descriptors: 0 },
  /** Descriptor: a map. Gives three descriptors; see `GateDescriptors`. */
  gate_open: { fields: { keyBytes: "number", valueBytes: "number" }, descriptors: 1 },
  /** Descriptor: the file; see `ProbeAttachment`. */
  probe_attach: {
    fields: {
      program: "path",
      link: "path",
      offset: "number",
      semaphore: "number",
      cookie: "number",
    },
    descriptors: 1,
  },
  object_load: {
    fields: {
      family: "name",
      variant: "variant",
      ringBytes: "number",
      /** 1: programs for calls in the i386 way, too. */
      compat: "number",
      values: "values",
    },
    descriptors: 0,
  },
  object_map: { fields: { object: "number", name: "name" }, descriptors: 0 },
  object_attach: { fields: { object: "number" }, descriptors: 0 },
  object_pin: { fields: { object: "number", folder: "path" }, descriptors: 0 },
  object_close: { fields: { object: "number" }, descriptors: 0 },
} as const satisfies Readonly<Record<string, RequestShape>>;

type Requests = typeof REQUESTS;
export type Operation = keyof Requests;
export type RequestOf<O extends Operation> = {
  readonly [F in keyof Requests[O]["fields"]]: Requests[O]["fields"][F] extends FieldKind
    ? ValueOf<Requests[O]["fields"][F]>
    : never;
};
export type Request = {
  readonly [O in Operation]: { readonly operation: O; readonly fields: RequestOf<O> };
}[Operation];

export interface Reply {
  /** What the call gave; negative: its errno. */
  readonly status: number;
  /** What it found, or why it was refused. */
  readonly text: string;
}

const VARIANTS: Readonly<Record<ProgramVariant, true>> = {
  tp_btf: true,
  raw_tp: true,
  cgroup: true,
};
const PATH_CHARACTERS_MAX = 4096;
const PATHS_MAX = 1024;
const BYTES_MAX = 512;
/** `MAX_HANDLE_SZ`, and the two fields before it. */
const HANDLE_BYTES_MAX = 128 + 8;
const VALUES_MAX = 16;
const VALUE_BYTES_MAX = 4096;
const NUMBER_MAX = 2 ** 48;

export function encodeRequest(
  operation: Operation,
  fields: Readonly<Record<string, unknown>>,
): Uint8Array {
  return Buffer.from(JSON.stringify({ operation, ...fields }), "utf8");
}

/** Undefined when it is no request, or comes with another number of descriptors than it takes. */
export function parseRequest(bytes: Uint8Array, descriptors: number): Request | undefined {
  const value = parseObject(bytes);
  if (value === undefined) return undefined;
  const { operation, ...fields } = value;
  if (typeof operation !== "string" || !Object.hasOwn(REQUESTS, operation)) return undefined;
  // as: the line before has found it among the keys
  const shape: RequestShape = REQUESTS[operation as Operation];
  const names = Object.keys(shape.fields);
  const isWhole = Object.keys(fields).length === names.length && descriptors === shape.descriptors;
  if (!isWhole || !names.every((name) => isValid(shape.fields[name], fields[name]))) {
    return undefined;
  }
  // as: its shape has just been checked, field by field
  return { operation, fields } as unknown as Request;
}

export function encodeReply({ status, text }: Reply): Uint8Array {
  return Buffer.from(JSON.stringify({ status, text }), "utf8");
}

/** Throws when it is no reply: the two sides are of one version, so this is a fault. */
export function parseReply(bytes: Uint8Array): Reply {
  const { status, text } = parseObject(bytes) ?? {};
  if (typeof status !== "number" || typeof text !== "string") {
    throw new Error("Cannot read the privileged process's reply: malformed");
  }
  return { status, text };
}

function parseObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    return { ...value };
  } catch {
    return undefined; // Neither UTF-8 nor JSON: what is asked is not known.
  }
}

function isValid(kind: FieldKind | undefined, value: unknown): boolean {
  switch (kind) {
    case "number":
      return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= NUMBER_MAX;
    case "path":
      return isPath(value);
    case "paths":
      return Array.isArray(value) && value.length <= PATHS_MAX && value.every(isPath);
    case "relative":
      return typeof value === "string" && isPath(`/${value}`) && !value.startsWith("/");
    case "name":
      return isName(value);
    case "values":
      return isValues(value);
    case "bytes":
      return typeof value === "string" && value.length <= BYTES_MAX && isBytes(value);
    case "handles":
      return Array.isArray(value) && value.length > 0 && value.length <= HANDLES_MAX &&
        value.every((each) =>
          typeof each === "string" && each.length <= HANDLE_BYTES_MAX && isBytes(each)
        );
    case "variant":
      return typeof value === "string" && Object.hasOwn(VARIANTS, value);
    case undefined:
      return false;
  }
}

/** Bytes by name. */
function isValues(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const entries: [string, unknown][] = Object.entries(value);
  return entries.length <= VALUES_MAX &&
    entries.every(([name, bytes]) =>
      isName(name) && typeof bytes === "string" && bytes.length <= VALUE_BYTES_MAX && isBytes(bytes)
    );
}

function isName(value: unknown): boolean {
  return typeof value === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(value);
}

function isPath(value: unknown): boolean {
  return typeof value === "string" && value.startsWith("/") && isBytes(value) &&
    value.length < PATH_CHARACTERS_MAX && !value.includes("\0");
}

function isBytes(text: string): boolean {
  // deno-lint-ignore no-control-regex -- all bytes are meant.
  return /^[\x00-\xff]*$/.test(text);
}
