/** A systemd of a test's own: in namespaces, over an overlay of the root, with its own cgroups and units. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export const SYSTEMD = "/lib/systemd/systemd";
const START_LIMIT_MS = 30_000;

export interface OwnSystemd extends AsyncDisposable {
  /** Words that run a program where this systemd is the first process. */
  readonly inside: readonly [string, ...string[]];
  /** Its root. */
  readonly root: string;
}

export interface OwnSystemdOptions {
  /** Whether it shares the host's network: the kernel's audit is told there alone. */
  readonly network?: "own" | "host";
  /** Run by a shell before it starts; its root is `$r`. */
  readonly prepare?: string;
}

/** Units by name; none of the host's is started. */
export async function openOwnSystemd(
  units: Readonly<Record<string, string>>,
  { network = "own", prepare = "" }: OwnSystemdOptions = {},
): Promise<OwnSystemd> {
  const folder = await mkdtemp(join(tmpdir(), "probity-systemd-"));
  const spaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork"];
  if (network === "own") spaces.push("--net");
  const words = [...spaces, "--kill-child", "--propagation", "private", "sh", "-ec", BOOT];
  const child = spawn("unshare", [...words, "sh", folder], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", UNITS: unitScript(units), PREPARE: prepare },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const close = async (): Promise<void> => {
    const pid = firstProcessOf(child);
    if (pid !== undefined) process.kill(pid, "SIGKILL");
    if (child.exitCode === null && child.signalCode === null) {
      await new Promise((resolve) => child.once("exit", resolve));
    }
    await rmdir(folder);
  };
  try {
    const pid = await untilUp(child);
    const spacesOf = ["-m", "-p", "-n", "-i", "-u", "-C"];
    return {
      root: `/proc/${pid}/root`,
      inside: ["nsenter", "-t", String(pid), ...spacesOf, "--"],
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function unitScript(units: Readonly<Record<string, string>>): string {
  return Object.entries(units)
    .map(([name, text]) => `cat > "$units/${name}" <<'UNIT'\n${text}\nUNIT`).join("\n");
}

const BOOT = `
d=$1; mount -t tmpfs tmpfs "$d"; mkdir "$d/upper" "$d/work" "$d/root"; r="$d/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$d/upper,workdir=$d/work" "$r"
mount -t proc proc "$r/proc"; mount -t sysfs sysfs "$r/sys"
mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"; mount -t tmpfs tmpfs "$r/run"
mount -t tmpfs tmpfs "$r/tmp"; mount --rbind /dev "$r/dev"
units="$r/etc/systemd/system"; rm -rf "$units"/*.wants; mkdir -p "$units"
printf '[Unit]\\nDescription=probe\\n' > "$units/probe.target"
eval "$UNITS"; eval "$PREPARE"; unset UNITS PREPARE
mkdir "$r/old"; cd "$r"; pivot_root . old; cd /; umount -l /old
exec env -i container=probe PATH=/usr/sbin:/usr/bin:/sbin:/bin ${SYSTEMD} --system \\
  --unit=probe.target --log-target=null --show-status=no`;

function firstProcessOf({ pid }: ChildProcess): number | undefined {
  const path = `/proc/${pid}/task/${pid}/children`;
  const text = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
  return text === "" ? undefined : Number(text.split(" ")[0]);
}

/** Pid of a systemd that answers. */
async function untilUp(child: ChildProcess): Promise<number> {
  const untilMs = performance.now() + START_LIMIT_MS;
  while (performance.now() < untilMs && child.exitCode === null) {
    const pid = firstProcessOf(child);
    if (pid !== undefined && existsSync(`/proc/${pid}/root/run/systemd/private`)) return pid;
    await delay(50);
  }
  throw new Error("Cannot start a systemd: it does not answer");
}
