/**
 * The columns of a line that say who did it, as JSON text, whatever the facts come from: a record's header or /proc.
 *
 * Invariant: the one place that knows names and order of these columns.
 */
import type { CgroupNames } from "./cgroup-names.ts";
import { UNSET } from "./decode-record.ts";
import { jsonInner } from "./decode-text.ts";
import type { ProcessEntry, ProcessImage } from "./process-table.ts";
import type { UserNames } from "./user-names.ts";

/** What is known of a process at a moment. */
export interface ProcessFacts {
  readonly entry: ProcessEntry;
  readonly image: ProcessImage;
  readonly uid: number;
  readonly euid: number;
  readonly gid: number;
  /** 4294967295 when unset, as `session`. */
  readonly auid: number;
  readonly session: number;
  /** 0: none. */
  readonly ppid: number;
  readonly parentId: string | undefined;
  /** The inside of a JSON string. */
  readonly comm: string;
  readonly cgroup: CgroupNames;
}

/** JSON members, each followed by a comma: `"user":"root",…,"comm":"ls",`. */
export function actorColumns(facts: ProcessFacts, userNames: UserNames): string {
  const { entry, image, uid, auid, session, ppid, parentId, cgroup } = facts;
  const columns = textMember("user", userNames.nameOf(uid)) +
    `"uid":${uid},"euid":${facts.euid},"gid":${facts.gid},` +
    (auid === UNSET ? "" : `"auid":${auid},${textMember("auid_user", userNames.nameOf(auid))}`) +
    `"pid":${entry.pid},"ppid":${ppid},"process_id":"${entry.id}",` +
    (parentId === undefined ? "" : `"parent_process_id":"${parentId}",`) +
    (image.exe === undefined ? "" : `"exe":"${image.exe}",`) + `"comm":"${facts.comm}",` +
    (session === UNSET ? "" : `"session":"${session}",`) +
    textMember("container", cgroup.container) + textMember("unit", cgroup.unit);
  return flat(columns);
}

/** A line's fields with these columns: they go after the time, which comes first in every line. */
export function withColumns(fields: string, columns: string): string {
  const place = fields.indexOf(",") + 1;
  return fields.slice(0, place) + columns + fields.slice(place);
}

/** The same text in one piece: it is used in many lines, and each would walk through its parts. */
function flat(text: string): string {
  // Engines join the parts of a text when one of its characters is asked for.
  text.charCodeAt(text.length - 1);
  return text;
}

/** The executable, or what else names the process: a subject for a sentence, as the inside of a JSON string. */
export function actorName({ entry, image, comm }: ProcessFacts): string {
  return image.exe ?? `${comm} (process ${entry.pid})`;
}

function textMember(name: string, value: string | undefined): string {
  return value === undefined ? "" : `"${name}":"${jsonInner(value)}",`;
}
