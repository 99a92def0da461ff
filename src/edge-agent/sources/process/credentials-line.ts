/**
 * The line of a change of credentials or namespaces: `process/setuid`.
 *
 * Invariant: `before` and `after` have the members that differ, and the same ones; a call that failed has neither.
 */
import { u32 } from "../../decode-record.ts";
import { jsonInner } from "../../decode-text.ts";
import { NAMESPACES } from "../../initial-namespaces.ts";
import { type DecoderContext, escapedMember, type LocatedRecord } from "../../line-decoder.ts";
import { CREDENTIALS, CREDENTIALS_BYTES, GROUPS_MAX, IDS } from "../../record-layout.ts";
import { callName, errorName } from "./call-names.ts";
import { capabilityDigits, capabilityNames } from "./capabilities.ts";

const IDS_TOLD = ["uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid"] as const;
const SETS_TOLD = ["permitted", "effective", "inheritable", "ambient"] as const;

/** Undefined when the record has another length than such a record has. */
export function credentialsLine(
  context: DecoderContext,
  record: LocatedRecord,
): string | undefined {
  const { memory, offset, length, timeUs } = record;
  if (length !== CREDENTIALS_BYTES) return undefined;
  const { words } = memory;
  const actor = context.actors.of(memory, offset);
  const error = u32(words, offset + CREDENTIALS.error);
  const how = callName(u32(words, offset + CREDENTIALS.call));
  const [before, after] = error === 0 ? changes(words, offset) : ["", ""];
  const gained = error === 0 ? gainedText(words, offset) : "";
  const outcome = error === 0 ? '"outcome":"success"' : `"outcome":"failure","errno":${error}`;
  return `"time":"${context.timeText(timeUs)}","topic":"process/setuid",${outcome},` +
    `"severity":"info",${actor.columns}` +
    `"message":"${messageOf(context, record, { how, error, name: actor.name })}",` +
    `"detail":{"how":"${how}"` +
    (error === 0 ? `,"before":{${before}},"after":{${after}}` : "") +
    (gained === "" ? "" : `,"caps_gained":[${gained}]`) +
    `${escapedMember(actor.escaped)}}}`;
}

function messageOf(
  { userNames }: DecoderContext,
  { memory: { words }, offset }: LocatedRecord,
  { how, error, name }: { how: string; error: number; name: string },
): string {
  if (error !== 0) return `${name} could not ${how}: ${errorName(error)}`;
  const userOf = (at: number): string => {
    const uid = u32(words, offset + at + IDS.euid);
    return jsonInner(userNames.nameOf(uid) ?? `uid ${uid}`);
  };
  const [from, to] = [userOf(CREDENTIALS.before), userOf(CREDENTIALS.after)];
  return from === to
    ? `${name} changed its privileges by ${how}`
    : `${name} went from ${from} to ${to} by ${how}`;
}

/** JSON members of what was and what is, where they differ. */
function changes(words: Uint32Array, offset: number): [string, string] {
  const sides = [offset + CREDENTIALS.before, offset + CREDENTIALS.after] as const;
  const [from, to] = sides;
  const texts: [string[], string[]] = [[], []];
  const tell = (name: string, textOf: (at: number) => string): void => {
    for (const side of [0, 1] as const) texts[side].push(`"${name}":${textOf(sides[side])}`);
  };
  const differs = (at: number): boolean => u32(words, from + at) !== u32(words, to + at);
  for (const name of IDS_TOLD) {
    if (differs(IDS[name])) tell(name, (at) => String(u32(words, at + IDS[name])));
  }
  for (const name of SETS_TOLD) {
    const field = IDS[name];
    if (!differs(field) && !differs(field + 4)) continue;
    tell(`caps_${name}`, (at) => `"${capabilityDigits(words, at + field)}"`);
  }
  const moved = NAMESPACES.filter(([, field]) => differs(field));
  if (moved.length > 0) {
    tell(
      "namespaces",
      (at) => `{${moved.map(([name, field]) => `"${name}":${u32(words, at + field)}`).join(",")}}`,
    );
  }
  const groups = [
    groupsText(words, offset, ["groups_before_count", "groups_before"]),
    groupsText(words, offset, ["groups_after_count", "groups_after"]),
  ] as const;
  if (groups[0] !== groups[1]) {
    for (const side of [0, 1] as const) {
      texts[side].push(groups[side]);
    }
  }
  return [texts[0].join(","), texts[1].join(",")];
}

function groupsText(
  words: Uint32Array,
  offset: number,
  [countField, field]: readonly [
    "groups_before_count" | "groups_after_count",
    "groups_before" | "groups_after",
  ],
): string {
  const count = u32(words, offset + CREDENTIALS[countField]);
  const told = Array.from(
    { length: Math.min(count, GROUPS_MAX) },
    (_, place) => u32(words, offset + CREDENTIALS[field] + 4 * place),
  );
  return `"groups":[${told}]${count > GROUPS_MAX ? `,"groups_count":${count}` : ""}`;
}

/** Capabilities permitted now and not before. */
function gainedText(words: Uint32Array, offset: number): string {
  const before = offset + CREDENTIALS.before + IDS.permitted;
  const after = offset + CREDENTIALS.after + IDS.permitted;
  const gained = Uint32Array.of(
    u32(words, after) & ~u32(words, before),
    u32(words, after + 4) & ~u32(words, before + 4),
  );
  return capabilityNames(gained, 0);
}
