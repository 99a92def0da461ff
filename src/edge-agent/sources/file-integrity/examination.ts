/**
 * From a look at a path to what is written of it: compares what is there with what was known, and decides what that is
 * called. The state of the file and the lines that tell its change come out together, to be written together.
 *
 * Invariants: a name is compared with what was known under that name; only a name that was not known takes what was
 * known of the inode that was moved to it, and of kinds with a meaning no more than its digests. Nothing is told twice: what comes out makes the next look find no change.
 */
import type { Clock } from "../../../runtime/clock.ts";
import { compressFrame, decompressFrame } from "../../../runtime/zstd.ts";
import { type FileTransition, linesOf } from "./change-lines.ts";
import type { FileContent, FileFacts, FileLooker, Look } from "./file-look.ts";
import type { FileRecord } from "./file-record.ts";
import type { FileState, Line, StateChange } from "./file-state.ts";
import type { ChangeDescription, FileKind, KeptContent } from "./kinds/file-kind.ts";
import type { AccountFile, AccountFiles } from "./kinds/login-state.ts";
import type { FileDigests } from "./packages/manifest-entry.ts";
import { managerOf } from "./package-folding.ts";
import type { How, PendingLook } from "./pending-looks.ts";

/** Kept contents together, compressed: beyond it changes are told by digest. */
export const CONTENTS_BYTES_MAX = 512 * 1024 * 1024;
/** What a kept frame may decompress to. */
const KEPT_BYTES_MAX = 8 * 1024 * 1024;
/** Account files that one change is seen together with: passwd, shadow and keys of every home. */
const ACCOUNT_FILES_MAX = 1000;
/** Kinds whose files mean what they mean by their names: a move gives to one name, and takes from another. */
const MEANT: ReadonlySet<FileKind> = new Set(["accounts", "access", "sudoers", "units", "cron"]);
/** A file that cannot be read is looked at again this often before it is told without content. */
const ATTEMPTS_MAX = 3;

/** What is kept of contents and how their changes read: the kinds of files. */
export interface ContentKinds {
  reduce(bytes: Uint8Array, of: { readonly kind: FileKind; readonly path: string }): KeptContent;
  describe(change: {
    readonly kind: FileKind;
    readonly path: string;
    readonly before: KeptContent | undefined;
    readonly after: KeptContent | undefined;
    /** Of an account file, all of them; undefined of other kinds. */
    readonly accounts: AccountFiles | undefined;
  }): ChangeDescription;
}

export interface ExaminerOptions {
  readonly state: FileState;
  readonly looker: FileLooker;
  readonly kinds: ContentKinds;
  /** Kind by which a path is watched; undefined when it is not. */
  readonly kindOf: (path: string) => FileKind | undefined;
  /** Whether it is the file by which the agent proves that it sees. */
  readonly isCanary: (path: string) => boolean;
  readonly clock: Clock;
  /** Told how many bytes were read. */
  readonly onBytes: (count: number) => void;
}

/** A change, and what the content is now by digests; no digests when the file is gone. */
export type Examined = StateChange & {
  readonly digests?: FileDigests;
  /** A name that is gone and is to be looked at, too: what it had was moved to the one that was looked at. */
  readonly missed?: string;
};

export interface Examiner {
  /** What is to be written; `retry` when the file cannot be read now; undefined when nothing changed. */
  examine(look: PendingLook): Promise<Examined | "retry" | undefined>;
  /** A file that is watched from now on: what it is, without a word about it. */
  adopt(path: string): Promise<StateChange | undefined>;
}

export function createExaminer(options: ExaminerOptions): Examiner {
  const { state, looker, kinds, kindOf, isCanary, clock, onBytes } = options;
  const toldOf = (change: Omit<FileTransition, "isCanary">): readonly Line[] =>
    linesOf({ ...change, isCanary: isCanary(change.path) });

  const keep = async (
    found: { readonly path: string; readonly kind: FileKind; readonly facts: FileFacts },
    content: FileContent,
  ): Promise<Pick<FileRecord, "content" | "contentMissing">> => {
    const { path, kind, facts } = found;
    if (content.bytes === undefined) {
      const missing = facts.type === "regular" ? "too large" : `it is a ${facts.type}`;
      return { content: undefined, contentMissing: missing };
    }
    const kept = kinds.reduce(content.bytes, { kind, path });
    if (kept.text === undefined) return { content: undefined, contentMissing: kept.missing };
    if (kept.text.byteLength > KEPT_BYTES_MAX) {
      const missing = `larger than ${KEPT_BYTES_MAX} bytes as it is kept`;
      return { content: undefined, contentMissing: missing };
    }
    if (state.contentBytes + kept.text.byteLength > CONTENTS_BYTES_MAX) {
      return { content: undefined, contentMissing: "quota of kept contents" };
    }
    return { content: await compressFrame(kept.text), contentMissing: undefined };
  };
  const recordOf = async (
    found: { readonly path: string; readonly kind: FileKind; readonly isHot: boolean },
    { facts, content }: Extract<Look, { state: "found" }>,
  ): Promise<FileRecord> => ({
    ...facts,
    path: found.path,
    kind: found.kind,
    sha256: content.sha256,
    ...await keep({ ...found, facts }, content),
    lookedAtUs: clock.nowUs(),
    isHot: found.isHot,
  });
  /** What was known by another name of an inode that was moved here. */
  const movedFrom = (look: PendingLook, facts: FileFacts): FileRecord | undefined => {
    const byName = look.oldPath === undefined ? undefined : state.byPath(look.oldPath);
    if (byName !== undefined && byName.handle === facts.handle) return byName;
    return state.byHandle(facts.handle).find(({ path }) => looker.facts(path) === "missing");
  };
  const describe = async (
    kind: FileKind,
    { path, before, after }: {
      readonly path: string;
      readonly before: FileRecord | undefined;
      readonly after: FileRecord | undefined;
    },
  ): Promise<ChangeDescription> => {
    const change = { kind, path, before: await keptOf(before), after: await keptOf(after) };
    const accounts = kind === "accounts" ? await accountFiles(change) : undefined;
    return kinds.describe({ ...change, accounts });
  };
  /** What is known of all account files, with this one as it was and as it is. */
  const accountFiles = async ({ path, before, after }: {
    readonly path: string;
    readonly before: KeptContent | undefined;
    readonly after: KeptContent | undefined;
  }): Promise<AccountFiles> => {
    const others: AccountFile[] = [];
    for (const record of state.accounts(ACCOUNT_FILES_MAX)) {
      const content = record.path === path ? undefined : await keptOf(record);
      if (content !== undefined) others.push({ path: record.path, content });
    }
    const own = (content: KeptContent | undefined): AccountFile[] =>
      content === undefined ? [] : [{ path, content }];
    return { before: [...others, ...own(before)], after: [...others, ...own(after)] };
  };

  /** The name is gone, or a directory has it. */
  const gone = async (
    look: PendingLook,
    { before, isDirectory }: { readonly before: FileRecord; readonly isDirectory: boolean },
  ): Promise<StateChange> => {
    const { path } = look;
    const how: How = look.newPath === undefined ? "delete" : "rename";
    const isDescribed = MEANT.has(before.kind) || (!isDirectory && how === "delete");
    const lines = toldOf({
      ...look,
      kind: before.kind,
      topic: "file/change",
      how,
      before,
      after: undefined,
      ...(isDirectory ? { typeNow: "directory" } : {}),
      oldPath: undefined,
      description: isDescribed
        ? await describe(before.kind, { path, before, after: undefined })
        : undefined,
      diffMissing: isDescribed
        ? undefined
        : isDirectory
        ? "a directory has its name"
        : "it was moved",
      nowUs: clock.nowUs(),
    });
    return { put: [], remove: [path], lines };
  };

  const compare = async (
    look: PendingLook,
    known: FileRecord | undefined,
    after: FileRecord,
  ): Promise<Examined | undefined> => {
    const { path } = look;
    const moved = known === undefined ? movedFrom(look, after) : undefined;
    const before = known ?? moved;
    const isNew = known === undefined;
    const left = moved !== undefined && looker.facts(moved.path) === "missing" ? moved : undefined;
    // What has a meaning is missed under its old name, too, in a look of its own.
    const missed = left !== undefined && MEANT.has(left.kind) ? left.path : undefined;
    const remove = left !== undefined && missed === undefined ? [left.path] : [];
    const isSameContent = before !== undefined && before.type === after.type &&
      before.sha256 === after.sha256 &&
      (after.sha256 !== undefined || after.type !== "regular" ||
        (before.sizeBytes === after.sizeBytes && before.times === after.times));
    const isReplaced = before !== undefined && before.handle !== after.handle;
    if (!isNew && isSameContent && !isReplaced) {
      const isTold = isAttributeChange(look, before, after);
      const lines = isTold
        ? toldOf({
          ...look,
          kind: after.kind,
          topic: "file/attribute",
          how: look.hows.includes("link") ? "link" : "attribute",
          before,
          after,
          description: undefined,
          diffMissing: undefined,
          nowUs: clock.nowUs(),
        })
        : [];
      return isTold || !isEqualRecord(before, after)
        ? { put: [after], remove: [], lines }
        : undefined;
    }
    const isMeant = moved !== undefined && MEANT.has(after.kind);
    const isDescribed = isMeant || !isSameContent;
    const lines = toldOf({
      ...look,
      kind: after.kind,
      topic: "file/change",
      how: howOf(look, { isNew, isMoved: moved !== undefined, isReplaced }),
      before,
      after,
      oldPath: moved?.path ?? look.oldPath,
      description: isDescribed
        ? await describe(after.kind, { path, before: isMeant ? undefined : before, after })
        : undefined,
      diffMissing: isDescribed ? undefined : "the content is the same",
      nowUs: clock.nowUs(),
    });
    return { put: [after], remove, lines, ...(missed === undefined ? {} : { missed }) };
  };

  return {
    async examine(look) {
      const { path } = look;
      const known = state.byPath(path);
      const kind = kindOf(path) ?? known?.kind;
      if (kind === undefined) return undefined;
      const isManaged = managerOf(look) !== undefined;
      const seen = await looker.look(
        path,
        isManaged ? { onBytes, further: ["md5", "sha1"] } : {
          onBytes,
        },
      );
      if (seen.state === "missing") {
        return known === undefined ? undefined : gone(look, { before: known, isDirectory: false });
      }
      if (seen.state === "unreadable") {
        if (look.attempt < ATTEMPTS_MAX) return "retry";
        return unread(look, { known, kind, reason: seen.reason });
      }
      if (seen.facts.type === "directory") {
        return known === undefined ? undefined : gone(look, { before: known, isDirectory: true });
      }
      const after = await recordOf({ path, kind, isHot: look.isOpen }, seen);
      const change = await compare(look, known, after);
      return change === undefined ? undefined : { ...change, digests: digestsOf(seen.content) };
    },
    async adopt(path) {
      const kind = kindOf(path);
      if (kind === undefined) return undefined;
      const seen = await looker.look(path, { onBytes });
      if (seen.state !== "found" || seen.facts.type === "directory") return undefined;
      const record = await recordOf({ path, kind, isHot: false }, seen);
      return { put: [record], remove: [], lines: [] };
    },
  };

  /** It is there, and that is all that can be said: told once, as long as its attributes stay. */
  function unread(
    look: PendingLook,
    { known, kind, reason }: {
      readonly known: FileRecord | undefined;
      readonly kind: FileKind;
      readonly reason: string;
    },
  ): StateChange | undefined {
    const facts = looker.facts(look.path);
    if (facts === "missing" || "reason" in facts) return undefined;
    if (known?.times === facts.times && known.handle === facts.handle) return undefined;
    const after: FileRecord = {
      ...facts,
      path: look.path,
      kind,
      sha256: undefined,
      content: undefined,
      contentMissing: `unreadable: ${reason}`,
      lookedAtUs: clock.nowUs(),
      isHot: true,
    };
    const lines = toldOf({
      ...look,
      kind,
      topic: "file/change",
      how: howOf(look, { isNew: known === undefined, isMoved: false, isReplaced: false }),
      before: known,
      after,
      description: undefined,
      diffMissing: after.contentMissing,
      nowUs: clock.nowUs(),
    });
    return { put: [after], remove: [], lines };
  }
}

function digestsOf({ sha256, md5, sha1 }: FileContent): FileDigests {
  return {
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(md5 === undefined ? {} : { md5 }),
    ...(sha1 === undefined ? {} : { sha1 }),
  };
}

/** As describing wants it: what is kept, why nothing is, or that there is no file. */
async function keptOf(record: FileRecord | undefined): Promise<KeptContent | undefined> {
  if (record === undefined) return undefined;
  if (record.content === undefined) return { missing: record.contentMissing ?? "not kept" };
  try {
    return { text: await decompressFrame(record.content, KEPT_BYTES_MAX) };
  } catch (error) {
    // A damaged row must not end the source: every account file is read with each change of one.
    if (!(error instanceof RangeError)) throw error;
    return { missing: "what was kept cannot be read" };
  }
}

function howOf(
  { hows, oldPath }: PendingLook,
  { isNew, isMoved, isReplaced }: {
    readonly isNew: boolean;
    readonly isMoved: boolean;
    readonly isReplaced: boolean;
  },
): How {
  if (hows.includes("exchange")) return "exchange";
  if (isMoved || oldPath !== undefined) return "rename";
  if (isNew && hows.includes("rename")) return "rename";
  if (isNew || isReplaced) return hows.includes("link") ? "link" : "create";
  return hows.find((how) => how !== "attribute" && how !== "link") ?? "write";
}

function isAttributeChange(look: PendingLook, before: FileRecord, after: FileRecord): boolean {
  const isTouched = look.hows.includes("attribute") || look.hows.includes("link") ||
    look.origin.kind !== "live";
  return before.mode !== after.mode || before.uid !== after.uid || before.gid !== after.gid ||
    before.links !== after.links ||
    (isTouched && look.hows.includes("attribute") && before.times !== after.times);
}

function isEqualRecord(before: FileRecord, after: FileRecord): boolean {
  return before.times === after.times && before.kind === after.kind &&
    before.isHot === after.isHot && before.contentMissing === after.contentMissing;
}
