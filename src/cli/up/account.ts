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
  const tests = [
    ...needed.readable.map((path) => ["-r", path] as const),
    ...needed.enterable.map((path) => ["-x", path] as const),
  ];
  // All at once, since each process takes its time; one by one only to say which it is.
  const { error, status } = testAs(account, tests.flatMap((test) => ["-a", ...test]).slice(1));
  if (error !== undefined) {
    const warning = `this root may not become user "${wanted}", ${consequence}`;
    return { account: undefined, warning };
  }
  const blocked = status === 0
    ? undefined
    : tests.find((test) => testAs(account, test).status !== 0)?.[1];
  if (blocked === undefined) return { account, warning: undefined };
  const warning = `user "${wanted}" cannot reach ${JSON.stringify(blocked)}, ${consequence}`;
  return { account: undefined, warning };
}

function testAs({ uid, gid }: Account, words: readonly string[]) {
  return spawnSync("test", [...words], { uid, gid, cwd: "/" });
}

function readAccount(wanted: string): Account | undefined {
  const { stdout, status } = spawnSync("getent", ["passwd", wanted], { encoding: "utf8" });
  const [name, , uid, gid] = stdout?.trim().split(":") ?? [];
  if (status !== 0 || name !== wanted) return undefined;
  return { name, uid: Number(uid), gid: Number(gid) };
}
