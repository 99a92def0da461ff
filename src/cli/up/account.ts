/**
 * The system user that everything runs as when we are root, but for the process that keeps the agent's rights. Nothing
 * here changes the system: `./setup` makes the user.
 */
import { spawnSync } from "node:child_process";
import process from "node:process";

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

export const ACCOUNT_NAME = "probity";

/** The account to step down to, or undefined with the reason why there is none. */
export type StepDown =
  | { readonly account: Account; readonly warning: undefined }
  /** No warning: we are not root, so there is nothing to step down from. */
  | { readonly account: undefined; readonly warning: string | undefined };

/** Files and folders that the account must be able to use. */
export interface NeededPaths {
  readonly readable: readonly string[];
  readonly enterable: readonly string[];
}

/** Looks for the account and tries, as that account, whether it reaches what it needs. */
export function findStepDown(needed: NeededPaths, wanted: string = ACCOUNT_NAME): StepDown {
  if (process.getuid?.() !== 0) return { account: undefined, warning: undefined };
  const account = readAccount(wanted);
  const consequence = "so everything runs as root";
  if (account === undefined) {
    const remedy = wanted === ACCOUNT_NAME ? " (./setup makes it)" : "";
    const warning = `there is no user "${wanted}"${remedy}, ${consequence}`;
    return { account: undefined, warning };
  }
  const { error } = spawnSync("test", ["-d", "/"], {
    uid: account.uid,
    gid: account.gid,
    cwd: "/",
  });
  if (error !== undefined) {
    const warning = `this root may not become user "${wanted}", ${consequence}`;
    return { account: undefined, warning };
  }
  const blocked = [
    ...needed.readable.filter((path) => !canAs(account, ["-r", path])),
    ...needed.enterable.filter((path) => !canAs(account, ["-x", path])),
  ];
  if (blocked.length === 0) return { account, warning: undefined };
  const warning = `user "${wanted}" cannot reach ${JSON.stringify(blocked[0])}, ${consequence}`;
  return { account: undefined, warning };
}

function readAccount(wanted: string): Account | undefined {
  const { stdout, status } = spawnSync("getent", ["passwd", wanted], { encoding: "utf8" });
  const [name, , uid, gid] = stdout?.trim().split(":") ?? [];
  if (status !== 0 || name !== wanted) return undefined;
  return { name, uid: Number(uid), gid: Number(gid) };
}

function canAs({ uid, gid }: Account, test: readonly string[]): boolean {
  return spawnSync("test", [...test], { uid, gid, cwd: "/" }).status === 0;
}
