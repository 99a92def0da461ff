/**
 * Changes of passwd, shadow, group and gshadow by user or group and by field. Works on reduced lines.
 *
 * Invariant: a password is told by state and algorithm alone; a line of another shape is told as it stands.
 */
import { accountEntry, type AccountFields } from "./account-lines.ts";
import type { SemanticChange } from "./file-kind.ts";
import { passwordWords } from "./password-field.ts";
import { shown } from "./secret-marker.ts";
import { lineChanges, type TextChange } from "./statements.ts";

/** Entries that came, went or changed, then malformed lines. */
export function accountChanges(change: TextChange, shape: AccountFields): SemanticChange[] {
  const [old, now] = [entriesOf(change.before, shape), entriesOf(change.after, shape)];
  const changes: SemanticChange[] = [];
  for (const [id, entry] of old.entries) {
    if (!now.entries.has(id)) changes.push(goneOrCome(entry, { shape, sign: "-" }));
  }
  for (const [id, entry] of now.entries) {
    const former = old.entries.get(id);
    if (former === undefined) changes.push(goneOrCome(entry, { shape, sign: "+" }));
    else changes.push(...fieldChanges(former, entry, shape));
  }
  for (const { sign, line } of lineChanges(old.others, now.others)) {
    const text = shown(line, sign === "+" ? change.known : undefined);
    changes.push({
      what: sign === "+" ? "line/add" : "line/remove",
      who: null,
      before: sign === "+" ? null : text,
      after: sign === "+" ? text : null,
    });
  }
  return changes;
}

type Fields = readonly string[];

interface Entries {
  /** By name; a second entry of a name has its number in the key. */
  readonly entries: ReadonlyMap<string, Fields>;
  /** Lines of another shape that are neither empty nor comments. */
  readonly others: readonly string[];
}

function entriesOf(text: string, shape: AccountFields): Entries {
  const entries = new Map<string, Fields>();
  const others: string[] = [];
  const counts = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const entry = accountEntry(line, shape);
    if (entry === undefined) {
      others.push(line);
      continue;
    }
    const count = counts.get(entry.name) ?? 0;
    counts.set(entry.name, count + 1);
    entries.set(`${entry.name}:${count}`, entry.fields);
  }
  return { entries, others };
}

function goneOrCome(
  fields: Fields,
  { shape, sign }: { readonly shape: AccountFields; readonly sign: "-" | "+" },
): SemanticChange {
  const what = shape.isDefining ? (sign === "+" ? "add" : "remove") : "password";
  const text = shape.isDefining ? entryText(fields, shape) : passwordWords(shown(fields[1] ?? ""));
  return {
    what: `${shape.entity}/${what}`,
    who: shown(fields[0] ?? ""),
    before: sign === "-" ? text : null,
    after: sign === "+" ? text : null,
  };
}

/** `uid=0 gid=0 home=/root …`: what makes the user or group. */
function entryText(fields: Fields, { names }: AccountFields): string {
  return names.flatMap((name, place) => {
    const field = shown(fields[place] ?? "");
    if (name === "name") return [];
    if (name === "password") return [`password=${passwordWords(field)}`];
    return field === "" ? [] : [`${name}=${field}`];
  }).join(" ");
}

function fieldChanges(before: Fields, after: Fields, shape: AccountFields): SemanticChange[] {
  return shape.names.flatMap((name, place): SemanticChange[] => {
    const [old = "", now = ""] = [before[place], after[place]];
    if (old === now) return [];
    const change = { what: `${shape.entity}/${name}`, who: shown(after[0] ?? "") };
    if (name !== "password") return [{ ...change, before: shown(old), after: shown(now) }];
    const [from, to] = [passwordWords(shown(old)), passwordWords(shown(now))];
    return [{ ...change, before: from, after: from === to ? `${to}, changed` : to }];
  });
}
