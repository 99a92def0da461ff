/** Records of wtmp and btmp as programs of this host write them: by `utmpdump -r`, of util-linux. */
import { spawnSync } from "node:child_process";

export interface WrittenLogin {
  /** 2 boot, 6 failure or getty, 7 login, 8 logout. */
  readonly type: number;
  readonly pid?: number;
  readonly tty?: string;
  readonly user?: string;
  readonly host?: string;
  readonly address?: string;
  /** ISO 8601 with six decimals. */
  readonly time: string;
}

export function utmpOf(logins: readonly WrittenLogin[]): Uint8Array {
  const text = logins.map(({ type, pid = 0, tty = "", user = "", host = "", address, time }) =>
    `[${type}] [${String(pid).padStart(5, "0")}] [${tty.slice(-4).padEnd(4)}] [${
      user.padEnd(8)
    }] ` +
    `[${tty.padEnd(12)}] [${host.padEnd(20)}] [${(address ?? "0.0.0.0").padEnd(15)}] ` +
    `[${time.replace(".", ",").replace("Z", "+00:00")}]\n`
  );
  const { status, stdout } = spawnSync("utmpdump", ["-r"], {
    input: text.join(""),
    env: { ...process.env, TZ: "UTC" },
  });
  if (status !== 0) throw new Error(`Cannot write records: utmpdump ended with ${status}`);
  return stdout;
}
