/**
 * Trees of contexts, from events in the order of time. Pure.
 *
 * A context begins with an event without a key, which names its parent; an event with a key tells a datum of the newest
 * context of that id. A parent that is not known makes a root, as a datum of an unknown context does, so that nothing is
 * lost. Where parent and context are the same, the reader infers: the newest context of that id that may contain the name.
 * A context that has been still for {@link LINK_US} is none to add to: libraries use ids again, and where a tree ends can
 * then be told without reading all that came before.
 *
 * Invariants: a parent is always older than its child, so that no circle can come about; no tree is deeper than
 * {@link DEPTH_MAX}.
 */
import { cryptoNameOf } from "../../event/crypto/names.ts";
import { NO_CONTEXT, PROOF_KEY } from "../../event/crypto/record.ts";
import { mayContain } from "./nesting.ts";

export interface ContextEvent {
  readonly host: string;
  readonly context: string;
  readonly parent: string | undefined;
  readonly timeUs: number;
  readonly topic: string;
  readonly exe: string | undefined;
  /** Build id of the library. */
  readonly origin: string | undefined;
  readonly key: string | undefined;
  readonly value: string | number | readonly number[];
}

/** As crypto-auditing's query tool writes it, with the host. */
export interface ContextSpan {
  readonly host: string;
  readonly context: string;
  readonly origin: string;
  readonly executable: string;
  /** Seconds since the Unix epoch: its first and last event. */
  readonly start: number;
  readonly end: number;
  readonly events: Readonly<Record<string, string | number | readonly number[]>>;
  /** What IANA calls values of events, by key. */
  readonly names?: Readonly<Record<string, string>>;
  readonly spans?: readonly ContextSpan[];
}

/** Generations of one tree. */
export const DEPTH_MAX = 64;
/** Data of one context. */
const DATA_MAX = 256;
/** A datum, or a context inside, comes at most so long after the last word of the context that it belongs to, µs. */
export const LINK_US = 600_000_000;

interface Node<E extends ContextEvent> {
  readonly id: string;
  readonly first: E;
  origin: string | undefined;
  exe: string | undefined;
  endUs: number;
  parent: Node<E> | undefined;
  /** Whether its place is found by its name. */
  isInferred: boolean;
  readonly data: Map<string, ContextEvent["value"]>;
  readonly children: Node<E>[];
}

export interface ContextTree<E extends ContextEvent = ContextEvent> {
  readonly span: ContextSpan;
  /** The event that it began with. */
  readonly first: E;
  /** Of its spans, and of those in it of which nothing is told. */
  readonly contexts: ReadonlySet<string>;
  /** The last event of all of them, µs. */
  readonly endUs: number;
}

export interface ContextForest<E extends ContextEvent = ContextEvent> {
  /** In the order of events; those below a context of which nothing is told stand in its place. */
  readonly trees: readonly ContextTree<E>[];
  /** Whether trees were deeper, or contexts larger, than is given. */
  readonly isCut: boolean;
}

/** Grows the trees of events that are sorted by time. */
export function growContexts<E extends ContextEvent>(events: Iterable<E>): ContextForest<E> {
  const nodes: Node<E>[] = [];
  const newest = new Map<string, Node<E>>();
  const open = new Map<string, Node<E>[]>();
  let isCut = false;
  const living = (id: string, { timeUs }: E): Node<E> | undefined => {
    const node = newest.get(id);
    return node !== undefined && isLiving(node, timeUs) ? node : undefined;
  };
  const begin = (event: E): Node<E> => {
    const { host, context, parent } = event;
    const id = idOf(host, context);
    const isInferred = parent === context;
    const above = parent === undefined || isInferred
      ? undefined
      : living(idOf(host, parent), event);
    const node: Node<E> = {
      ...{ id, first: event, origin: event.origin, exe: event.exe, endUs: event.timeUs },
      ...{ parent: undefined, isInferred, data: new Map(), children: [] },
    };
    if (above !== undefined) isCut = !attach(node, above) || isCut;
    nodes.push(node);
    newest.set(id, node);
    return node;
  };
  const infer = (node: Node<E>, name: string, { timeUs }: E): void => {
    const stack = (open.get(node.id) ?? []).filter((each) => isLiving(each, timeUs));
    while (stack.length > 0 && !mayContain(nameOf(stack.at(-1)), name)) stack.pop();
    const above = stack.at(-1);
    if (above !== undefined) isCut = !attach(node, above) || isCut;
    stack.push(node);
    open.set(node.id, stack);
    node.isInferred = false;
  };
  for (const event of events) {
    // What an imported file says of itself, and an agent to itself.
    if (event.context === NO_CONTEXT || event.key === PROOF_KEY) continue;
    const known = living(idOf(event.host, event.context), event);
    const datum = datumOf(event, known);
    const node = datum === undefined || known === undefined ? begin(event) : known;
    node.origin ??= event.origin;
    node.exe ??= event.exe;
    node.endUs = Math.max(node.endUs, event.timeUs);
    if (datum === undefined) continue;
    const [key, value] = datum;
    if (node.data.size < DATA_MAX || node.data.has(key)) node.data.set(key, value);
    else isCut = true;
    if (key !== "name") continue;
    if (node.isInferred) infer(node, String(value), event);
    else if (!(open.get(node.id) ?? []).includes(node)) {
      open.set(node.id, [...open.get(node.id) ?? [], node].slice(-DEPTH_MAX));
    }
  }
  return { trees: nodes.filter(({ parent }) => parent === undefined).flatMap(treesOf), isCut };
}

function idOf(host: string, context: string): string {
  return `${host}\n${context}`;
}

/** What an event tells of its context; undefined when it begins one. An application's event tells its topic, once. */
function datumOf(
  { key, value, topic }: ContextEvent,
  known: Node<ContextEvent> | undefined,
): readonly [string, ContextEvent["value"]] | undefined {
  if (key !== undefined) return [key, value];
  if (!topic.startsWith("app/")) return undefined;
  return known?.data.has("name") === true ? [topic, 1] : ["name", topic];
}

function isLiving({ endUs }: Node<ContextEvent>, timeUs: number): boolean {
  return timeUs - endUs <= LINK_US;
}

function nameOf(node: Node<ContextEvent> | undefined): string | undefined {
  const name = node?.data.get("name");
  return typeof name === "string" ? name : undefined;
}

/** Returns whether there was room for the further generations. */
function attach<E extends ContextEvent>(node: Node<E>, above: Node<E>): boolean {
  let depth = heightOf(node);
  for (let each: Node<E> | undefined = above; each !== undefined; each = each.parent) {
    depth += 1;
    if (depth > DEPTH_MAX || each === node) return false;
  }
  node.parent = above;
  above.children.push(node);
  return true;
}

function heightOf({ children }: Node<ContextEvent>): number {
  return 1 + children.reduce((most, each) => Math.max(most, heightOf(each)), 0);
}

/** A context of which nothing is told is no span: those below it take its place. */
function treesOf<E extends ContextEvent>(node: Node<E>): readonly ContextTree<E>[] {
  const below = node.children.flatMap(treesOf);
  if (node.data.size === 0) return below;
  const { host, context, timeUs } = node.first;
  const sorted = [...node.data].toSorted(([a], [b]) => a < b ? -1 : 1);
  const names = sorted.flatMap(([key, value]) => {
    const name = typeof value === "object" ? undefined : cryptoNameOf(key, value);
    return name === undefined ? [] : [[key, name]];
  });
  const spans = below.map(({ span }) => span);
  const span: ContextSpan = {
    ...{ host, context, origin: node.origin ?? "" },
    executable: node.exe?.slice(node.exe.lastIndexOf("/") + 1) ?? "",
    start: timeUs / 1_000_000,
    end: node.endUs / 1_000_000,
    events: Object.fromEntries(sorted),
    ...(names.length === 0 ? {} : { names: Object.fromEntries(names) }),
    ...(spans.length === 0 ? {} : { spans }),
  };
  const contexts = new Set<string>();
  return [{ span, first: node.first, contexts, endUs: reach(node, contexts) }];
}

/** Adds the ids of all of a tree; returns when its last event was. */
function reach(node: Node<ContextEvent>, contexts: Set<string>): number {
  contexts.add(node.first.context);
  return node.children.reduce((last, each) => Math.max(last, reach(each, contexts)), node.endUs);
}
