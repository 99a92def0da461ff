/**
 * Reading an event so that nothing of it gets lost: a value that is read counts as told elsewhere, and what was not
 * read, or has another type than was asked for, is the rest.
 */

export type Values = Readonly<Record<string, unknown>>;

/** A class, and loops, because it is made twice for each event of an answer. */
export class Fields {
  readonly #values: Values;
  readonly #read = new Set<string>();

  constructor(values: Values) {
    this.#values = values;
  }

  /** A text that is not empty, and that `accepts` holds for. */
  text(name: string, accepts?: (text: string) => boolean): string | undefined {
    const value = this.peekText(name);
    if (value === "" || accepts?.(value) === false) return undefined;
    this.#read.add(name);
    return value;
  }

  /** An integer that a number holds exactly. */
  integer(name: string): number | undefined {
    return this.#take(name, isInteger);
  }

  flag(name: string): boolean | undefined {
    return this.#take(name, (value) => typeof value === "boolean");
  }

  record(name: string): Values | undefined {
    return this.#take(name, isRecord);
  }

  /** A list of texts. */
  texts(name: string): readonly string[] | undefined {
    return this.#take(name, (value) => Array.isArray(value) && value.every(isText));
  }

  /** A value as it is, which stays in the rest. */
  peek(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
  }

  /** The same of a text; "" for anything else. */
  peekText(name: string): string {
    const value = this.peek(name);
    return isText(value) ? value : "";
  }

  /** A value that is told by another one. */
  drop(name: string): void {
    this.#read.add(name);
  }

  /** What was neither read nor dropped. */
  rest(): Values {
    const entries: [string, unknown][] = [];
    for (const name in this.#values) {
      if (!this.#read.has(name)) entries.push([name, this.#values[name]]);
    }
    return Object.fromEntries(entries);
  }

  #take<T>(name: string, is: (value: unknown) => value is T): T | undefined {
    const value = this.peek(name);
    if (!is(value)) return undefined;
    this.#read.add(name);
    return value;
  }
}

/** What an event is made of: its columns, and the members of its `detail`. */
export interface Source {
  readonly columns: Fields;
  readonly detail: Fields;
}

/** Without undefined members; undefined when none is left. The names are ours. */
export function known(members: Values): Values | undefined {
  let found: Record<string, unknown> | undefined;
  for (const name in members) {
    const value = members[name];
    if (value === undefined) continue;
    found ??= {};
    found[name] = value;
  }
  return found;
}

export function isRecord(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

export function isInteger(value: unknown): value is number {
  return Number.isSafeInteger(value);
}
