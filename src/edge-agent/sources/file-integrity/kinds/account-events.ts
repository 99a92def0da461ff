/** Which `account/*` events follow from the semantic changes of an account file. */
import type { AccountEvent, SemanticChange } from "./file-kind.ts";

/** One event per change of a user, group or key; malformed lines have none. */
export function accountEvents(changes: readonly SemanticChange[]): AccountEvent[] {
  return changes.flatMap((change): AccountEvent[] => {
    const topic = topicOf(change.what);
    if (topic === undefined) return [];
    const { what, who, before, after } = change;
    return [{
      topic,
      severity: "high",
      target: who,
      what,
      before,
      after,
      message: messageOf(change),
    }];
  });
}

function topicOf(what: string): AccountEvent["topic"] | undefined {
  const [entity, aspect] = what.split("/");
  if (entity !== "user" && entity !== "group" && entity !== "key") return undefined;
  if (aspect === "add" || aspect === "remove") return `account/${entity}/${aspect}`;
  return `account/${entity}/change`;
}

function messageOf({ what, who, before, after }: SemanticChange): string {
  const [entity = "", aspect = ""] = what.split("/");
  const name = who ?? "somebody";
  const isKey = entity === "key";
  if (isKey && aspect === "add") return `key ${after ?? ""} may log in as ${name}`;
  if (isKey && aspect === "remove") return `key ${before ?? ""} may no longer log in as ${name}`;
  if (aspect === "add") return `${entity} ${name} was added`;
  if (aspect === "remove") return `${entity} ${name} was removed`;
  const subject = isKey ? `${aspect} of a key of ${name}` : `${aspect} of ${entity} ${name}`;
  const values = aspect === "password" ? ` to ${after ?? "none"}` : "";
  return `${subject.replaceAll("_", " ")} was changed${values}`;
}
