/** `package/…` events of versions that came and went. Pure. */
import type { AuditEvent } from "../../../../event/event.ts";
import { splitKey } from "./installed.ts";

export type Manager = "dpkg" | "rpm" | "apk";

export interface PackageChange {
  readonly manager: Manager;
  /** As in `installed.ts`. */
  readonly key: string;
  /** Versions, joined by spaces; undefined: none. */
  readonly before: string | undefined;
  readonly now: string | undefined;
}

/** What is known beside. */
export interface ChangeCircumstances {
  readonly timeUs: number;
  /** Whether the time is when it was noticed, at the latest, and not when it happened. */
  readonly isNoticed: boolean;
  readonly user?: string | undefined;
  readonly uid?: number | undefined;
  readonly command?: string | undefined;
}

/** Versions that take each other's place are updates; others came or went. */
export function packageEvents(
  { manager, key, before, now }: PackageChange,
  circumstancesOf: (version: string | undefined) => ChangeCircumstances,
): readonly AuditEvent[] {
  const [old, current] = [versionsOf(before), versionsOf(now)];
  const came = current.filter((version) => !old.includes(version));
  const went = old.filter((version) => !current.includes(version));
  const count = Math.max(came.length, went.length);
  return Array.from({ length: count }, (_, at): AuditEvent => {
    const [version, oldVersion] = [came[at], went[at]];
    const { name, arch } = splitKey(key);
    const { timeUs, isNoticed, user, uid, command } = circumstancesOf(version);
    const what = version === undefined ? "remove" : oldVersion === undefined ? "install" : "update";
    return {
      timeUs,
      topic: `package/${what}`,
      severity: "info",
      outcome: "success",
      ...(user === undefined ? {} : { user }),
      ...(uid === undefined ? {} : { uid }),
      message: sentence({ name, version, oldVersion, manager, user }),
      detail: {
        source: manager,
        name,
        arch,
        ...(version === undefined ? {} : { version }),
        ...(oldVersion === undefined ? {} : { old_version: oldVersion }),
        ...(command === undefined ? {} : { command }),
        ...(isNoticed ? { noticed: true } : {}),
      },
    };
  });
}

function versionsOf(text: string | undefined): readonly string[] {
  return text === undefined || text === "" ? [] : text.split(" ");
}

function sentence({ name, version, oldVersion, manager, user }: {
  readonly name: string;
  readonly version: string | undefined;
  readonly oldVersion: string | undefined;
  readonly manager: string;
  readonly user: string | undefined;
}): string {
  const by = user === undefined ? manager : `${manager} for ${user}`;
  if (version === undefined) return `${by} removed ${name} ${oldVersion ?? ""}`.trim();
  if (oldVersion === undefined) return `${by} installed ${name} ${version}`;
  return `${by} updated ${name} from ${oldVersion} to ${version}`;
}
