/**
 * apt's history (/var/log/apt/history.log): which command changed which packages, and for whom. Pure.
 *
 * Invariant: entries of another shape are passed over; nothing throws.
 */
import { localTimeUs } from "./dpkg-log.ts";

export interface AptRun {
  readonly fromUs: number;
  /** Infinity while it runs. */
  readonly toUs: number;
  readonly command: string | undefined;
  /** Who asked for it, by sudo or PolicyKit, as apt says. */
  readonly user: string | undefined;
  readonly uid: number | undefined;
  /** Keys of packages, as in `installed.ts`; `all` packages are named with the host's own architecture. */
  readonly names: ReadonlySet<string>;
}

/** Of the end of the history, at most so much is read. */
export const HISTORY_BYTES_MAX = 1024 * 1024;
/** Times are whole seconds, of two programs. */
const TOLERANCE_US = 2_000_000;
const COMMAND_CHARACTERS_MAX = 4096;

export function parseAptHistory(text: string): readonly AptRun[] {
  return text.split(/\n{2,}/).flatMap((entry): readonly AptRun[] => {
    const fields = new Map(
      entry.split("\n").flatMap((line) => {
        const [, name, value] = /^([A-Z][A-Za-z-]*): ?(.*)$/.exec(line) ?? [];
        return name === undefined ? [] : [[name, value ?? ""] as const];
      }),
    );
    const fromUs = timeOf(fields.get("Start-Date"));
    if (fromUs === undefined) return [];
    const [, user, uid] = /^(\S+) \(([0-9]{1,10})\)$/.exec(fields.get("Requested-By") ?? "") ?? [];
    return [{
      fromUs,
      toUs: timeOf(fields.get("End-Date")) ?? Infinity,
      command: fields.get("Commandline")?.slice(0, COMMAND_CHARACTERS_MAX),
      user,
      uid: uid === undefined ? undefined : Number(uid),
      names: new Set(
        ["Install", "Upgrade", "Downgrade", "Reinstall", "Remove", "Purge"].flatMap((action) =>
          [...(fields.get(action) ?? "").matchAll(/(?:^|, )([A-Za-z0-9+._-]+:[a-z0-9-]+) \(/g)]
            .map(([, name = ""]) => name)
        ),
      ),
    }];
  });
}

/** The run that changed a package at a time. */
export function aptRunOf(
  runs: readonly AptRun[],
  { name, timeUs }: { readonly name: string; readonly timeUs: number },
): AptRun | undefined {
  return runs.findLast(({ fromUs, toUs, names }) =>
    fromUs - TOLERANCE_US <= timeUs && timeUs <= toUs + TOLERANCE_US &&
    [...names].some((each) => each.slice(0, each.lastIndexOf(":")) === name)
  );
}

function timeOf(text = ""): number | undefined {
  const parts = /^([0-9]{4})-([0-9]{2})-([0-9]{2})  ?([0-9]{2}):([0-9]{2}):([0-9]{2})$/.exec(text);
  return parts === null ? undefined : localTimeUs(parts.slice(1).map(Number));
}
