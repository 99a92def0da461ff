/**
 * The lines that tell one change of a watched file: `file/change` or `file/attribute`, and the `account/*` events that
 * follow from it. Pure: what was found out comes in.
 *
 * Invariant: nothing is guessed. Without a writer there are no columns of one; what changed while nobody looked says
 * so; a diff that cannot be given says why.
 */
import { type AuditEvent, formatTime, lineFields, type Severity } from "../../../event/event.ts";
import { withColumns } from "../../actor-columns.ts";
import { textOfBinary } from "../../byte-text.ts";
import type { FileType } from "./file-look.ts";
import type { FileRecord } from "./file-record.ts";
import type { Line } from "./file-state.ts";
import type { AccountEvent, ChangeDescription, FileKind } from "./kinds/file-kind.ts";
import type { How, Origin, Writer } from "./pending-looks.ts";

export interface FileTransition {
  /** Binary, as the other paths. */
  readonly path: string;
  readonly kind: FileKind;
  readonly topic: "file/change" | "file/attribute";
  readonly how: How;
  /** Undefined when there was nothing. */
  readonly before: FileRecord | undefined;
  /** Undefined when there is nothing (any more). */
  readonly after: FileRecord | undefined;
  /** What has the name, when it is nothing that is watched. */
  readonly typeNow?: FileType;
  readonly oldPath: string | undefined;
  readonly newPath: string | undefined;
  readonly origin: Origin;
  readonly isCanary: boolean;
  readonly writers: readonly Writer[];
  readonly description: ChangeDescription | undefined;
  /** Why there is no diff, when there is no description. */
  readonly diffMissing: string | undefined;
  /** When it is told, µs since the Unix epoch: the time of the change where no writer's is known. */
  readonly nowUs: number;
}

/** Kinds of which a change of rights alone is one of what they guard. */
const GUARDED: ReadonlySet<FileKind> = new Set(["accounts", "access", "sudoers", "units"]);

/** The change itself first. */
export function linesOf(change: FileTransition): readonly Line[] {
  const writer = change.writers.at(-1);
  const columns = writer?.actor.columns ?? "";
  const events = [
    changeEvent(change, writer),
    ...(change.description?.accounts ?? []).map((account) => accountEvent(change, account)),
  ];
  return events.map((event) => ({
    fields: withColumns(lineFields(event), columns),
    timeUs: event.timeUs,
  }));
}

function changeEvent(change: FileTransition, writer: Writer | undefined): AuditEvent {
  const { description, oldPath, newPath } = change;
  const path = textOfBinary(change.path);
  const old = oldPath === undefined ? undefined : textOfBinary(oldPath);
  const next = newPath === undefined ? undefined : textOfBinary(newPath);
  const escaped = [
    ...(writer?.actor.escaped ?? []),
    ...(path.isEscaped ? ["path", "message"] : []),
    ...(old?.isEscaped === true ? ["old_path"] : []),
    ...(next?.isEscaped === true ? ["new_path"] : []),
    ...(description?.isDiffEscaped === true ? ["diff"] : []),
  ];
  return {
    timeUs: timeOf(change),
    topic: change.topic,
    severity: severityOf(change),
    outcome: "success",
    path: path.text,
    ...(old === undefined ? {} : { old_path: old.text }),
    message: `${subjectOf(writer)} ${verbOf(change)} ${path.text}`,
    detail: {
      how: change.how,
      ...(change.isCanary ? { canary: true } : {}),
      kind: change.kind,
      ...factsOf(change),
      ...(next === undefined ? {} : { new_path: next.text }),
      ...contentOf(change),
      ...originOf(change),
      ...(change.writers.length > 1 ? { writers: change.writers.map(writerOf) } : {}),
      ...(writer?.ancestors === undefined ? {} : { ancestors: writer.ancestors }),
      ...(escaped.length === 0 ? {} : { escaped }),
    },
  };
}

function accountEvent(change: FileTransition, account: AccountEvent): AuditEvent {
  const path = textOfBinary(change.path);
  const { topic, severity, target, what, before, after, message } = account;
  return {
    timeUs: timeOf(change),
    topic,
    severity,
    outcome: "success",
    path: path.text,
    message,
    detail: {
      source: "file",
      ...(target === null ? {} : { target }),
      what,
      ...(before === null ? {} : { before }),
      ...(after === null ? {} : { after }),
      ...originOf(change),
      ...(path.isEscaped ? { escaped: ["path"] } : {}),
    },
  };
}

function timeOf({ writers, nowUs }: FileTransition): number {
  return Math.max(0, ...writers.map(({ atUs }) => atUs)) || nowUs;
}

function severityOf({ description, kind, topic }: FileTransition): Severity {
  if (topic === "file/attribute") return GUARDED.has(kind) ? "high" : "info";
  return description?.severity ?? (GUARDED.has(kind) ? "high" : "info");
}

function subjectOf(writer: Writer | undefined): string {
  if (writer === undefined) return "Somebody";
  const { name } = writer.actor;
  return name.includes("\\") ? JSON.parse(`"${name}"`) : name;
}

function verbOf({ topic, before, after, how }: FileTransition): string {
  if (topic === "file/attribute") return "changed the attributes of";
  if (after === undefined) return how === "rename" ? "moved away" : "removed";
  if (before === undefined) return "made";
  return "changed";
}

/** Of what is there now, else of what was. */
function factsOf(change: FileTransition): Readonly<Record<string, unknown>> {
  const { before, after, topic } = change;
  const facts = after ?? before;
  if (facts === undefined) return {};
  const isReplaced = before !== undefined && after !== undefined && before.handle !== after.handle;
  return {
    type: change.typeNow ?? facts.type,
    device: facts.device,
    inode: facts.inode,
    ...(facts.generation === undefined ? {} : { generation: facts.generation }),
    mode: modeText(facts.mode),
    owner: `${facts.uid}:${facts.gid}`,
    size: facts.sizeBytes,
    links: facts.links,
    ...(change.typeNow === undefined ? {} : { type_before: facts.type }),
    ...(isReplaced ? { inode_before: before.inode } : {}),
    ...(before === undefined || after === undefined ? {} : changedOf(before, after)),
    ...(topic === "file/attribute" ? { changed: changedNames(change) } : {}),
  };
}

function changedOf(before: FileRecord, after: FileRecord): Readonly<Record<string, unknown>> {
  return {
    ...(before.mode === after.mode ? {} : { mode_before: modeText(before.mode) }),
    ...(before.uid === after.uid && before.gid === after.gid
      ? {}
      : { owner_before: `${before.uid}:${before.gid}` }),
    ...(before.type === after.type ? {} : { type_before: before.type }),
    ...(before.links === after.links ? {} : { links_before: before.links }),
  };
}

/** Empty when only what is not kept changed: extended attributes, or an attribute set to what it was. */
function changedNames({ before, after }: FileTransition): readonly string[] {
  if (before === undefined || after === undefined) return [];
  return [
    ...(before.mode === after.mode ? [] : ["mode"]),
    ...(before.uid === after.uid && before.gid === after.gid ? [] : ["owner"]),
    ...(before.links === after.links ? [] : ["links"]),
    ...(before.times.split(" ")[0] === after.times.split(" ")[0] ? [] : ["times"]),
  ];
}

function contentOf(change: FileTransition): Readonly<Record<string, unknown>> {
  if (change.topic === "file/attribute") return {};
  const { before, after, description } = change;
  const missing = description?.diffMissing ?? change.diffMissing;
  return {
    ...(before?.sha256 === undefined ? {} : { sha256_before: before.sha256 }),
    ...(after?.sha256 === undefined ? {} : { sha256_after: after.sha256 }),
    ...(description?.diff === undefined ? {} : { diff: description.diff }),
    ...(missing === undefined ? {} : { diff_missing: missing }),
    ...(description === undefined || description.semantic.length === 0
      ? {}
      : { semantic: description.semantic.map(withoutNulls) }),
    ...(description === undefined || description.semanticOmitted === 0
      ? {}
      : { semantic_omitted: description.semanticOmitted }),
    ...(description?.state === undefined ? {} : { state: description.state }),
  };
}

function originOf({ origin, after }: FileTransition): Readonly<Record<string, unknown>> {
  if (origin.kind === "live") return {};
  const changedAt = after === undefined ? {} : { changed_at: formatTime(after.changedAtUs) };
  if (origin.kind === "offline") return { offline: true, ...changedAt };
  const { fromUs, toUs } = origin;
  return { reconciled: { from: formatTime(fromUs), to: formatTime(toUs) }, ...changedAt };
}

function writerOf({ actor, how, pid }: Writer): Readonly<Record<string, unknown>> {
  const columns: unknown = JSON.parse(`{${actor.columns.slice(0, -1)}}`);
  const known = typeof columns === "object" && columns !== null ? columns : {};
  const picked = Object.entries(known).filter(([name]) => WRITER_COLUMNS.has(name));
  return { pid, ...Object.fromEntries(picked), how };
}

const WRITER_COLUMNS: ReadonlySet<string> = new Set(["process_id", "exe", "user", "uid", "auid"]);

function withoutNulls(value: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== null));
}

function modeText(mode: number): string {
  return `0${mode.toString(8)}`;
}
