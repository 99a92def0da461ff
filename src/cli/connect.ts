/**
 * How a command reaches the service: which address, which token, and what a failure means for the exit code.
 *
 * Invariants: the data folder's own token goes to this machine only; another server gets a token only from a token file
 * that was named with it or the file that its context names; the token of a variable goes to the server of a variable
 * or to the data folder's own on this machine, never to one that the command line or a context names: it was set for
 * another.
 */
import { readFileSync } from "node:fs";
import { type Client, createClient } from "../client/client.ts";
import { ProblemError, UnreachableError } from "../client/problem.ts";
import type { GlobalSettings } from "./command.ts";
import { CommandError, EXIT, type ExitCode, usageError } from "./exit.ts";
import {
  contextNamed,
  contextsPath,
  readContexts,
  type ServerContext,
  type ServerContexts,
} from "./server-contexts.ts";
import { type DataFolder, dataFolderAt } from "./up/data-folder.ts";

export const DEFAULT_SERVER = "http://127.0.0.1:7333";

export interface Access {
  readonly url: string;
  readonly token: string | undefined;
  /** Why a token that a variable names is not sent; undefined when it is, or there is none. */
  readonly withheld?: string;
}

export type AccessOptions =
  & Pick<GlobalSettings, "server" | "data" | "tokenFile">
  & Partial<Pick<GlobalSettings, "context" | "isDataGiven" | "ofVariables">>;

/** Runs a command's work with a client; its failures become errors with the exit codes of the command line. */
export async function withClient(
  global: GlobalSettings,
  work: (client: Client) => Promise<ExitCode>,
): Promise<ExitCode> {
  const { url, token, withheld } = accessOf(global);
  const client = createClient({ url, ...(token === undefined ? {} : { token }) });
  try {
    return await work(client);
  } catch (error) {
    throw commandErrorOf(error, withheld);
  }
}

/**
 * Address and token that the options give, else a context, else the data folder. A data folder that was named is meant,
 * whatever context is in use.
 */
export function accessOf(
  options: AccessOptions,
  contexts: () => ServerContexts = () => readContexts(contextsPath()),
): Access {
  const { data, isDataGiven = false, tokenFile: tokenFileGiven, ofVariables = [] } = options;
  const { context: name, server: serverGiven } = namedServer(options);
  const mayUse = name !== undefined || (serverGiven === undefined && !isDataGiven);
  const known = mayUse ? contexts() : undefined;
  const wanted = name ?? known?.current;
  const context = wanted === undefined || known === undefined
    ? undefined
    : contextNamed(known, wanted);
  const folder = dataFolderAt(data);
  const server = serverGiven ?? context?.server;
  const url = server ?? readIfThere(folder.serverUrl) ?? DEFAULT_SERVER;
  const isOfVariable = tokenFileGiven !== undefined && ofVariables.includes("tokenFile");
  const isMeant = !isOfVariable || isServerOfVariable(options, { context, server, url });
  const tokenFile = (isMeant ? tokenFileGiven : undefined) ?? context?.tokenFile;
  const own = ownAccess(
    { url, isNamed: server !== undefined, isContext: context !== undefined },
    folder,
  );
  if (!isMeant && tokenFile === undefined) {
    const withheld =
      `the token of PROBITY_TOKEN_FILE is sent to the server of PROBITY_SERVER alone`;
    return { ...own, withheld };
  }
  if (tokenFile !== undefined) {
    const token = readIfThere(tokenFile);
    if (token === undefined) throw usageError(`Cannot read token file "${tokenFile}": not there`);
    return { url, token };
  }
  return own;
}

/** Whether a token of a variable was set for this server: one of a variable too, or the data folder's here. */
function isServerOfVariable(
  { ofVariables = [] }: AccessOptions,
  { context, server, url }: Pick<Access, "url"> & {
    readonly context: ServerContext | undefined;
    readonly server: string | undefined;
  },
): boolean {
  if (context !== undefined) return false;
  return server === undefined ? isThisMachine(url) : ofVariables.includes("server");
}

/** With the data folder's own token, where it may be sent. */
function ownAccess(
  { url, isNamed, isContext }: Pick<Access, "url"> & {
    readonly isNamed: boolean;
    readonly isContext: boolean;
  },
  folder: DataFolder,
): Access {
  // What a context names may be a tunnel: the folder's token is of its own service alone.
  if (isContext || isNamed && !isThisMachine(url)) return { url, token: undefined };
  return { url, token: readIfThere(folder.adminToken) };
}

/** What names the server: the command line before variables. Throws a usage error when both are named at one place. */
function namedServer(
  { context, server, ofVariables = [] }: AccessOptions,
): Pick<AccessOptions, "context" | "server"> {
  if (context === undefined || server === undefined) return { context, server };
  const isContextFlag = !ofVariables.includes("context");
  const isServerFlag = !ofVariables.includes("server");
  if (isContextFlag === isServerFlag) {
    throw usageError("Cannot use --context and --server together: both name a server");
  }
  return isContextFlag ? { context, server: undefined } : { context: undefined, server };
}

/** The error of the command line that a client's error stands for; others stay what they are. */
export function commandErrorOf(error: unknown, withheld?: string): unknown {
  if (error instanceof UnreachableError) {
    const hint = "start it with `probity up`, or say where it is with --data or --server";
    return new CommandError(EXIT.unreachable, `${error.message} (${hint})`, { cause: error });
  }
  if (!(error instanceof ProblemError)) return error;
  const { status, parameter, accepted } = error.problem;
  if (error.isNotAllowed) {
    const hint = [
      ...(withheld === undefined ? [] : [withheld]),
      ...(status === 403 && accepted !== undefined ? [`it needs ${accepted}`] : []),
      "give a token with --token-file, or --data where `probity up` runs",
    ].join("; ");
    return new CommandError(EXIT.unreachable, `${error.message} (${hint})`, { cause: error });
  }
  const about = parameter === undefined || error.message.includes(parameter)
    ? ""
    : `${parameter}: `;
  const form = accepted === undefined ? "" : `; accepted: ${accepted}`;
  return new CommandError(exitCodeOf(status), `${about}${error.message}${form}`, { cause: error });
}

function exitCodeOf(status: number): ExitCode {
  if (status === 503 || status === 429 || status === 409) return EXIT.unreachable;
  return status >= 400 && status < 500 ? EXIT.usage : EXIT.failed;
}

function isThisMachine(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.[0-9]+){3}$/.test(hostname);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new CommandError(EXIT.unreachable, `Cannot read "${path}": ${code}`, { cause });
  }
}
