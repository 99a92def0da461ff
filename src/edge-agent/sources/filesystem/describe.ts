/**
 * From a fanotify report with its paths to the events it stands for. Pure: what had to be looked up comes in.
 *
 * Invariant: nothing is guessed. A name without a directory, a type that can no longer be read and reports that the
 * kernel merged are said in `detail` (`incomplete`, `merged`), never filled in.
 */
import type { AuditEvent, EventFields } from "../../../event/event.ts";
import { textOfBinary } from "../../byte-text.ts";
import { FAN_CREATE, FAN_DELETE, FAN_ONDIR, FAN_RENAME } from "./fanotify-event.ts";
import type { InodeName } from "./file-handle.ts";
import type { Attributes } from "./handle-reader.ts";
import { joinPath } from "./path-cache.ts";

/** A path as far as it is known: binary; without `isComplete` it is the name alone. */
export interface KnownPath {
  readonly path: string;
  readonly isComplete: boolean;
}

/** A report with what was found out about it. */
export interface Observation {
  readonly mask: number;
  readonly readAtUs: number;
  readonly path: KnownPath;
  /** For a rename, where to. */
  readonly newPath: KnownPath | undefined;
  readonly isExchange: boolean;
  /** A create that gave a further name to an inode that was there before. */
  readonly isLink: boolean;
  /** `major:minor` of the filesystem. */
  readonly device: string | undefined;
  readonly inode: InodeName | undefined;
  readonly attributes: Attributes | undefined;
  /** What a symbolic link says. */
  readonly linkText: string | undefined;
}

const S_IFMT = 0o170000;

/** Types of inodes, and how each comes to be (inode(7)). */
const TYPES: Readonly<Record<number, { readonly type: string; readonly how: string }>> = {
  0o010000: { type: "fifo", how: "mknod" },
  0o020000: { type: "character_device", how: "mknod" },
  0o040000: { type: "directory", how: "mkdir" },
  0o060000: { type: "block_device", how: "mknod" },
  0o100000: { type: "regular", how: "create" },
  0o120000: { type: "symlink", how: "symlink" },
  0o140000: { type: "socket", how: "bind" },
};

/** What a known path is from its parts. */
export function knownPathOf(directory: string | undefined, name: string): KnownPath {
  return directory === undefined
    ? { path: name, isComplete: false }
    : { path: joinPath(directory, name), isComplete: true };
}

/** The events of a report, in the order in which they must have happened. */
export function describe(seen: Observation, process: EventFields): readonly AuditEvent[] {
  const { mask } = seen;
  if ((mask & FAN_RENAME) !== 0) return [renameEvent(seen, process)];
  const events: AuditEvent[] = [];
  if ((mask & FAN_CREATE) !== 0) events.push(createEvent(seen, process));
  if ((mask & FAN_DELETE) !== 0) events.push(deleteEvent(seen, process));
  return events;
}

function createEvent(seen: Observation, process: EventFields): AuditEvent {
  const known = typeOf(seen);
  return eventOf(seen, process, {
    topic: seen.isLink ? "file/link" : "file/create",
    how: seen.isLink ? "link" : known?.how ?? "create",
  });
}

function deleteEvent(seen: Observation, process: EventFields): AuditEvent {
  const isDirectory = (seen.mask & FAN_ONDIR) !== 0;
  return eventOf(seen, process, { topic: "file/delete", how: isDirectory ? "rmdir" : "unlink" });
}

function renameEvent(seen: Observation, process: EventFields): AuditEvent {
  return eventOf(seen, process, {
    topic: "file/rename",
    how: seen.isExchange ? "exchange" : "rename",
  });
}

function eventOf(
  seen: Observation,
  process: EventFields,
  { topic, how }: { readonly topic: string; readonly how: string },
): AuditEvent {
  const { attributes, inode, device, mask, newPath } = seen;
  const old = newPath === undefined ? undefined : textOfBinary(seen.path.path);
  const path = textOfBinary((newPath ?? seen.path).path);
  const link = seen.linkText === undefined ? undefined : textOfBinary(seen.linkText);
  const escaped = [
    ...(path.isEscaped ? ["path"] : []),
    ...(old?.isEscaped ? ["old_path"] : []),
    ...(link?.isEscaped ? ["detail.target"] : []),
  ];
  const incomplete = [
    ...((newPath ?? seen.path).isComplete ? [] : ["path"]),
    ...(newPath === undefined || seen.path.isComplete ? [] : ["old_path"]),
  ];
  const type = typeOf(seen)?.type;
  return {
    ...process,
    timeUs: seen.readAtUs,
    topic,
    severity: "info",
    outcome: "success",
    path: path.text,
    ...(old === undefined ? {} : { old_path: old.text }),
    detail: {
      how,
      ...(type === undefined ? {} : { type }),
      ...(device === undefined ? {} : { device }),
      ...inodeFields(inode, attributes),
      ...(attributes === undefined ? {} : {
        mode: attributes.mode,
        size: attributes.sizeBytes,
        links: attributes.links,
      }),
      ...(link === undefined ? {} : { target: link.text }),
      ...(isMerged(mask) ? { merged: true } : {}),
      ...(incomplete.length === 0 ? {} : { incomplete }),
      ...(escaped.length === 0 ? {} : { escaped }),
    },
  };
}

function inodeFields(
  named: InodeName | undefined,
  attributes: Attributes | undefined,
): Readonly<Record<string, number>> {
  if (named !== undefined) return { inode: named.inode, generation: named.generation };
  return attributes === undefined ? {} : { inode: attributes.inode };
}

function typeOf({ attributes, mask }: Observation): { type: string; how: string } | undefined {
  const mode = attributes?.mode ?? ((mask & FAN_ONDIR) !== 0 ? 0o040000 : undefined);
  return mode === undefined ? undefined : TYPES[mode & S_IFMT];
}

/** The kernel puts equal waiting reports together: their order and single times are lost. */
function isMerged(mask: number): boolean {
  return (mask & FAN_CREATE) !== 0 && (mask & FAN_DELETE) !== 0;
}
