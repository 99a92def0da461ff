/** Which `account/*` events follow from the semantic changes of an account file. */
import type { AccountEvent, SemanticChange } from "./file-kind.ts";

export interface AccountEventOptions {
  /** Most events; one more then tells of how many changes there are none. */
  readonly countMax: number;
  /** Cuts the texts of a change. */
  readonly clip: (change: SemanticChange) => SemanticChange;
}

/** One event per change of a user, group or key; malformed lines have none. */
export function accountEvents(
  changes: readonly SemanticChange[],
  { countMax, clip }: AccountEventOptions,
): AccountEvent[] {
  const told = changes.filter(({ what }) => topicOf(what) !== undefined);
  const events = told.slice(0, countMax).flatMap((each): AccountEvent[] => {
    const topic = topicOf(each.what);
    const change = clip(each);
    const { what, who, before, after } = change;
    const message = messageOf(change);
    return topic === undefined
      ? []
      : [{ topic, severity: "high", target: who, what, before, after, message }];
  });
  const omitted = told[countMax];
  if (omitted === undefined) return events;
  const [entity = ""] = omitted.what.split("/");
  const count = told.length - countMax;
  return [...events, {
    topic: topicOf(`${entity}/omitted`) ?? "account/user/change",
    severity: "high",
    target: null,
    what: `${entity}/omitted`,
    before: null,
    after: null,
    message: `${count} more changes of users, groups or keys have no event of their own`,
  }];
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
