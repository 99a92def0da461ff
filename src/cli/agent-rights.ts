/**
 * Divides the agent before it does anything: a small process keeps the rights, this one goes on without any.
 *
 * Invariants: what cannot be divided runs as it was started, and says so when that is as root; the agent ends when the
 * process with the rights does, since it cannot start another: whoever started the agent starts it anew.
 */
import { realpathSync } from "node:fs";
import type { PrivilegedConnection } from "../edge-agent/privilege/connection.ts";
import type { ReadableFiles } from "../edge-agent/privilege/readable.ts";
import type { Log } from "../runtime/log.ts";
import type { FileRule } from "./config-structures.ts";
import { findStepDown } from "./up/account.ts";
import { type DataFolder, giveAgentFolder } from "./up/data-folder.ts";
import { writeCompiled } from "./compile-cache.ts";
import { pathsOfProgram } from "./up/role-process.ts";

/** How often it is looked whether the privileged process is there, in milliseconds. */
const GUARD_MS = 500;

export interface DivideOptions {
  readonly folder: DataFolder;
  readonly pinDirectory: string;
  /** Who to become when we are root. */
  readonly user: string;
  /** Files that this program reads again once it has become that user. */
  readonly readable: readonly string[];
  /** See `contentsOf`. */
  readonly contents: () => Promise<ReadableFiles>;
  readonly log: Log;
}

/** The connection to the privileged process; undefined when this process is not divided. */
export async function divideRights(
  options: DivideOptions,
): Promise<PrivilegedConnection | undefined> {
  const { folder, user, readable, contents, log } = options;
  if (process.platform !== "linux") return undefined;
  // Loaded here only: other commands do without the C library, and Deno lets them do without it.
  const { canSeparate, connectPrivileged, separate, takePassed } = await import(
    "../edge-agent/privilege/separation.ts"
  );
  const connection = connectPrivileged();
  const passedAudit = takePassed();
  if (connection !== undefined) return connection;
  if (!canSeparate()) return undefined;
  const leaving = { cache: folder.agentCache, onLeave: writeCompiled, passedAudit };
  if (process.getuid?.() !== 0) {
    return separate({ ...leaving, account: undefined, contents: await contents() });
  }
  const program = pathsOfProgram(folder);
  const needed = { ...program, readable: [...program.readable, ...readable] };
  const { account, warning } = findStepDown(needed, user);
  if (account === undefined) {
    log.warn(warning ?? "the agent runs as root");
    return undefined;
  }
  if (!giveAgentFolder(folder, account)) {
    log.warn("the data folder holds what is not Probity's, so the agent runs as root", {
      folder: folder.path,
    });
    return undefined;
  }
  await prepareKernelFolders(options, account);
  return separate({ ...leaving, account, contents: await contents() });
}

/** Makes the folders below the kernel's filesystems that only root can make. */
async function prepareKernelFolders(
  { pinDirectory, log }: Pick<DivideOptions, "pinDirectory" | "log">,
  account: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const { giveKernelFolder, putForeignFolderAside } = await import(
    "../edge-agent/give-kernel-folder.ts"
  );
  const { makePinFolder } = await import("../edge-agent/bpf-filesystem.ts");
  const { requireTraceFolder } = await import("../edge-agent/tracepoints.ts");
  try {
    requireTraceFolder();
    const aside = putForeignFolderAside(pinDirectory, account);
    if (aside !== undefined) {
      log.warn("another user had made what the agent's pins are kept in: it was put aside", {
        folder: pinDirectory,
        aside,
      });
    }
    makePinFolder(pinDirectory);
  } catch {
    return; // The sources that need them find out, and say it with a remedy.
  }
  giveKernelFolder(pinDirectory, account);
}

/**
 * The logs of logins, and folders that hold every file of the rules, or of those that hold without any, and what they
 * name below homes: its size does not depend on how many users there are, nor does it on who comes later.
 */
export async function contentsOf(
  rules: readonly FileRule[],
  libraries: readonly string[] = [],
): Promise<ReadableFiles> {
  const { LOGIN_LOGS } = await import(
    "../edge-agent/sources/collectors/logins/login-log-paths.ts"
  );
  const { configuredPolicies, DEFAULT_FILE_RULES } = await import(
    "../edge-agent/sources/file-integrity/configured-policies.ts"
  );
  const held = rules.length === 0 ? DEFAULT_FILE_RULES : rules;
  const { roots } = configuredPolicies(held, { homes: [] });
  const belowHomes = held.flatMap(({ paths }) => paths).filter((path) => path.startsWith("~/"))
    .map((path) => Buffer.from(path.slice(1), "utf8").toString("latin1"));
  const contents = [...roots, ...LOGIN_LOGS, ...libraries.flatMap(withTarget)];
  return {
    contents: [...new Set(contents)].filter((path) => path.startsWith("/")),
    belowHomes: [...new Set(belowHomes)],
  };
}

/** A library, and what it is a link to. */
function withTarget(path: string): readonly string[] {
  try {
    return [path, realpathSync(path)];
  } catch {
    return [path]; // It is not there: the agent says so.
  }
}

export interface Guard extends Disposable {
  /** Aborted when the privileged process has ended. */
  readonly signal: AbortSignal;
}

export function guardPrivileged(connection: PrivilegedConnection | undefined, log: Log): Guard {
  const ended = new AbortController();
  const look = (): void => {
    if (connection === undefined || connection.isAlive()) return;
    clearInterval(timer);
    log.error("the process with the agent's rights has ended: the agent ends, to be started again");
    ended.abort(new Error("Cannot go on: the process with the agent's rights has ended"));
  };
  const timer = setInterval(look, GUARD_MS);
  timer.unref();
  return { signal: ended.signal, [Symbol.dispose]: () => clearInterval(timer) };
}
