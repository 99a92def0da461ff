/** Mounted filesystems (proc(5), mountinfo), and events of those that differ. Pure. */
import type { AuditEvent } from "../../../../event/event.ts";
import type { Difference } from "../differential.ts";

/** One mount at a place: type, what is mounted, options. */
type Mounted = readonly [type: string, source: string, options: string];

/** Handles of namespaces, and places where something is mounted when it is asked for. */
const LEFT_OUT: ReadonlySet<string> = new Set(["nsfs", "autofs"]);

/** What is mounted by place, each a list as JSON text, the uppermost last. */
export function parseMountInfo(text: string): ReadonlyMap<string, string> {
  const mounts = new Map<string, Mounted[]>();
  for (const line of text.split("\n")) {
    const [, place, options, type, source] =
      /^[0-9]+ [0-9]+ [0-9]+:[0-9]+ \S+ (\S+) (\S+) .*?- (\S+) (\S*) /.exec(line) ?? [];
    if (place === undefined || options === undefined || type === undefined) continue;
    if (LEFT_OUT.has(type)) continue;
    const path = unescaped(place);
    const mounted: Mounted = [type, unescaped(source ?? ""), options];
    const others = mounts.get(path);
    if (others === undefined) mounts.set(path, [mounted]);
    else others.push(mounted);
  }
  return new Map([...mounts].map(([path, all]) => [path, JSON.stringify(all)]));
}

export function mountEvents(
  { key, before, now }: Difference,
  timeUs: number,
): readonly AuditEvent[] {
  const [old, current] = [listOf(before), listOf(now)];
  const how = current.length > old.length
    ? "mount"
    : current.length < old.length
    ? "unmount"
    : "remount";
  const [type = "", source = "", options = ""] = (how === "unmount" ? old : current).at(-1) ?? [];
  return [{
    timeUs,
    topic: "file/mount",
    severity: "info",
    outcome: "success",
    path: key,
    message: `${source === "" ? type : source} was ${how}ed ${
      how === "unmount" ? "from" : "at"
    } ${key}`,
    detail: { how, type, device: source, flags: options, noticed: true },
  }];
}

function listOf(text: string | undefined): readonly Mounted[] {
  return text === undefined ? [] : JSON.parse(text);
}

/** Blanks and the like are written as three octal digits. */
function unescaped(text: string): string {
  return text.replaceAll(
    /\\([0-3][0-7]{2})/g,
    (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
