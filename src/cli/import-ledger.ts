/**
 * How far files were imported: one small file each, and one of what its groups were, so that what was imported once is not imported again, and what was
 * interrupted goes on where it was.
 *
 * Invariant: a state is told by the mark of the events it covers before it is written here, and taken from there when a
 * process ended between.
 */
import { existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { closeSync } from "node:fs";
import { join } from "node:path";
import { type GroupDigests, openGroupDigests } from "./import-digests.ts";
import { makeFolders } from "../runtime/folders.ts";
import type { RingPosition, RingPositions } from "../producer/producer.ts";

/** What of a file is in the record: all before this event of this group. */
export interface ImportState {
  readonly id: string;
  /** Where the group begins, in bytes. */
  readonly offset: number;
  /** SHA-256 of all before it, hex. */
  readonly digest: string;
  readonly group: number;
  /** Events of the group that are in the record already. */
  readonly index: number;
}

export interface ImportLedger {
  get(id: string): ImportState | undefined;
  put(state: ImportState): void;
  /** What the groups were that are in the record. */
  digests(id: string): GroupDigests;
}

/** Name of the producer's mark: there is one at a time. */
export const IMPORT_MARK = "import";

/** Reads what is in the folder, and what a producer's marks say of an import that was interrupted. */
export function openImportLedger(folder: string, marks: RingPositions): ImportLedger {
  makeFolders(folder, 0o700);
  const pathOf = (id: string): string => join(folder, `${id}.json`);
  const get = (id: string): ImportState | undefined =>
    existsSync(pathOf(id)) ? parseState(id, readFileSync(pathOf(id), "utf8")) : undefined;
  const put = (state: ImportState): void => writeWhole(pathOf(state.id), JSON.stringify(state));
  const interrupted = stateOfMark(marks[IMPORT_MARK]);
  if (interrupted !== undefined && isFurther(interrupted, get(interrupted.id))) put(interrupted);
  const digests = (id: string): GroupDigests =>
    openGroupDigests(join(folder, `${id}.groups`), get(id)?.group ?? 0);
  return { get, put, digests };
}

/** A state as a mark, which becomes durable together with the events. */
export function markOf({ id, offset, digest, group, index }: ImportState): RingPosition {
  return { ring: [id, digest, group, index].join(":"), position: offset };
}

function stateOfMark(mark: RingPosition | undefined): ImportState | undefined {
  if (mark === undefined) return undefined;
  const [id = "", digest = "", group, index] = mark.ring.split(":");
  const state = { offset: mark.position, digest, group: Number(group), index: Number(index) };
  return parseState(id, JSON.stringify(state));
}

function isFurther(state: ImportState, than: ImportState | undefined): boolean {
  if (than === undefined || state.group !== than.group) return state.group > (than?.group ?? -1);
  return state.index > than.index;
}

/** Throws when it is no state: then nobody knows what was imported. */
function parseState(id: string, text: string): ImportState {
  const value: unknown = JSON.parse(text);
  const { offset, digest, group, index }: Partial<Record<keyof ImportState, unknown>> =
    typeof value === "object" && value !== null ? value : {};
  const isWhole = [offset, group, index].every((each) =>
    Number.isSafeInteger(each) && Number(each) >= 0
  );
  if (!isWhole || typeof digest !== "string" || !/^[0-9a-f]{64}$/.test(digest)) {
    throw new Error(`Cannot read how far file "${id}" was imported: its state is damaged`);
  }
  return { id, offset: Number(offset), digest, group: Number(group), index: Number(index) };
}

function writeWhole(path: string, text: string): void {
  const file = openSync(`${path}.new`, "w", 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
}
