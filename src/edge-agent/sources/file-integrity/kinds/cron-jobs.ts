/**
 * Jobs and settings of crontabs (crontab(5), anacrontab(5)): those of the system name a user, those of users belong to
 * one. Other files of cron's folders are scripts, whose diff says it all.
 */
import type { Statement } from "./statements.ts";

type Form = "system" | "user" | "anacron" | "script";

const FIELD = "[0-9*,/~A-Za-z-]+";
const TIMES = `(?:@[a-z]+|${Array(5).fill(FIELD).join("[ \\t]+")})`;
// The rest is whatever comes, carriage returns too: else each of many blanks before it would be tried as its beginning.
const JOB = new RegExp(`^(-?${TIMES})[ \\t]+(.*)$`, "s");
const SYSTEM_JOB = new RegExp(`^(-?${TIMES})[ \\t]+([^ \\t]+)[ \\t]+(.*)$`, "s");
const ANACRON_JOB = /^(@[a-z]+|[0-9]+)[ \t]+([0-9]+)[ \t]+([^ \t]+)[ \t]+(.*)$/s;
const SETTING = /^[ \t]*["']?([A-Za-z_][A-Za-z0-9_]*)["']?[ \t]*=[ \t]*(.*)$/s;

export function cronStatements(text: string, path: string): Statement[] {
  const form = formOf(path);
  if (form === "script") return [];
  const owner = form === "user" ? path.slice(path.lastIndexOf("/") + 1) : null;
  return text.split("\n").flatMap((raw): Statement[] => {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) return [];
    const [, name, value = ""] = SETTING.exec(line) ?? [];
    if (name !== undefined) {
      return [{ entity: "environment", who: owner, name, text: value.trim() }];
    }
    return [jobOf(line, { form, owner }) ?? { entity: "line", who: owner, text: line }];
  });
}

function jobOf(
  line: string,
  { form, owner }: { readonly form: Form; readonly owner: string | null },
): Statement | undefined {
  if (form === "anacron") {
    const [all, period = "", delay = "", name = "", command = ""] = ANACRON_JOB.exec(line) ?? [];
    if (all === undefined) return undefined;
    return { entity: "job", who: name, text: `${period} ${delay} ${command}` };
  }
  const [all, times = "", ...rest] = (form === "system" ? SYSTEM_JOB : JOB).exec(line) ?? [];
  if (all === undefined) return undefined;
  const when = times.replaceAll(/[ \t]+/g, " ");
  const [user = null, command = ""] = form === "system" ? rest : [owner, rest[0]];
  return { entity: "job", who: user, text: `${when} ${command.trim()}` };
}

function formOf(path: string): Form {
  if (/\/anacrontab$/.test(path)) return "anacron";
  if (/\/cron\.(?:hourly|daily|weekly|monthly|yearly)\/[^/]+$/.test(path)) return "script";
  return /\/(?:spool|crontabs|tabs)\//.test(path) ? "user" : "system";
}
