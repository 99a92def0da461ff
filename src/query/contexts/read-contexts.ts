/**
 * Reads trees of contexts page by page: the events from a place on, then of what came before and after them only the
 * events of contexts that they name, over as many generations as there are, within a bound.
 *
 * Invariants: each tree stands in exactly one page, that of the event it began with; a page reads no more than its own
 * events and those of its trees, however much lies around them; what could not be read is said.
 */
import type { SqlRow } from "../../storage/duckdb.ts";
import type { RowPlace } from "../cursor.ts";
import { type Executor, withinTime } from "../executor.ts";
import { CONTEXT_EVENTS_MAX, planContextEvents, type Wanted } from "../planner/contexts.ts";
import type { EventsRequest, Plan } from "../planner.ts";
import type { ReadView } from "../read-view.ts";
import type { Call } from "../route.ts";
import { type ContextEvent, type ContextTree, growContexts, LINK_US } from "./tree.ts";

/** Times that the contexts which were found last are looked for, in each direction. */
export const GENERATIONS_MAX = 16;

/** Events that one answer holds in memory, over all generations; of trees that need more something is left out. */
export const ANSWER_EVENTS_MAX = 60_000;

/** Events that a page reads for each tree it may hold, and at least; it holds fewer trees when they are larger. */
const TREE_EVENTS = 32;
const PAGE_EVENTS_MIN = 1_000;

export interface PlacedEvent extends ContextEvent {
  readonly place: RowPlace;
}

export interface ContextPage {
  readonly trees: readonly ContextTree<PlacedEvent>[];
  /** Whether something of a tree may be missing. */
  readonly isCut: boolean;
  /** Where the next page goes on; undefined on the last. */
  readonly next: RowPlace | undefined;
  readonly plans: readonly Plan[];
}

export interface ContextRead {
  readonly executor: Executor;
  readonly view: ReadView;
  /** Its range and conditions; `order` is not heeded. */
  readonly request: EventsRequest;
}

/** Trees that began after the request's place, by their begin. */
export function readContexts(
  call: Call,
  { limit, ...read }: ContextRead & { readonly limit: number },
): Promise<ContextPage> {
  return withinTime(call.signal, async (signal) => {
    const reader = createReader(call, read, signal);
    const { request } = read;
    const { isFull, events } = await reader.page({ ...request, order: "asc" }, {
      eventsMax: Math.min(Math.max(limit * TREE_EVENTS, PAGE_EVENTS_MIN), CONTEXT_EVENTS_MAX),
    });
    const [first, last] = [events[0], events.at(-1)];
    if (first === undefined || last === undefined) return reader.answer([], undefined);
    reader.add(events);
    await climb(reader, new Set(events.map(({ context }) => context)), {
      ...{ ...request, order: "desc", after: first.place, toUs: first.timeUs + 1 },
    });
    const isOfPage = ({ first: { place } }: ContextTree<PlacedEvent>): boolean =>
      comparePlaces(place, first.place) >= 0 && comparePlaces(place, last.place) <= 0;
    const began = (): readonly ContextTree<PlacedEvent>[] => reader.grow().filter(isOfPage);
    const chosen = (): readonly ContextTree<PlacedEvent>[] => began().slice(0, limit);
    await descend(reader, chosen, {
      ...{ ...request, order: "asc", after: last.place, fromUs: last.timeUs },
    });
    const all = began();
    const trees = all.slice(0, limit);
    const lastGiven = all.length > limit ? trees.at(-1)?.first.place : undefined;
    return reader.answer(trees, lastGiven ?? (isFull ? last.place : undefined));
  });
}

/** The whole trees that a context lies in which told something in the range, and the hosts that tell of it. */
export function readContext(
  call: Call,
  { context, ...read }: ContextRead & { readonly context: string },
): Promise<ContextPage & { readonly hosts: readonly string[] }> {
  return withinTime(call.signal, async (signal) => {
    const reader = createReader(call, read, signal);
    const { request } = read;
    const own = await reader.page({ ...request, order: "asc" }, {
      wanted: { contexts: [context], by: "context" },
    });
    const hosts = [...new Set(own.events.map(({ host }) => host))].toSorted();
    const [first, last] = [own.events[0], own.events.at(-1)];
    if (first === undefined || last === undefined || hosts.length > 1) {
      return { ...reader.answer([], undefined), hosts };
    }
    reader.add(own.events, own.isFull);
    await climb(reader, new Set([context]), { ...request, order: "desc", toUs: last.timeUs + 1 });
    const isOfRange = ({ span }: ContextTree): boolean => isWithin(span, context, request);
    const chosen = () => reader.grow().filter(isOfRange);
    const fromUs = Math.min(first.timeUs, ...chosen().map((tree) => tree.first.timeUs));
    await descend(reader, chosen, { ...request, order: "asc", fromUs });
    return { ...reader.answer(chosen(), undefined), hosts };
  });
}

function isWithin(
  { context, start, end, spans = [] }: ContextTree["span"],
  wanted: string,
  range: EventsRequest,
): boolean {
  const isHere = context === wanted && end * 1e6 >= range.fromUs && start * 1e6 < range.toUs;
  return isHere || spans.some((each) => isWithin(each, wanted, range));
}

/** Reads what came before of these contexts and of the parents that are named, generation after generation. */
async function climb(
  reader: Reader,
  contexts: ReadonlySet<string>,
  request: EventsRequest,
): Promise<void> {
  const asked = new Set<string>();
  let wanted = new Set([...contexts, ...reader.parents()]);
  let earliestUs = reader.earliestUs();
  for (let generation = 0; wanted.size > 0; generation += 1) {
    if (generation === GENERATIONS_MAX) return reader.cut();
    for (const each of wanted) asked.add(each);
    const fromUs = Math.max(0, earliestUs - LINK_US);
    const { events, isFull } = await reader.page({ ...request, fromUs }, {
      wanted: { contexts: [...wanted], by: "context" },
    });
    reader.add(events, isFull);
    earliestUs = reader.earliestUs();
    wanted = new Set([...reader.parents()].filter((each) => !asked.has(each)));
  }
}

/** Reads what came after of trees, as long as there is more of them. */
async function descend(
  reader: Reader,
  chosen: () => readonly ContextTree[],
  request: EventsRequest,
): Promise<void> {
  let known = "";
  for (let generation = 0;; generation += 1) {
    const trees = chosen();
    const contexts = [...new Set(trees.flatMap((tree) => [...tree.contexts]))].toSorted();
    const toUs = trees.reduce((last, { endUs }) => Math.max(last, endUs), 0) + LINK_US + 1;
    const now = JSON.stringify([toUs, contexts]);
    if (toUs <= request.fromUs || contexts.length === 0 || now === known) return;
    if (generation === GENERATIONS_MAX) return reader.cut();
    known = now;
    const { events, isFull } = await reader.page({ ...request, toUs }, {
      wanted: { contexts, by: "context or parent" },
    });
    reader.add(events, isFull);
  }
}

interface Reader {
  page(
    request: EventsRequest,
    options?: { readonly wanted?: Wanted; readonly eventsMax?: number },
  ): Promise<{ readonly events: readonly PlacedEvent[]; readonly isFull: boolean }>;
  /** Events that are known already are not added again. */
  add(events: readonly PlacedEvent[], isCut?: boolean): void;
  cut(): void;
  parents(): ReadonlySet<string>;
  earliestUs(): number;
  grow(): readonly ContextTree<PlacedEvent>[];
  answer(trees: ContextPage["trees"], next: RowPlace | undefined): ContextPage;
}

function createReader(
  { principal }: Call,
  { executor, view }: Pick<ContextRead, "executor" | "view">,
  signal: AbortSignal,
): Reader {
  const plans: Plan[] = [];
  const known = new Map<string, PlacedEvent>();
  let isCut = false;
  return {
    async page(request, { wanted, eventsMax: most = CONTEXT_EVENTS_MAX } = {}) {
      const eventsMax = Math.min(most, ANSWER_EVENTS_MAX - known.size);
      if (eventsMax <= 0) return { events: [], isFull: true };
      const plan = planContextEvents(request, principal, { view, wanted, eventsMax });
      const rows: SqlRow[] = [];
      const run: Plan["steps"][number][] = [];
      for (const step of plan.steps) {
        if (rows.length > eventsMax) break;
        run.push(step);
        rows.push(...(await executor.rows(step, { principal, signal })).rows);
      }
      plans.push({ ...plan, steps: run });
      const events = rows.slice(0, eventsMax).map(eventOf);
      return { events, isFull: rows.length > eventsMax };
    },
    add(events, isFull = false) {
      isCut ||= isFull;
      for (const event of events) known.set(keyOf(event.place), event);
    },
    cut() {
      isCut = true;
    },
    parents: () =>
      new Set([...known.values()].flatMap(({ parent }) => parent === undefined ? [] : [parent])),
    earliestUs: () =>
      [...known.values()].reduce((least, { timeUs }) => Math.min(least, timeUs), Infinity),
    grow() {
      const events = [...known.values()].toSorted((a, b) => comparePlaces(a.place, b.place));
      const forest = growContexts(events);
      isCut ||= forest.isCut;
      return forest.trees.toSorted((a, b) => comparePlaces(a.first.place, b.first.place));
    },
    answer: (trees, next) => ({ trees, next, isCut, plans }),
  };
}

function keyOf({ incarnation, sequence, idx }: RowPlace): string {
  return `${incarnation} ${sequence} ${idx}`;
}

function comparePlaces(a: RowPlace, b: RowPlace): number {
  return a.timeUs - b.timeUs || compareTexts(a.incarnation, b.incarnation) ||
    a.sequence - b.sequence || a.idx - b.idx;
}

function compareTexts(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function eventOf(row: SqlRow): PlacedEvent {
  const text = (name: string): string | undefined => {
    const value = row[name] ?? null;
    return value === null ? undefined : String(value);
  };
  const timeUs = Number(row["time_us"]);
  return {
    host: String(row["host"]),
    context: String(row["context"]),
    parent: text("parent"),
    timeUs,
    topic: String(row["topic"]),
    exe: text("exe"),
    origin: text("origin"),
    key: text("key"),
    value: valueOf(text("value") ?? "", row),
    place: {
      timeUs,
      incarnation: String(row["incarnation"]),
      sequence: Number(row["seq"]),
      idx: Number(row["idx"]),
    },
  };
}

/** Bytes are a list of numbers, as in crypto-auditing's query tool. */
function valueOf(text: string, row: SqlRow): ContextEvent["value"] {
  if (row["is_number"] === true && Number.isSafeInteger(Number(text))) return Number(text);
  const isBytes = row["kind"] === "blob" && /^(?:[0-9a-f]{2})*$/.test(text);
  return isBytes ? [...Buffer.from(text, "hex")] : text;
}
