/**
 * The `services` source: systemd's services, sockets, timers and paths: what starts, stops, fails, is restarted, enabled
 * and disabled.
 *
 * Invariants: systemd is asked, never changed; an answer that is not whole changes nothing. What a unit did between two
 * looks is told as one change by the id that systemd gives each start.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { readBootId } from "../../../process-identity.ts";
import type { SourceStatus } from "../../../source.ts";
import type { Collection, Collector, CollectorContext, Memory } from "../collector.ts";
import { atIntervals, compare } from "../differential.ts";
import { unitEvents } from "./unit-events.ts";
import { stampOfUnitFolders } from "./unit-folders.ts";
import {
  decodeState,
  encodeState,
  LIST_WORDS,
  parseShow,
  parseUnitFiles,
  SHOW_WORDS,
  statesOf,
  SystemctlError,
} from "./unit-state.ts";

/** How often systemd is asked. */
export const UNITS_INTERVAL_MS = 30_000;
const ANSWER_LIMIT_MS = 20_000;
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;
const PREFIX = "unit:";
const BOOT = "boot";

export interface UnitsCollectorOptions {
  readonly intervalMs?: number;
  /** Folder that stands for `/`, where systemd's units are. */
  readonly root?: string;
  /** Program and first words that are systemctl. */
  readonly systemctl?: readonly [string, ...string[]];
}

export function createUnitsCollector(options: UnitsCollectorOptions = {}): Collector {
  const { intervalMs = UNITS_INTERVAL_MS, systemctl = ["systemctl"], root = "/" } = options;
  const [program, ...first] = systemctl;
  const ask = async (words: readonly string[], signal: AbortSignal): Promise<string> => {
    try {
      const { stdout } = await promisify(execFile)(program, [...first, ...words], {
        maxBuffer: ANSWER_BYTES_MAX,
        timeout: ANSWER_LIMIT_MS,
        signal,
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", SYSTEMD_COLORS: "0" },
      });
      return stdout;
    } catch (cause) {
      signal.throwIfAborted();
      throw new SystemctlError(`Cannot ask systemd: ${reasonOf(cause)}`, { cause });
    }
  };
  return {
    name: "services",
    async probe(): Promise<SourceStatus> {
      try {
        const units = parseShow(await ask(SHOW_WORDS, new AbortController().signal));
        return { state: "on", how: `systemd, ${units.size} units` };
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        return {
          state: "off",
          reason,
          remedy: "run the agent on a host with systemd and its bus (Debian: dbus)",
        };
      }
    },
    async *collect(memory, context, signal) {
      let isTold = false;
      let [files, stamp]: [ReturnType<typeof parseUnitFiles>, string | undefined] = [
        new Map(),
        undefined,
      ];
      for await (const _ of atIntervals(context.clock, intervalMs, signal)) {
        try {
          const loaded = parseShow(await ask(SHOW_WORDS, signal));
          const now = await stampOfUnitFolders(root);
          if (now !== stamp) files = parseUnitFiles(await ask(LIST_WORDS, signal));
          stamp = now;
          yield* lookAt({ loaded, files }, memory, context);
          isTold = false;
        } catch (error) {
          if (signal.aborted) return;
          if (!(error instanceof SystemctlError)) throw error;
          if (!isTold) context.lost({ class: "unreadable", count: null, reason: error.message });
          isTold = true;
        }
      }
    },
  };
}

async function* lookAt(
  { loaded, files }: {
    readonly loaded: ReturnType<typeof parseShow>;
    readonly files: ReturnType<typeof parseUnitFiles>;
  },
  memory: Memory,
  { clock }: CollectorContext,
): AsyncGenerator<Collection> {
  const boot = readBootId();
  const isOtherBoot = memory.get(BOOT) !== boot;
  const states = statesOf(loaded, files);
  const snapshot = new Map([...states].map(([name, state]) => [name, encodeState(state)] as const));
  yield* compare({
    memory,
    prefix: PREFIX,
    snapshot,
    tell: ({ key: name, before, now }) =>
      unitEvents({
        name,
        before: before === undefined ? undefined : decodeState(before),
        now: now === undefined ? undefined : decodeState(now),
        changedUs: loaded.get(name)?.changedUs,
        nowUs: clock.nowUs(),
        isOtherBoot,
      }),
  });
  if (isOtherBoot) yield { events: [], put: new Map([[BOOT, boot]]) };
}

/** What systemctl said, or what became of it. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const said = "stderr" in cause ? String(cause.stderr).trim().split("\n")[0] ?? "" : "";
  if ("code" in cause && cause.code === "ENOENT") return "there is no systemctl";
  return said === "" ? cause.message.split("\n")[0] ?? "" : said;
}
