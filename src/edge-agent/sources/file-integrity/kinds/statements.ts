/**
 * Files as lists of statements, and what two lists differ in: settings have a name and a value, rules are what they
 * say. Works on reduced texts.
 */
import type { SemanticChange } from "./file-kind.ts";
import { shown } from "./secret-marker.ts";

/** The reduced texts of a file before and after a change; "" when it was or is not there. */
export interface TextChange {
  readonly before: string;
  readonly after: string;
  /** Tags of the text before: secrets that are not among them are new. */
  readonly known: ReadonlySet<string>;
}

export interface Statement {
  /** `rule`, `alias`, `job`, `line`: the first half of `what`. */
  readonly entity: string;
  readonly who: string | null;
  /** Name of a setting: its change is one of value. Rules have none; they come and go. */
  readonly name?: string;
  /** The rule, or the value of the setting. */
  readonly text: string;
}

/** Settings by name, then rules that went and came, then whether the rest stands in another order. */
export function statementChanges(
  { before, after, known }: TextChange,
  parse: (text: string) => readonly Statement[],
): SemanticChange[] {
  const [old, now] = [parse(before), parse(after)];
  const show = (text: string | undefined): string | null => text === undefined ? null : shown(text);
  const showNew = (text: string | undefined): string | null =>
    text === undefined ? null : shown(text, known);
  const changes: SemanticChange[] = [];
  const [oldSettings, nowSettings] = [settingsOf(old), settingsOf(now)];
  for (const [id, { entity, who, text }] of oldSettings) {
    if (nowSettings.has(id)) continue;
    changes.push({ what: `${entity}/unset`, who: show(who), before: shown(text), after: null });
  }
  for (const [id, { entity, who, text }] of nowSettings) {
    const former = oldSettings.get(id)?.text;
    if (former === text) continue;
    changes.push({
      what: `${entity}/set`,
      who: show(who),
      before: show(former),
      after: showNew(text),
    });
  }
  return [...changes, ...ruleChanges(old, now, showNew)];
}

/** Settings by entity, owner and name; values of a repeated one are joined by newlines. */
function settingsOf(
  statements: readonly Statement[],
): Map<string, { entity: string; who: string; text: string }> {
  const settings = new Map<string, { entity: string; who: string; text: string }>();
  for (const { entity, who, name, text } of statements) {
    if (name === undefined) continue;
    const id = JSON.stringify([entity, who, name]);
    const former = settings.get(id);
    settings.set(id, {
      entity,
      who: who === null ? name : `${who} ${name}`,
      text: former === undefined ? text : `${former.text}\n${text}`,
    });
  }
  return settings;
}

function ruleChanges(
  old: readonly Statement[],
  now: readonly Statement[],
  showNew: (text: string) => string | null,
): SemanticChange[] {
  const rules = (all: readonly Statement[]): Map<string, Statement> =>
    new Map(all.filter(({ name }) => name === undefined).map((rule) => [idOf(rule), rule]));
  const idsOf = (all: readonly Statement[]): string[] =>
    all.filter(({ name }) => name === undefined).map(idOf);
  const known = new Map([...rules(old), ...rules(now)]);
  const lines = lineChanges(idsOf(old), idsOf(now));
  const changes = lines.flatMap(({ sign, line }): SemanticChange[] => {
    const rule = known.get(line);
    if (rule === undefined) return [];
    const { entity, text } = rule;
    const who = rule.who === null ? null : shown(rule.who);
    return sign === "-"
      ? [{ what: `${entity}/remove`, who, before: shown(text), after: null }]
      : [{ what: `${entity}/add`, who, before: null, after: showNew(text) }];
  });
  return [...changes, ...orderChange(idsOf(old), { now: idsOf(now), lines, known })];
}

function idOf({ entity, who, text }: Statement): string {
  return JSON.stringify([entity, who, text]);
}

/** Of rules the first or last match wins: their order is a part of the meaning. */
function orderChange(
  old: readonly string[],
  { now, lines, known }: {
    readonly now: readonly string[];
    readonly lines: readonly LineChange[];
    readonly known: ReadonlyMap<string, Statement>;
  },
): SemanticChange[] {
  const changed = new Set(lines.map(({ line }) => line));
  const isRule = (id: string): boolean => known.get(id)?.entity === "rule" && !changed.has(id);
  const [before, after] = [old.filter(isRule), now.filter(isRule)];
  const at = before.findIndex((id, place) => id !== after[place]);
  if (at < 0) return [];
  const textOf = (id: string | undefined): string | null =>
    id === undefined ? null : shown(known.get(id)?.text ?? "");
  return [{ what: "rule/order", who: null, before: textOf(before[at]), after: textOf(after[at]) }];
}

export interface LineChange {
  readonly sign: "-" | "+";
  readonly line: string;
}

/** Lines that one list has more often than the other: removed ones first, each in its order. */
export function lineChanges(before: readonly string[], after: readonly string[]): LineChange[] {
  const surplus = (list: readonly string[], other: readonly string[]): string[] => {
    const left = new Map<string, number>();
    for (const line of other) left.set(line, (left.get(line) ?? 0) + 1);
    return list.filter((line) => {
      const count = left.get(line) ?? 0;
      left.set(line, count - 1);
      return count <= 0;
    });
  };
  return [
    ...surplus(before, after).map((line) => ({ sign: "-", line }) as const),
    ...surplus(after, before).map((line) => ({ sign: "+", line }) as const),
  ];
}
