/**
 * Names of user ids, from /etc/passwd.
 *
 * Invariant: the file is looked at once a second at most and read again only when it changed; each change raises
 * {@link UserNames.version}, so that texts made from names can be made anew.
 */
import { readFileSync, statSync } from "node:fs";

const LOOK_EVERY_MS = 1000;

export interface UserNames {
  /** Goes up with each change of the file. */
  readonly version: number;
  nameOf(uid: number): string | undefined;
  /** Looks whether the file changed. */
  refresh(): void;
}

export interface UserNamesOptions {
  readonly path?: string;
  /** Milliseconds of a clock that does not go back. */
  readonly nowMs?: () => number;
}

export function createUserNames(options: UserNamesOptions = {}): UserNames {
  const { path = "/etc/passwd", nowMs = () => performance.now() } = options;
  let names = new Map<number, string>();
  let version = 0;
  let seen = "";
  let lookedMs = -Infinity;
  const refresh = (): void => {
    if (nowMs() - lookedMs < LOOK_EVERY_MS) return;
    lookedMs = nowMs();
    const stamp = stampOf(path);
    if (stamp === seen) return;
    seen = stamp;
    names = stamp === "" ? new Map() : parsePasswd(readText(path));
    version += 1;
  };
  refresh();
  return {
    get version() {
      return version;
    },
    nameOf: (uid) => names.get(uid),
    refresh,
  };
}

/** What changes when the file does; empty when there is none. */
function stampOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.ino}-${stat.size}-${stat.mtimeNs}-${stat.ctimeNs}`;
}

/** Empty when the file went away since it was looked at. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Names by uid; as with getpwuid, the first line of a uid counts. */
export function parsePasswd(text: string): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of text.split("\n")) {
    const [name, , uidText] = line.split(":");
    if (name === undefined || name === "" || uidText === undefined) continue;
    if (!/^[0-9]{1,10}$/.test(uidText)) continue;
    const uid = Number(uidText);
    if (!names.has(uid)) names.set(uid, name);
  }
  return names;
}
