/**
 * Trees of contexts, from events in the order of time. Pure.
 *
 * A context begins with an event without a key, which names its parent; an event with a key tells a datum of the newest
 * context of that id. A parent that is not known makes a root, as a datum of an unknown context does, so that nothing is
 * lost. Where parent and context are the same, the reader infers: the newest context of that id that may contain the name.
 *
 * Invariants: a parent is always older than its child, so that no circle can come about; no tree is deeper than
 * {@link DEPTH_MAX}.
 */
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
  readonly spans?: readonly ContextSpan[];
}

/** Generations of one tree. */
export const DEPTH_MAX = 64;
/** Data of one context. */
const DATA_MAX = 256;

interface Node {
  readonly id: string;
  readonly first: ContextEvent;
  origin: string | undefined;
  exe: string | undefined;
  endUs: number;
  parent: Node | undefined;
  /** Whether its place is found by its name. */
  isInferred: boolean;
  readonly data: Map<string, ContextEvent["value"]>;
  readonly children: Node[];
}

export interface ContextForest {
  /** By the time of their begin. */
  readonly roots: readonly ContextSpan[];
  /** Whether trees were deeper, or contexts larger, than is given. */
  readonly isCut: boolean;
}

/** Grows the trees of events that are sorted by time. */
export function growContexts(events: Iterable<ContextEvent>): ContextForest {
  const nodes: Node[] = [];
  const newest = new Map<string, Node>();
  const open = new Map<string, Node[]>();
  let isCut = false;
  const begin = (event: ContextEvent): Node => {
    const { host, context, parent } = event;
    const id = idOf(host, context);
    const isInferred = parent === context;
    const above = parent === undefined || isInferred ? undefined : newest.get(idOf(host, parent));
    const node: Node = {
      ...{ id, first: event, origin: event.origin, exe: event.exe, endUs: event.timeUs },
      ...{ parent: undefined, isInferred, data: new Map(), children: [] },
    };
    if (above !== undefined) isCut = !attach(node, above) || isCut;
    nodes.push(node);
    newest.set(id, node);
    return node;
  };
  const infer = (node: Node, name: string): void => {
    const stack = open.get(node.id) ?? [];
    while (stack.length > 0 && !mayContain(nameOf(stack.at(-1)), name)) stack.pop();
    const above = stack.at(-1);
    if (above !== undefined) isCut = !attach(node, above) || isCut;
    stack.push(node);
    open.set(node.id, stack);
    node.isInferred = false;
  };
  for (const event of events) {
    const known = newest.get(idOf(event.host, event.context));
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
    if (node.isInferred) infer(node, String(value));
    else if (!(open.get(node.id) ?? []).includes(node)) {
      open.set(node.id, [...open.get(node.id) ?? [], node].slice(-DEPTH_MAX));
    }
  }
  const roots = nodes.filter(({ parent }) => parent === undefined).flatMap(spansOf);
  return { roots, isCut };
}

/** Whether a span or one below it has this context. */
export function hasContext({ context, spans = [] }: ContextSpan, wanted: string): boolean {
  return context === wanted || spans.some((each) => hasContext(each, wanted));
}

function idOf(host: string, context: string): string {
  return `${host}\n${context}`;
}

/** What an event tells of its context; undefined when it begins one. An application's event tells its topic, once. */
function datumOf(
  { key, value, topic }: ContextEvent,
  known: Node | undefined,
): readonly [string, ContextEvent["value"]] | undefined {
  if (key !== undefined) return [key, value];
  if (!topic.startsWith("app/")) return undefined;
  return known?.data.has("name") === true ? [topic, 1] : ["name", topic];
}

function nameOf(node: Node | undefined): string | undefined {
  const name = node?.data.get("name");
  return typeof name === "string" ? name : undefined;
}

/** Returns whether there was room for the further generations. */
function attach(node: Node, above: Node): boolean {
  let depth = heightOf(node);
  for (let each: Node | undefined = above; each !== undefined; each = each.parent) {
    depth += 1;
    if (depth > DEPTH_MAX || each === node) return false;
  }
  node.parent = above;
  above.children.push(node);
  return true;
}

function heightOf({ children }: Node): number {
  return 1 + children.reduce((most, each) => Math.max(most, heightOf(each)), 0);
}

/** A context of which nothing is told is no span: those below it take its place. */
function spansOf(node: Node): readonly ContextSpan[] {
  const spans = node.children.flatMap(spansOf);
  if (node.data.size === 0) return spans;
  const { host, context, timeUs } = node.first;
  const sorted = [...node.data].toSorted(([a], [b]) => a < b ? -1 : 1);
  return [{
    ...{ host, context, origin: node.origin ?? "" },
    executable: node.exe?.slice(node.exe.lastIndexOf("/") + 1) ?? "",
    start: timeUs / 1_000_000,
    end: node.endUs / 1_000_000,
    events: Object.fromEntries(sorted),
    ...(spans.length === 0 ? {} : { spans }),
  }];
}
