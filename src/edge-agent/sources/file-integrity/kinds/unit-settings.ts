/**
 * Settings of systemd's unit files (systemd.syntax(7)), drop-ins included: each is named by unit, section and key; the
 * values of a repeated key are a list, which an empty value empties.
 */
import type { Statement } from "./statements.ts";

/** Types of units; drop-ins stand in a folder of the unit's name and `.d`. */
const DROP_IN =
  /([^/]+\.(?:service|socket|timer|mount|automount|path|target|slice|scope|swap|device|network|netdev|link))\.d\/[^/]+$/;

/** The unit that a file belongs to. */
export function unitOf(path: string): string {
  return DROP_IN.exec(path)?.[1] ?? path.slice(path.lastIndexOf("/") + 1);
}

export function unitStatements(text: string, path: string): Statement[] {
  const unit = unitOf(path);
  const statements: Statement[] = [];
  let section = "";
  for (const line of logicalLines(text)) {
    const header = /^\[([^\]]*)\]$/.exec(line);
    if (header !== null) {
      section = header[1] ?? "";
      continue;
    }
    const equals = line.indexOf("=");
    if (equals <= 0 || section === "") {
      statements.push({ entity: "line", who: unit, text: line });
    } else {
      const [name, text] = [line.slice(0, equals).trimEnd(), line.slice(equals + 1).trimStart()];
      statements.push({ entity: "unit", who: `${unit} [${section}]`, name, text });
    }
  }
  return statements;
}

/** Lines without comments; one that ends in a backslash goes on behind comments, too. */
function logicalLines(text: string): string[] {
  const lines: string[] = [];
  let open: string[] = [];
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (/^[#;]/.test(line)) continue;
    const isContinued = line.endsWith("\\");
    open.push(isContinued ? line.slice(0, -1).trimEnd() : line);
    if (isContinued) continue;
    const whole = open.join(" ").trim();
    if (whole !== "") lines.push(whole);
    open = [];
  }
  const rest = open.join(" ").trim();
  return rest === "" ? lines : [...lines, rest];
}
