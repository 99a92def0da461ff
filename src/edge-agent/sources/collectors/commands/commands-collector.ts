/**
 * The `commands` source: programs that the configuration names, by their schedules, and files that others drop.
 *
 * Invariant: a command that cannot be run, or is to run as someone that this agent cannot become, is told at each of its
 * times; the others run. However much they all say, it waits for room in the spool and takes none from other sources.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { type SourceStatus, WAITING_SPOOL_PART_MAX } from "../../../source.ts";
import type { Collection, Collector, CollectorContext, Memory } from "../collector.ts";
import { type DropFolderOptions, dropFolderStatus, readDropFolder } from "../drop/drop-folder.ts";
import { merged } from "../merged.ts";
import { runBySchedule } from "./command-loop.ts";
import type { CommandRule } from "./command-rule.ts";
import { faultOfProgram, findTools, type RunAs } from "./run-command.ts";

export interface CommandsCollectorOptions {
  readonly rules: readonly CommandRule[];
  /** Undefined: none is read. */
  readonly drop?: DropFolderOptions;
  /** Uid of this process, and the text of /etc/passwd. */
  readonly uid?: number;
  readonly passwd?: string;
}

/** As whom commands run that name nobody, when the agent is root: the first that there is. */
const ROOTLESS = ["probity", "nobody"];

export function createCommandsCollector(options: CommandsCollectorOptions): Collector {
  const { rules, drop, uid = process.getuid?.() ?? 0 } = options;
  const whom = (rule: CommandRule) =>
    runAsOf(rule, { uid, passwd: options.passwd ?? readFileSync("/etc/passwd", "utf8") });
  return {
    name: "commands",
    // Commands wait until they are read, and dropped files until they are taken.
    spoolPartMax: WAITING_SPOOL_PART_MAX,
    async probe(): Promise<SourceStatus> {
      const tools = rules.length === 0 ? {} : findTools();
      if (typeof tools === "string") {
        const remedy = "install util-linux (Debian: apt-get install util-linux)";
        return { state: "off", reason: `there is no program "${tools}"`, remedy };
      }
      const hooks = rules.map((rule) => {
        const runAs = whom(rule);
        const name = `command ${rule.name}`;
        const reason = typeof runAs === "object" && "reason" in runAs
          ? runAs.reason
          : faultOfProgram(rule);
        return reason === undefined
          ? { name, state: "on" as const }
          : { name, state: "off" as const, reason };
      });
      const dropped = drop === undefined ? [] : [await dropFolderStatus(drop)];
      const count = rules.length === 1 ? "1 command" : `${rules.length} commands`;
      const how = drop === undefined ? count : `${count}, files in ${drop.path}`;
      return { state: "on", how, hooks: [...hooks, ...dropped] };
    },
    async *collect(memory: Memory, context: CollectorContext, signal: AbortSignal) {
      const starts = rules.map((rule) => (ending: AbortSignal): AsyncIterable<Collection> =>
        runBySchedule({ rule, runAs: whom(rule) }, { memory, context }, ending)
      );
      const dropped = drop === undefined
        ? []
        : [(ending: AbortSignal) => readDropFolder(drop, { memory, context }, ending)];
      yield* merged([...starts, ...dropped], signal);
      await ended(signal);
    },
  };
}

/** Who a rule's command runs as here, or why it cannot. */
export function runAsOf(
  { user }: Pick<CommandRule, "user">,
  { uid, passwd }: { readonly uid: number; readonly passwd: string },
): RunAs | { readonly reason: string } {
  const accounts = new Map(
    passwd.split("\n").flatMap((line) => {
      const [name = "", , own = "", gid = ""] = line.split(":");
      const isAccount = /^[0-9]+$/.test(own) && /^[0-9]+$/.test(gid);
      return isAccount ? [[name, { uid: Number(own), gid: Number(gid) }] as const] : [];
    }),
  );
  const wanted = user === undefined ? undefined : accounts.get(user);
  if (user !== undefined && wanted === undefined) return { reason: `there is no user "${user}"` };
  if (wanted?.uid === 0) {
    return { reason: "no command runs as root: let cron or systemd run it and drop its output" };
  }
  if (uid !== 0) {
    if (wanted === undefined || wanted.uid === uid) return "same";
    return { reason: `the agent cannot become "${user}": it has no rights itself` };
  }
  const account = wanted ?? ROOTLESS.map((name) => accounts.get(name)).find((each) => each);
  return account ?? { reason: "the agent is root, and there is no user to run it as" };
}

/** With nothing to do the source is still there. */
async function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true })
  );
}
