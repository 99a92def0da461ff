/**
 * Plans of a file's history: the moves that names are connected by, which names the file had when, and its events.
 *
 * Invariants: every row read is narrowed by the principal's scopes; names of two hosts never mix; a name counts only
 * while it was the file's, so that whoever had it before or took it later is no part of the history.
 */
import { type EventsRequest, type Plan, planWhole } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { Binder } from "./binder.ts";
import { JSON_LINE } from "./rows.ts";

/** Moves that are looked at, and names that a history follows. */
export const MOVES_MAX = 10_000;
export const NAMES_MAX = 64;

export interface HistoryRequest extends EventsRequest {
  readonly path: string;
}

/** A name given to a file that had another: a rename takes the old one away, a link does not. */
export interface Move {
  readonly host: string;
  readonly isLink: boolean;
  readonly from: string;
  readonly to: string;
  readonly timeUs: number;
}

/** A name of the file on a host, from one moment to another, both inclusive. */
export interface FileName {
  readonly host: string;
  readonly path: string;
  readonly fromUs: number;
  readonly toUs: number;
}

/** Rows with `host`, `is_link`, `old_path`, `path` and `moved_us`: moves connected with the path, the oldest first. */
export function planMoves(request: HistoryRequest, principal: Principal, view: ReadView): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const path = binder.text(request.path);
    const moves = [
      `topic IN ('file/rename', 'file/link', 'file/change')`,
      "old_path IS NOT NULL AND path IS NOT NULL AND old_path <> path AND host IS NOT NULL",
      `outcome IS DISTINCT FROM ${binder.text("failure")}`,
    ];
    return `WITH RECURSIVE
moves AS MATERIALIZED (SELECT host, topic = 'file/link' AS is_link, old_path, path,
  epoch_us("time") AS moved_us FROM (\n${source(moves)}\n)),
pairs AS MATERIALIZED (SELECT host, old_path AS one, path AS other FROM moves
  UNION SELECT host, path, old_path FROM moves),
names(host, name) AS (SELECT host, one FROM pairs WHERE one = ${path}
  UNION SELECT pairs.host, other FROM names JOIN pairs ON pairs.host = names.host AND one = name)
SELECT DISTINCT moves.* FROM moves JOIN names ON moves.host = names.host AND moves.path = name
ORDER BY moved_us, moves.host, old_path, path LIMIT ${binder.integer(MOVES_MAX + 1)}`;
  });
}

/** Other names of the file at a path: those before it had this one, and those after. At most {@link NAMES_MAX}. */
export function namesOf(
  path: string,
  moves: readonly Move[],
): { readonly names: readonly FileName[]; readonly isCut: boolean } {
  const names = new Map<string, FileName>();
  const open: { readonly name: FileName; readonly isBefore: boolean }[] = [];
  const before = ({ host, from, timeUs }: Move): void => {
    const left = moves.findLast((each) =>
      !each.isLink && each.host === host && each.from === from && each.timeUs < timeUs
    );
    open.push({
      name: { host, path: from, fromUs: left === undefined ? 0 : left.timeUs + 1, toUs: timeUs },
      isBefore: true,
    });
  };
  const after = ({ host, to, timeUs }: Move): void => {
    const end = moves.find((each) =>
      each.host === host && each.timeUs > timeUs &&
      (each.to === to || (each.from === to && !each.isLink))
    );
    const toUs = end?.timeUs ?? Number.MAX_SAFE_INTEGER;
    open.push({ name: { host, path: to, fromUs: timeUs, toUs }, isBefore: false });
  };
  for (const move of moves) {
    if (move.to === path) before(move);
    if (move.from === path) after(move);
  }
  for (let next = open.shift(); next !== undefined; next = open.shift()) {
    const { name, isBefore } = next;
    const key = JSON.stringify(name);
    if (names.has(key) || name.path === path) continue;
    if (names.size === NAMES_MAX) return { names: [...names.values()], isCut: true };
    names.set(key, name);
    for (const move of moves) {
      const isWithin = move.host === name.host && move.timeUs >= name.fromUs &&
        move.timeUs <= name.toUs;
      if (!isWithin) continue;
      if (isBefore && move.to === name.path) before(move);
      if (!isBefore && move.from === name.path) after(move);
    }
  }
  return { names: [...names.values()], isCut: false };
}

/** Rows with `line`, the event as JSON, in order; one more than `limit` when there are more. */
export function planHistory(
  request: HistoryRequest & { readonly names: readonly FileName[]; readonly limit: number },
  principal: Principal,
  view: ReadView,
): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const { path, names, order, limit } = request;
    const itself = named(path, binder);
    const others = names.map(({ host, path: name, fromUs, toUs }) =>
      `(host = ${binder.text(host)} AND ${named(name, binder)} AND "time" >= ${
        binder.time(fromUs)
      } AND "time" <= ${binder.time(Math.min(toUs, request.toUs))})`
    );
    const place = ["time", "incarnation", "seq", "idx"].map((name) => `"${name}" ${order}`);
    const sorted = `ORDER BY ${place.join(", ")}`;
    return `SELECT ${JSON_LINE} AS line FROM (SELECT * FROM (\n${
      source([
        `starts_with(topic, ${binder.text("file/")})`,
        `(${[itself, ...others].join(" OR ")})`,
      ])
    }\n) ${sorted} LIMIT ${binder.integer(limit + 1)}) ${sorted}`;
  });
}

function named(path: string, binder: Binder): string {
  const name = binder.text(path);
  return `(path = ${name} OR old_path = ${name})`;
}
