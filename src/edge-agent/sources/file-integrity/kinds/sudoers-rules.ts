/**
 * Statements of sudoers (sudoers(5)): rules, aliases, Defaults and includes, with continued lines made one. The last
 * rule that matches decides.
 */
import type { Statement } from "./statements.ts";

const ALIAS = /^(User|Runas|Host|Cmnd|Cmd)_Alias[ \t]+(.*)$/;
const INCLUDE = /^[#@]include(dir)?[ \t]+(.*)$/;
const DEFAULTS = /^Defaults(?:[ \t@:!>]|$)/;

export function sudoersStatements(text: string): Statement[] {
  return logicalLines(text).flatMap(statementsOf);
}

function statementsOf(raw: string): Statement[] {
  const line = raw.trim().replaceAll(/[ \t]+/g, " ");
  const include = INCLUDE.exec(line);
  if (include !== null) {
    return [{
      entity: "include",
      who: null,
      text: `@include${include[1] ?? ""} ${include[2] ?? ""}`,
    }];
  }
  const plain = withoutComment(line).trim();
  if (plain === "") return [];
  const alias = ALIAS.exec(plain);
  if (alias !== null) return aliases(alias[1] ?? "", alias[2] ?? "");
  if (DEFAULTS.test(plain)) return [{ entity: "defaults", who: null, text: plain }];
  const equals = plain.indexOf("=");
  const [user = ""] = plain.split(" ");
  if (equals <= 0) return [{ entity: "line", who: null, text: plain }];
  return [{ entity: "rule", who: userList(plain.slice(0, equals)) || user, text: plain }];
}

/** `root, %admin ALL`: users are joined by commas, the host list follows a blank. */
function userList(head: string): string {
  const words = head.trim().replaceAll(/ ?, ?/g, ",").split(" ");
  return (words[0] ?? "").replaceAll(",", ", ");
}

/** `NAME = a, b : OTHER = c`: each alias is a setting. */
function aliases(type: string, text: string): Statement[] {
  const kind = type === "Cmd" ? "Cmnd" : type;
  return text.split(/ ?(?<!\\):(?= ?[A-Z][A-Z0-9_]* ?=) ?/).map((part) => {
    const [, name, value = ""] = /^([A-Z][A-Z0-9_]*) ?\+?= ?(.*)$/.exec(part) ?? [];
    return name === undefined
      ? { entity: "line", who: null, text: `${kind}_Alias ${part}` }
      : { entity: "alias", who: `${kind}_Alias`, name, text: value };
  });
}

/** Lines that end in a backslash go on; so do comments. */
function logicalLines(text: string): string[] {
  const lines: string[] = [];
  let open: string[] = [];
  for (const line of text.split("\n")) {
    const isContinued = /(?:^|[^\\])(?:\\\\)*\\$/.test(line);
    open.push(isContinued ? line.slice(0, -1) : line);
    if (isContinued) continue;
    lines.push(open.join(" "));
    open = [];
  }
  if (open.length > 0) lines.push(open.join(" "));
  return lines;
}

/** A comment begins at `#`, unless digits follow (a user id) or it is quoted or escaped. */
function withoutComment(line: string): string {
  let isQuoted = false;
  for (let at = 0; at < line.length; at += 1) {
    const character = line[at];
    if (character === "\\") at += 1;
    else if (character === '"') isQuoted = !isQuoted;
    else if (character === "#" && !isQuoted && !isUserId(line, at)) return line.slice(0, at);
  }
  return line;
}

function isUserId(line: string, at: number): boolean {
  return /^[0-9]$/.test(line[at + 1] ?? "") && (at === 0 || /[\s,!%(:=]/.test(line[at - 1] ?? ""));
}
