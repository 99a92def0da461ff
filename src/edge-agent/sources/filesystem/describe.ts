/**
 * From a fanotify report with its paths to the events it stands for. Pure: what had to be looked up comes in.
 *
 * Invariant: nothing is guessed. A name without a directory, a type that can no longer be read and reports that the
 * kernel merged are said in `detail` (`incomplete`, `merged`), never filled in.
 */
import type { AuditEvent } from "../../../event/event.ts";
import { textOfBinary } from "../../byte-text.ts";
import { FAN_CREATE, FAN_DELETE, FAN_ONDIR, FAN_RENAME } from "./fanotify-event.ts";
import type { InodeName } from "./file-handle.ts";
import type { Attributes } from "./handle-reader.ts";
import { joinPath } from "./directory-tree.ts";

/** Who did it, ready for a line. */
export interface Actor {
  /** JSON members of its columns, each followed by a comma. */
  readonly columns: string;
  /** Its executable, or what else names it: the subject of a sentence, as the inside of a JSON string. */
  readonly name: string;
  /** Columns with bytes that are not text. */
  readonly escaped: readonly string[];
}

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
interface InodeType {
  readonly type: string;
  readonly how: string;
  readonly noun: string;
}

const TYPES: Readonly<Record<number, InodeType>> = {
  0o010000: { type: "fifo", how: "mknod", noun: " fifo" },
  0o020000: { type: "character_device", how: "mknod", noun: " device" },
  0o040000: { type: "directory", how: "mkdir", noun: " directory" },
  0o060000: { type: "block_device", how: "mknod", noun: " device" },
  0o100000: { type: "regular", how: "create", noun: "" },
  0o120000: { type: "symlink", how: "symlink", noun: " symbolic link" },
  0o140000: { type: "socket", how: "bind", noun: " socket" },
};

/** What a known path is from its parts. */
export function knownPathOf(directory: string | undefined, name: string): KnownPath {
  return directory === undefined
    ? { path: name, isComplete: false }
    : { path: joinPath(directory, name), isComplete: true };
}

/**
 * The events of a report, in the order in which they must have happened; the actor's columns are for the caller to put
 * before them. On the filesystem below an overlay, removing a name that a lower layer has is putting a whiteout over it.
 */
export function describe(seen: Observation, actor: Omit<Actor, "columns">): readonly AuditEvent[] {
  const { mask, newPath } = seen;
  if (seen.attributes?.isWhiteout === true && newPath !== undefined) {
    const removed = { ...seen, path: newPath, newPath: undefined, attributes: undefined };
    return [eventOf(removed, actor, { topic: "file/delete", how: "whiteout", verb: "removed" })];
  }
  if (seen.attributes?.isWhiteout === true && isOverlayWork(seen.path)) return [];
  if ((mask & FAN_RENAME) !== 0) return [eventOf(seen, actor, renameOf(seen))];
  return [
    ...((mask & FAN_CREATE) === 0 ? [] : [eventOf(seen, actor, createOf(seen))]),
    ...((mask & FAN_DELETE) === 0 ? [] : [eventOf(seen, actor, deleteOf(seen))]),
  ];
}

/** What kind of event it is, and the words that a sentence puts between actor and path. */
interface Kind {
  readonly topic: string;
  readonly how: string;
  readonly verb: string;
}

function createOf(seen: Observation): Kind {
  if (seen.isLink) return { topic: "file/link", how: "link", verb: "made the link" };
  const { how = "create", noun = "" } = typeOf(seen) ?? {};
  return { topic: "file/create", how, verb: `created${noun}` };
}

function deleteOf({ mask }: Observation): Kind {
  return (mask & FAN_ONDIR) !== 0
    ? { topic: "file/delete", how: "rmdir", verb: "removed directory" }
    : { topic: "file/delete", how: "unlink", verb: "removed" };
}

function renameOf({ isExchange }: Observation): Kind {
  return isExchange
    ? { topic: "file/rename", how: "exchange", verb: "exchanged" }
    : { topic: "file/rename", how: "rename", verb: "renamed" };
}

function eventOf(
  seen: Observation,
  { name, escaped: escapedOfActor }: Omit<Actor, "columns">,
  { topic, how, verb }: Kind,
): AuditEvent {
  const { attributes, inode, device, mask, newPath } = seen;
  const old = newPath === undefined ? undefined : textOfBinary(seen.path.path);
  const path = textOfBinary((newPath ?? seen.path).path);
  const link = seen.linkText === undefined ? undefined : textOfBinary(seen.linkText);
  const subject: string = name.includes("\\") ? JSON.parse(`"${name}"`) : name;
  const isEscaped = path.isEscaped || old?.isEscaped === true;
  const escaped = [
    ...escapedOfActor,
    ...(path.isEscaped ? ["path"] : []),
    ...(old?.isEscaped ? ["old_path"] : []),
    ...(link?.isEscaped ? ["target"] : []),
    ...(isEscaped ? ["message"] : []),
  ];
  const incomplete = [
    ...((newPath ?? seen.path).isComplete ? [] : ["path"]),
    ...(newPath === undefined || seen.path.isComplete ? [] : ["old_path"]),
  ];
  const type = typeOf(seen)?.type;
  return {
    timeUs: seen.readAtUs,
    topic,
    severity: "info",
    outcome: "success",
    path: path.text,
    ...(old === undefined ? {} : { old_path: old.text }),
    message: old === undefined
      ? `${subject} ${verb} ${path.text}`
      : `${subject} ${verb} ${old.text} ${seen.isExchange ? "and" : "to"} ${path.text}`,
    detail: {
      how,
      ...(type === undefined ? {} : { type }),
      ...(device === undefined ? {} : { device }),
      ...inodeFields(inode, attributes),
      ...(attributes === undefined ? {} : {
        mode: modeText(attributes.mode),
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

/** Octal, as stat shows it: `0100644`. */
function modeText(mode: number): string {
  return `0${mode.toString(8)}`;
}

function inodeFields(
  named: InodeName | undefined,
  attributes: Attributes | undefined,
): Readonly<Record<string, number>> {
  if (named !== undefined) return { inode: named.inode, generation: named.generation };
  return attributes === undefined ? {} : { inode: attributes.inode };
}

function typeOf({ attributes, mask }: Observation): InodeType | undefined {
  const mode = attributes?.mode ?? ((mask & FAN_ONDIR) !== 0 ? 0o040000 : undefined);
  return mode === undefined ? undefined : TYPES[mode & S_IFMT];
}

/**
 * A name that an overlay gives what it prepares in its work directory (fs/overlayfs/dir.c): a whiteout there becomes a
 * removal when it is put over a name, which is told.
 */
function isOverlayWork({ path }: KnownPath): boolean {
  return /\/work\/#[0-9a-f]+$/.test(path);
}

/** The kernel puts equal waiting reports together: their order and single times are lost. */
function isMerged(mask: number): boolean {
  return (mask & FAN_CREATE) !== 0 && (mask & FAN_DELETE) !== 0;
}
