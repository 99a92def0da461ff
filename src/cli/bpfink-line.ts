/**
 * Changes of files as the lines that bpfink writes (zerolog's JSON), for what reads those: same messages, same names of
 * fields. Its traps are not kept: `passwd` is constant, `keys` are SHA-256 fingerprints of keys of every type, the
 * values of `generic` are SHA-256 of the contents, `add` and `del` of a text keep order and repetition, no process is
 * left out. `time`, `host` and `id` are added, which bpfink leaves to whoever ships its lines.
 *
 * Invariant: a change without a meaning for bpfink (a comment, the age of a password) has no line; one whose contents
 * are not known has a line of digests instead.
 */
import "./schema-settings.ts";
import { type } from "arktype";
import type { RecordedEvent } from "../client/record.ts";
import { FILE_CHANGE_TOPIC } from "../event/topic.ts";

const texts = type("string[]");
const user = type({ user: "string", passwd: "string", keys: texts });
const lists = type({ grant: texts, deny: texts });
const accounts = type({ users: user.array(), add: user.array(), del: user.array() });
const access = type({ access: lists, add: lists, del: lists });
const detailType = type({
  "kind?": "string",
  "package?": "string",
  "canary?": "boolean",
  "diff?": "string",
  "sha256_before?": "string",
  "sha256_after?": "string",
});

type Detail = typeof detailType.infer;
type Fields = Readonly<Record<string, unknown>>;

interface Told {
  readonly message: string;
  readonly fields: Fields;
}

export interface BpfinkOptions {
  /** What stands as `version` in every line. */
  readonly version: string;
}

/** The line of an event as an object whose keys are in bpfink's order; undefined when it has none. */
export function bpfinkLine(event: RecordedEvent, { version }: BpfinkOptions): Fields | undefined {
  const told = toldOf(event);
  if (told === undefined) return undefined;
  const { time, host, id, cmdline, comm, exe } = event;
  return {
    level: "warn",
    version,
    ...(time === undefined ? {} : { time }),
    ...(host === undefined ? {} : { host }),
    id,
    ...told.fields,
    processName: cmdline ?? comm ?? exe ?? "",
    user: event.user ?? (event.uid === undefined ? "" : String(event.uid)),
    message: told.message,
  };
}

function toldOf({ topic, path, detail }: RecordedEvent): Told | undefined {
  if (topic !== FILE_CHANGE_TOPIC || path === undefined) return undefined;
  const known = detailType(detail ?? {});
  const facts: Detail = known instanceof type.errors ? {} : known;
  // The agent's own proof that it sees, every minute: by its mark, for anybody may give a file its name.
  if (facts.canary === true) return undefined;
  // Many files at once, of which the record has no contents.
  if (facts.package !== undefined) return undefined;
  const state = detail?.["state"];
  switch (facts.kind) {
    case "accounts": {
      const found = accounts(state);
      if (found instanceof type.errors) return digests(facts, path);
      const isSame = found.add.length === 0 && found.del.length === 0;
      return isSame ? undefined : { message: "Users Modified", fields: found };
    }
    case "access": {
      const found = access(state);
      if (found instanceof type.errors) return digests(facts, path);
      const { add, del } = found;
      const changed = [add.grant, add.deny, del.grant, del.deny].flat();
      return changed.length === 0 ? undefined : { message: "access entries", fields: found };
    }
    case "digest":
    case undefined:
      return digests(facts, path);
    default:
      return facts.diff === undefined ? digests(facts, path) : contents(facts, path);
  }
}

/** `generic`: digests before and after, "" when there is no file. */
function digests(detail: Detail, path: string): Told {
  const { sha256_before: current = "", sha256_after: next = "" } = detail;
  const deed = deedOf(detail);
  return {
    message: `generic file ${deed === "modified" ? "Modified" : deed}`,
    fields: { generic: { current, next }, file: path },
  };
}

/** `genericDiff`: lines that came and went, without empty ones and comments. */
function contents(detail: Detail, path: string): Told | undefined {
  const lines = (detail.diff ?? "").split("\n").slice(2);
  const withSign = (sign: string): string[] =>
    lines.flatMap((line) => line.startsWith(sign) ? line.slice(1) : [])
      .filter((line) => line !== "" && !line.startsWith("#"));
  const [add, del] = [withSign("+"), withSign("-")];
  const deed = deedOf(detail);
  if (deed === "modified" && add.length === 0 && del.length === 0) return undefined;
  return {
    message: `Critical Generic file ${deed}`,
    fields: { add: { Content: add }, del: { Content: del }, file: path },
  };
}

function deedOf({ sha256_before: before, sha256_after: after, diff = "" }: Detail): string {
  if (diff.startsWith("--- /dev/null\n")) return "created";
  if (diff.includes("\n+++ /dev/null\n@@")) return "deleted";
  if (before === undefined && after !== undefined) return "created";
  return before !== undefined && after === undefined ? "deleted" : "modified";
}
