/**
 * Who did it: the columns of a line that come from a record's header and the process table, as prepared JSON text.
 *
 * Invariant: the text of a process is made anew only when something in it changed: image, credentials, parent, comm,
 * cgroup or the user names.
 */
import { actorColumns, actorName, type ProcessFacts } from "./actor-columns.ts";
import type { CgroupNames } from "./cgroup-names.ts";
import { timeNsOf, u16, u32, u64 } from "./decode-record.ts";
import { endOfText, jsonInner, type RecordText } from "./decode-text.ts";
import { ticksOf } from "./process-identity.ts";
import type { ActorText, ProcessEntry, ProcessImage, ProcessTable } from "./process-table.ts";
import { COMM_BYTES, HEADER } from "./record-layout.ts";
import type { RecordMemory } from "./ring-buffer.ts";
import type { UserNames } from "./user-names.ts";

export interface ActorsOptions {
  readonly processes: ProcessTable;
  readonly userNames: UserNames;
  readonly cgroupNames: (cgroupId: number, pid: number) => CgroupNames;
  readonly text: RecordText;
}

export interface Actors {
  /**
   * Texts of the process that a record's header names: `columns` is `"user":"root",…,"comm":"ls",` (JSON members, each
   * followed by a comma), `name` and `userName` are subjects for sentences (insides of JSON strings), `escaped` names
   * the columns that had bytes which are not UTF-8.
   */
  of(memory: RecordMemory, offset: number): ActorText;
}

/** Words of the header that the texts depend on: everything from ppid to the end. */
const WORDS_FROM = HEADER.ppid >> 2;
const WORDS = ((HEADER.comm + COMM_BYTES) >> 2) - WORDS_FROM;

interface Subject {
  readonly memory: RecordMemory;
  readonly offset: number;
  readonly entry: ProcessEntry;
  readonly image: ProcessImage;
}

export function createActors(options: ActorsOptions): Actors {
  const { processes, userNames } = options;
  return {
    of: (memory, offset) => {
      const { words } = memory;
      const start = offset + HEADER.start_ns;
      const pid = u32(words, offset + HEADER.pid);
      const entry = processes.find(pid, u32(words, start), u32(words, start + 4));
      const image = imageOf(processes, entry, { memory, offset });
      const known = entry.actor;
      if (
        known?.image === image && known.namesVersion === userNames.version &&
        isSame(known.words, words, (offset >> 2) + WORDS_FROM)
      ) return known;
      // The end is learned before the lines of what led to it are made.
      const { ending } = entry;
      const isAsAtEnd = ending?.image === image && ending.namesVersion === userNames.version &&
        isSame(ending.words, words, (offset >> 2) + WORDS_FROM);
      entry.actor = isAsAtEnd ? ending : makeActor(options, { memory, offset, entry, image });
      return entry.actor;
    },
  };
}

/** The image that ran when a record was written, by the record's own word. */
export function imageOf(
  processes: ProcessTable,
  entry: ProcessEntry,
  { memory: { words, bytes }, offset }: Pick<Subject, "memory" | "offset">,
): ProcessImage {
  const timeNs = timeNsOf(words, offset);
  const execId = u16(words, offset + HEADER.exec_id);
  const told = entry.imageAt(timeNs);
  if (execId === 0 || told.execId === execId) return told;
  const from = offset + HEADER.comm;
  const comm = bytes.toString("utf8", from, endOfText(bytes, from, from + COMM_BYTES));
  return processes.imageOf(entry, { timeNs, execId, comm });
}

function isSame(known: readonly number[], words: Uint32Array, from: number): boolean {
  for (let place = 0; place < WORDS; place += 1) {
    if (known[place] !== ((words[from + place] ?? 0) | 0)) return false;
  }
  return true;
}

function makeActor(options: ActorsOptions, { memory, offset, entry, image }: Subject): ActorText {
  const { processes, userNames, cgroupNames, text } = options;
  const { words, bytes } = memory;
  const number = (field: number): number => u32(words, offset + field);
  const uid = number(HEADER.uid);
  const ppid = number(HEADER.ppid);
  const parentTicks = ticksOf(number(HEADER.parent_start_ns), number(HEADER.parent_start_ns + 4));
  const commFrom = offset + HEADER.comm;
  text.isEscaped = false;
  const comm = text.json(bytes, commFrom, endOfText(bytes, commFrom, commFrom + COMM_BYTES));
  const facts: ProcessFacts = {
    entry,
    image,
    uid,
    euid: number(HEADER.euid),
    gid: number(HEADER.gid),
    auid: number(HEADER.auid),
    session: number(HEADER.session),
    ppid,
    parentId: ppid === 0 ? undefined : processes.idOf(ppid, parentTicks),
    comm,
    cgroup: cgroupNames(u64(words, offset + HEADER.cgroup_id), entry.pid),
  };
  const user = userNames.nameOf(uid);
  return {
    columns: actorColumns(facts, userNames),
    name: actorName(facts),
    userName: user === undefined ? `uid ${uid}` : jsonInner(user),
    escaped: [...(image.isEscaped ? ["exe"] : []), ...(text.isEscaped ? ["comm"] : [])],
    ppid,
    words: signedWords(words, (offset >> 2) + WORDS_FROM),
    image,
    namesVersion: userNames.version,
  };
}

/** As signed numbers, which the engine keeps without boxes. */
function signedWords(words: Uint32Array, from: number): readonly number[] {
  const copy: number[] = [];
  for (let place = 0; place < WORDS; place += 1) copy.push((words[from + place] ?? 0) | 0);
  return copy;
}
