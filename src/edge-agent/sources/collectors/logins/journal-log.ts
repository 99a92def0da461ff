/**
 * Following systemd's journal, where syslog writes no log of authentication: what was written since the last look.
 *
 * Invariants: what stood there before the first look is not told; a place that is not found again (vacuumed, made anew)
 * is told as a gap, and it is read on from the first entry that is there; beside a log of text the journal is not read, and
 * its place is forgotten, so that nothing is told of both.
 */
import { access, constants, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { CollectorContext, Memory } from "../collector.ts";
import type { LogEntries } from "./followed-log.ts";
import { askJournal, type Journalctl, JournalError } from "./journalctl.ts";
import { JOURNAL_FIELDS, parseJournalEntry } from "./journal-entry.ts";
import type { LoginRecord } from "./login-record.ts";

export interface JournalLogOptions {
  /** Folders of journald: on the disk, and in memory. */
  readonly folders: readonly string[];
  readonly journalctl: Journalctl;
}

export interface JournalLook {
  readonly memory: Memory;
  readonly context: Pick<CollectorContext, "lost">;
  readonly signal: AbortSignal;
}

export interface JournalLog {
  /** Whether there is one and its files may be read; else why not. */
  state(): Promise<"there" | "absent" | { readonly reason: string }>;
  /** Each is to be remembered before the next is asked for. Throws `JournalError` when journalctl has no answer. */
  readOn(look: JournalLook): AsyncGenerator<LogEntries<LoginRecord>>;
}

/** Where it was left. */
export const JOURNAL_PLACE = "journal";
/** The place before the first entry of a journal that has none. */
const START = "start";
/** LOG_AUTH and LOG_AUTHPRIV. */
const OF_LOGINS = ["SYSLOG_FACILITY=4", "SYSLOG_FACILITY=10"];
const NO_FIELDS = "--output-fields=_PID";

export function createJournalLog({ folders, journalctl }: JournalLogOptions): JournalLog {
  let files: JournalFiles | undefined;
  let [isSettled, hasAnswered] = [false, false];
  return {
    async state() {
      const found = await filesIn(folders);
      if ("reason" in found) return found;
      if (found.names === "") return "absent";
      try {
        if (!hasAnswered) {
          await askJournal(journalctl, ["--lines=1", NO_FIELDS], new AbortController().signal);
        }
        hasAnswered = true;
        return "there";
      } catch (error) {
        if (error instanceof JournalError) return { reason: error.message };
        throw error;
      }
    },
    async *readOn({ memory, context, signal }) {
      const found = await filesIn(folders);
      if ("reason" in found || found.names === "") return;
      const known = memory.get(JOURNAL_PLACE);
      // What is written while it is read may have the same time: so once more after each change.
      const isSame = files?.names === found.names && files.changed === found.changed;
      if (isSame && isSettled && known !== undefined) return;
      const isRotated = files?.names !== found.names;
      const ask = (...words: string[]) => askJournal(journalctl, words, signal);
      const last = isRotated || known === undefined
        ? cursorOf((await ask("--lines=1", NO_FIELDS)).lines) ?? START
        : undefined;
      if (known === undefined) {
        yield { entries: [], isBaseline: true, put: new Map([[JOURNAL_PLACE, last ?? START]]) };
      } else {
        const isThere = !isRotated || known === START ||
          cursorOf((await ask("--lines=1", NO_FIELDS, `--cursor=${known}`)).lines) === known;
        if (!isThere) {
          const reason = "the journal was removed where it had been read to";
          context.lost({ class: "log", count: null, reason });
        }
        yield* readAfter(known, { ask, last, context });
      }
      [files, isSettled] = [found, isSame];
    },
  };
}

/** `last`: an entry that was there before; the place moves there when nothing of logins follows. */
async function* readAfter(
  place: string,
  { ask, last, context }: {
    readonly ask: (...words: string[]) => ReturnType<typeof askJournal>;
    readonly last: string | undefined;
    readonly context: Pick<CollectorContext, "lost">;
  },
): AsyncGenerator<LogEntries<LoginRecord>> {
  const fields = `--output-fields=${JOURNAL_FIELDS.join(",")}`;
  let at = place;
  for (let hasMore = true; hasMore;) {
    // After a cursor whose own entry is not among these, journalctl passes over the one that follows.
    const from = at === START ? [] : [`--cursor=${at}`];
    const answer = await ask(...from, fields, ...OF_LOGINS);
    const parsed = answer.lines.map(parseJournalEntry).filter(({ cursor }) => cursor !== at);
    const unreadable = parsed.filter(({ record }) => record === "unreadable").length;
    if (unreadable > 0) {
      const reason = "entries of the journal cannot be read";
      context.lost({ class: "unreadable", count: unreadable, reason });
    }
    const next = parsed.findLast(({ cursor }) => cursor !== undefined)?.cursor ??
      (at === place ? last : undefined) ?? at;
    // Without a place to read on from, the same would come for ever.
    hasMore = answer.hasMore && next !== at;
    const entries = parsed.flatMap(({ record }) => typeof record === "object" ? [record] : []);
    at = next;
    if (at !== place || entries.length > 0) {
      yield { entries, isBaseline: false, put: new Map([[JOURNAL_PLACE, at]]) };
    }
  }
}

interface JournalFiles {
  readonly names: string;
  /** When one of them was changed. */
  readonly changed: string;
}

/** journald sets the time of a file with each entry. */
async function filesIn(
  folders: readonly string[],
): Promise<JournalFiles | { readonly reason: string }> {
  const names: string[] = [];
  let changed = "";
  for (const folder of folders) {
    let path = folder;
    try {
      for (const machine of await readdir(folder, { withFileTypes: true })) {
        if (!machine.isDirectory() || !/^[0-9a-f]{32}$/.test(machine.name)) continue;
        path = join(folder, machine.name);
        for (const name of (await readdir(path)).toSorted()) {
          if (!name.endsWith(".journal")) continue;
          path = join(folder, machine.name, name);
          if (name === "system.journal") await access(path, constants.R_OK);
          names.push(path);
          const { mtimeNs } = await stat(path, { bigint: true });
          changed += `${mtimeNs} `;
        }
      }
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      // A file is renamed when it is full.
      if (error.code !== "ENOENT") return { reason: `Cannot read "${path}": ${error.code}` };
    }
  }
  return { names: names.join(" "), changed };
}

function cursorOf(lines: readonly string[]): string | undefined {
  const [line] = lines;
  return line === undefined ? undefined : parseJournalEntry(line).cursor;
}
