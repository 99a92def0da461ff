/**
 * The data folder: where each part lies, and which user may read it. Nothing else spells its names.
 *
 * Invariant: secrets have mode 0600 and belong to the one user who needs them. In the data folder itself another user
 * may make files, since the agent does, but neither remove nor replace those of root (sticky); no link of that user's
 * is followed.
 */
import { randomBytes } from "node:crypto";
import { chownSync, existsSync, lchownSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { makeFolders } from "../../runtime/folders.ts";
import { ensureAgentName } from "../../producer/spool-identity.ts";
import { CommandError, EXIT } from "../exit.ts";
import type { Account } from "./account.ts";
import { type FolderRights, giveFile, isOwnLink, setFolderRights } from "./exposed-paths.ts";

export interface DataFolder {
  readonly path: string;
  /** The administrator's token, alone in the file. */
  readonly adminToken: string;
  /** URL of the query service that runs on this folder. */
  readonly serverUrl: string;
  readonly lock: string;
  readonly bucket: string;
  readonly bucketUrl: string;
  readonly cache: string;
  /** Caches of the agent, which may be another user than the rest. */
  readonly agentCache: string;
  readonly broker: BrokerFolder;
  /** How far files were imported. */
  readonly imports: string;
  /** Spool of a process that owns a producer. */
  spool(role: Role): string;
}

export interface BrokerFolder {
  readonly path: string;
  readonly config: string;
  /** URL of the broker that `up` runs. */
  readonly url: string;
  readonly store: string;
  readonly run: string;
  credentials(role: Role): string;
}

/** Processes that `up` runs. */
export type ProcessRole = "agent" | "rollup" | "query";
/** Who uses the broker: those, and what people run beside them. */
export type Role = ProcessRole | "import";
export const ROLES: readonly Role[] = ["agent", "rollup", "query", "import"];

/** Names of everything below a data folder; touches nothing. */
export function dataFolderAt(data: string): DataFolder {
  const path = resolve(data);
  const nats = join(path, "nats");
  return {
    path,
    adminToken: join(path, "admin.token"),
    serverUrl: join(path, "server.url"),
    lock: join(path, "up.lock"),
    bucket: join(path, "bucket"),
    bucketUrl: pathToFileURL(join(path, "bucket")).href,
    cache: join(path, "cache"),
    agentCache: join(path, "agent-cache"),
    broker: {
      path: nats,
      config: join(nats, "server.conf"),
      url: join(nats, "url"),
      store: join(nats, "store"),
      run: join(nats, "run"),
      credentials: (role) => join(nats, `${role}.nk`),
    },
    imports: join(path, "spool", "imported"),
    spool: (role) => join(path, "spool", role),
  };
}

/** Makes the data folder itself, as far as it is missing. */
export function makeDataFolder({ path }: DataFolder): void {
  try {
    makeFolders(path, 0o700);
  } catch (cause) {
    throw unusable(path, cause);
  }
}

/** Makes the folders that are missing and gives those of other processes to `account`. */
export function prepareDataFolder(folder: DataFolder, account: Account | undefined): void {
  const { path, broker } = folder;
  const ownOnly = [
    folder.bucket,
    folder.cache,
    broker.store,
    broker.run,
    folder.spool("agent"),
    folder.spool("rollup"),
    folder.spool("query"),
  ];
  try {
    const mode = account === undefined ? 0o700 : 0o710;
    makeFolders(path, 0o700);
    // A link to the folder itself is made by whoever starts this, beside it.
    const actual = isOwnLink(path) ? realpathSync(path) : path;
    setFolderRights(actual, { mode: account === undefined ? 0o700 : 0o1770, group: account?.gid });
    for (const shared of [broker.path, join(path, "spool")]) {
      makeFolder(shared, { mode, group: account?.gid });
    }
    for (const own of ownOnly) {
      makeFolder(own, { mode: 0o700, group: undefined });
      giveTo(own, account);
    }
  } catch (cause) {
    throw unusable(path, cause);
  }
}

/**
 * Gives the account what an agent has in its data folder, so that the agent can go on as that account. False when it is
 * not a folder of Probity's: then nothing is touched.
 */
export function giveAgentFolder(folder: DataFolder, account: Account): boolean {
  const { path, broker } = folder;
  try {
    if (existsSync(broker.path)) {
      prepareDataFolder(folder, account);
      const credentials = broker.credentials("agent");
      if (existsSync(credentials)) lchownSync(credentials, account.uid, account.gid);
    } else {
      makeFolders(path, 0o700);
      if (!readdirSync(path).every((name) => name === "spool" || isAgentFile(name))) return false;
      giveTo(path, account);
    }
    const own = readdirSync(path).filter(isAgentFile).map((name) => join(path, name));
    giveAll([...own, folder.spool("agent")].filter((each) => existsSync(each)), account);
    return true;
  } catch (cause) {
    throw unusable(path, cause);
  }
}

/** Files that the agent keeps beside its spool. */
function isAgentFile(name: string): boolean {
  return /^(agent([.-]|$)|redaction\.key|integrity\.canary$)/.test(name);
}

function unusable(path: string, cause: unknown): CommandError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new CommandError(EXIT.failed, `Cannot use data folder "${path}": ${reason}`, { cause });
}

/** Writes a secret whole, readable by `owner` alone. */
export function writeSecret(path: string, text: string, owner: Account | undefined): void {
  const temporary = `${path}.${randomBytes(4).toString("hex")}`;
  writeFileSync(temporary, text, { mode: 0o600, flag: "wx" });
  if (owner !== undefined) chownSync(temporary, owner.uid, owner.gid);
  renameSync(temporary, path);
}

/** Writes a text whole that every user of the data folder may read. */
export function writeNote(path: string, text: string): void {
  const temporary = `${path}.${randomBytes(4).toString("hex")}`;
  writeFileSync(temporary, text, { mode: 0o644, flag: "wx" });
  renameSync(temporary, path);
}

/** The text of a file without its last line break; undefined when there is none. */
export function readNote(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
}

export function removeNote(path: string): void {
  rmSync(path, { force: true });
}

/** Makes the spool of a role and returns the name of its agent, which the broker has to know. */
export async function ensureSpool(
  folder: DataFolder,
  { role, owner }: { readonly role: Role; readonly owner: Account | undefined },
): Promise<string> {
  const agent = await ensureAgentName(folder.spool(role));
  if (owner !== undefined) giveAll([folder.spool(role)], owner);
  return agent;
}

/** The administrator's token: made at the first start, 256 bits, mode 0600 and owned by the one who checks it. */
export function ensureAdminToken(folder: DataFolder, owner: Account | undefined): void {
  if (!existsSync(folder.adminToken)) {
    writeSecret(folder.adminToken, randomBytes(32).toString("base64url"), owner);
  } else if (owner !== undefined) {
    try {
      giveFile(folder.adminToken, owner);
    } catch (cause) {
      throw unusable(folder.path, cause);
    }
  }
}

function makeFolder(path: string, rights: FolderRights): void {
  makeFolders(path, rights.mode);
  setFolderRights(path, rights);
}

/** Hands a folder over with all it holds, when it belongs to someone else. */
function giveTo(path: string, account: Account | undefined): void {
  if (account !== undefined && lstatSync(path).uid !== account.uid) giveAll([path], account);
}

function giveAll(paths: readonly string[], { name, uid, gid }: Account): void {
  if (paths.length === 0) return;
  const words = ["-R", "-h", `${uid}:${gid}`, "--", ...paths];
  const { status, stderr } = spawnSync("chown", words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot give "${paths[0]}" to "${name}": ${stderr?.trim()}`);
}
