/** Conditions as SQL over the columns of a row. Values go through the binder, names come from the list of columns. */
import type { Column } from "../../event/columns.ts";
import { identifierOf } from "../../storage/sql-text.ts";
import type { Condition, GlobPart, Match } from "../filter.ts";
import type { Scopes } from "../principal.ts";
import type { Binder } from "./binder.ts";
import { DAY } from "./rows.ts";

/** One predicate per condition; all must hold. */
export function predicatesOf(conditions: readonly Condition[], binder: Binder): string[] {
  return conditions.map(({ column, isNegated, matches }) => {
    const alternatives = matches.map((match) => matchOf(column, match, binder)).join(" OR ");
    return isNegated ? `NOT (${alternatives})` : `(${alternatives})`;
  });
}

/** What a principal may see, as predicates beside those of the request. */
export function scopePredicates(scopes: Scopes, binder: Binder): string[] {
  const { topics, hosts } = scopes;
  const predicates: string[] = [];
  if (hosts !== "all") {
    predicates.push(anyOf(hosts.map((host) => hostIs(host, binder))));
  }
  if (topics !== "all") {
    predicates.push(anyOf(topics.map((topic) => topicIs("topic", topic, binder))));
  }
  return predicates;
}

function hostIs(host: string, binder: Binder): string {
  if (!host.endsWith("*")) return `host = ${binder.text(host)}`;
  return `starts_with(host, ${binder.text(host.slice(0, -1))})`;
}

/** What scopes of no row at all come to. */
function anyOf(alternatives: readonly string[]): string {
  return alternatives.length === 0 ? "false" : `(${alternatives.join(" OR ")})`;
}

function matchOf(column: Column, match: Match, binder: Binder): string {
  const name = column.origin === "derived" ? DAY : identifierOf(column.name);
  if (column.name === "topic" && match.kind !== "compare") return topicMatch(match, binder);
  if (column.type === "strings") {
    return someElement(name, (element) => elementMatch(element, match, binder));
  }
  switch (match.kind) {
    case "equal":
      return `${name} = ${valueOf(column, match.value, binder)}`;
    case "compare":
      return `${name} ${match.operator} ${valueOf(column, match.value, binder)}`;
    case "glob":
      return likeOf(name, match.parts, binder);
  }
}

/** A topic contains all topics below it, and an event belongs to the further topics in its list as well. */
function topicMatch(match: Exclude<Match, { kind: "compare" }>, binder: Binder): string {
  const isUnder = (name: string): string =>
    match.kind === "equal"
      ? topicIs(name, String(match.value), binder)
      : `(${likeOf(name, match.parts, binder)} OR ${
        likeOf(name, [...match.parts, "/", { wildcard: "*" }], binder)
      })`;
  return `(${isUnder("topic")} OR ${someElement("topics", isUnder)})`;
}

/** Whether a column holds a topic or one below it. */
export function topicIs(name: string, topic: string, binder: Binder): string {
  return `(${name} = ${binder.text(topic)} OR starts_with(${name}, ${binder.text(`${topic}/`)}))`;
}

function elementMatch(element: string, match: Match, binder: Binder): string {
  return match.kind === "glob"
    ? likeOf(element, match.parts, binder)
    : `${element} = ${binder.text(String(match.value))}`;
}

/** No list is a list of nothing: a negation holds for it, unlike for other columns that are absent. */
function someElement(list: string, predicate: (element: string) => string): string {
  return `coalesce(len(list_filter(${list}, lambda element: ${predicate("element")})) > 0, false)`;
}

function valueOf(column: Column, value: string | number, binder: Binder): string {
  switch (column.type) {
    case "integer":
    case "long":
      return binder.integer(Number(value));
    case "timestamp":
      return binder.time(Number(value));
    case "date":
      return binder.day(String(value));
    case "string":
    case "strings":
    case "json":
      return binder.text(String(value));
  }
}

const LIKE_SIGN = /[%_\\]/g;

function likeOf(name: string, parts: readonly GlobPart[], binder: Binder): string {
  const isPlain = parts.every((part) => typeof part !== "string" || part.search(LIKE_SIGN) < 0);
  const pattern = parts.map((part) => {
    if (typeof part !== "string") return part.wildcard === "*" ? "%" : "_";
    return part.replaceAll(LIKE_SIGN, (sign) => `\\${sign}`);
  }).join("");
  return `${name} LIKE ${binder.text(pattern)}${isPlain ? "" : " ESCAPE '\\'"}`;
}
