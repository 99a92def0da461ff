import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it, vi } from "vitest";
import { AF_NETLINK, AUDIT_TYPE, NETLINK_AUDIT } from "../../src/edge-agent/audit-socket.ts";
import { loadLibc, SOL_SOCKET } from "../../src/edge-agent/libc.ts";
import { removePinFolder } from "../../src/edge-agent/pinned-programs.ts";
import { openAuditControl } from "../support/audit-control.ts";
import { openLogStream } from "../support/log-stream.ts";
import { openNatsServer } from "../support/nats-server.ts";
import { openOwnSystemd, SYSTEMD } from "../support/own-systemd.ts";
import { capabilitiesOf, startDividedAgent } from "../support/privileged-agent.ts";
import { requireCapability } from "../support/require.ts";
import { hasBpf } from "../support/ring-sources.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { confined } from "../support/unit-file.ts";

const run = promisify(execFile);
const pathTo = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const unit = (name: string) => readFileSync(pathTo(`../../infra/systemd/${name}`), "utf8");
const TAKER = pathTo("../support/passed-audit-script.ts");
const SPEAKER = pathTo("../support/audit-speaker.ts");
const AUID = 70_124;
const SAID = 'op=PAM:session_open grantors=pam_unix acct="nobody" exe="/usr/sbin/sshd" ' +
  "hostname=? addr=? terminal=ssh res=success";
const SO_LOCK_FILTER = 44;
const libc = loadLibc();
/** Of the unit; ./setup makes it. */
const USER = "probity";
const CAP_AUDIT_READ = 1n << 37n;
const CAPABILITIES = ["CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"];
/** As systemd passes them: the pid stays over exec. */
const PASSING = [
  ...["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=audit exec "$@"', "sh"],
] as const;
const NODE_INSIDE = "/opt/probity/node_modules/.bin/node";
const TAKER_INSIDE = "/opt/probity/test/support/passed-audit-script.ts";
const BIND_CHECKOUT = `mkdir -p "$r/opt/probity"; mount --bind "${
  pathTo("../..")
}" "$r/opt/probity"`;
const HEARD = {
  ...{ passed: 3, heard: AUDIT_TYPE.USER_LOGIN, variables: [] },
  ...{ isClosedOnExec: true, isLocked: true },
};

const hasAudit = (() => {
  using control = openAuditControl();
  return control.wasEnabled !== undefined;
})();
const isReady = requireCapability(
  "audit",
  hasBpf && hasAudit,
  "it needs root, BPF and a kernel with audit",
);
const isSystemd = requireCapability("systemd", existsSync(SYSTEMD), "apt-get install systemd");
const RUNTIMES: Readonly<Record<string, readonly [string, ...string[]]>> = {
  node: [process.execPath],
  deno: [pathTo("../../node_modules/.bin/deno"), "run", "-q", "-P=agent"],
};

it.runIf(isReady)(
  "an agent that may open no audit socket hears by the one that it is passed, and nobody else has it",
  async () => {
    await using nats = await openNatsServer();
    await using log = await openLogStream(nats.url);
    await using folder = await openTemporaryFolder("audit-activation");
    const digest = createHash("sha256").update(folder.path).digest("hex").slice(0, 12);
    const pins = `/sys/fs/bpf/probity-${digest}`;
    using _pins = { [Symbol.dispose]: () => removePinFolder(pins) };
    mkdirSync(pins, { recursive: true, mode: 0o700 });
    await run("chown", [USER, pins, folder.path]);
    using control = openAuditControl();
    control.enable();
    using socket = netlink(NETLINK_AUDIT, 1);
    await using agent = await startDividedAgent({
      ...{ data: folder.path, natsUrl: nats.url, passed: [socket.fd] },
      runtime: [...PASSING, ...confined(USER, CAPABILITIES), process.execPath],
    });
    expect(capabilitiesOf(agent.privilegedPid, "Bnd") & CAP_AUDIT_READ).toBe(0n);
    const { hooks = [] } = agent.sources.find(({ name }) => name === "logins") ?? {};
    expect(hooks).toContainEqual({ name: "audit", state: "on" });
    const words = [SPEAKER, String(AUDIT_TYPE.USER_START), String(AUID), SAID];
    const { pid, session } = JSON.parse((await run(process.execPath, words)).stdout);
    const [login] = await log.waitFor(
      (line) => line.topic === "auth/login" && line["pid"] === pid,
      { count: 1, timeoutMs: 60_000 },
    );
    expect(login?.line).toMatchObject({ session, auid: AUID, detail: { source: "audit" } });
    const passed = readlinkSync(`/proc/${agent.pid}/fd/3`);
    expect(linksOf(agent.pid)).toContain(passed);
    expect(linksOf(agent.privilegedPid)).not.toContain(passed);
    expect(await agent.stop()).toBe(0);
  },
);

it.runIf(isReady && isSystemd)(
  "the units pass it: a service with all that they forbid hears, and the socket ends with it",
  async () => {
    using control = openAuditControl();
    control.enable();
    const service = unit("probity-agent.service")
      .replace(/^ExecStart=.*$/m, `ExecStart=${NODE_INSIDE} ${TAKER_INSIDE}`)
      .replace(/^ExecStartPre=.*$|^LoadCredential=.*$/gm, "")
      .replace("[Service]\n", "[Service]\nStandardOutput=file:/said\nRemainAfterExit=yes\n");
    await using systemd = await openOwnSystemd({
      "probity-agent.service": service,
      "probity-agent-audit.socket": unit("probity-agent-audit.socket"),
    }, { network: "host", prepare: BIND_CHECKOUT });
    const [program, ...before] = systemd.inside;
    const systemctl = (...words: string[]) => run(program, [...before, "systemctl", ...words]);
    await systemctl("start", "probity-agent");
    const said = (): string => readFileSync(join(systemd.root, "said"), "utf8");
    await vi.waitFor(() => expect(said()).toMatch(/^ready/), { timeout: 60_000, interval: 100 });
    control.tell(AUDIT_TYPE.USER_LOGIN, "op=login id=0 res=success");
    await vi.waitFor(() => expect(said()).toMatch(/\}$/), { timeout: 60_000, interval: 100 });
    expect(JSON.parse(said().slice(said().indexOf("{")))).toEqual(HEARD);
    const stateOf = async (name: string): Promise<string> =>
      (await systemctl("show", "--property=ActiveState", "--value", name)).stdout.trim();
    expect(await stateOf("probity-agent-audit.socket")).toBe("active");
    await systemctl("stop", "probity-agent");
    expect(await stateOf("probity-agent-audit.socket")).toBe("inactive");
  },
);

describe.runIf(isReady).each(Object.entries(RUNTIMES))("%s", (_name, runtime) => {
  const isThere = it.runIf(existsSync(runtime[0]));

  isThere("hears logins by the socket that it is passed", async () => {
    using control = openAuditControl();
    control.enable();
    using socket = netlink(NETLINK_AUDIT, 1);
    const onReady = () => control.tell(AUDIT_TYPE.USER_LOGIN, "op=login id=0 res=success");
    const taken = await take(runtime, { passed: [socket.fd], onReady });
    expect(taken).toEqual(HEARD);
    // Who comes after it finds its filter.
    expect(await take(runtime, { passed: [socket.fd], onReady })).toEqual(taken);
  });

  isThere(
    "takes no socket that is for another process, and refuses one that is not audit's",
    async () => {
      using socket = netlink(NETLINK_AUDIT, 1);
      using file = owned(openSync("/dev/null", "r"));
      using uevents = netlink(15, 1);
      using alone = netlink(NETLINK_AUDIT, 0);
      const refused = async (options: Omit<TakeOptions, "onReady">) => {
        const { refused } = await take(runtime, options);
        return refused;
      };
      expect(await take(runtime, { passed: [socket.fd], pid: "1" })).toEqual({});
      for (const { fd } of [file, uevents]) {
        expect(await refused({ passed: [fd] })).toMatch(/"audit" passed: it is no netlink socket/);
      }
      expect(await refused({ passed: [alone.fd] })).toMatch(/it is not in group 1 alone/);
      expect(await refused({ passed: [socket.fd, alone.fd] })).toMatch(/takes one, "audit"$/);
      expect(await refused({ passed: [socket.fd], names: "http" })).toBe(
        'Cannot use the sockets "http" that were passed: the agent takes one, "audit"',
      );
      libc.setsockopt_filter(socket.fd, Uint8Array.of(6, 0, 0, 0, 255, 255, 255, 255));
      libc.setsockopt(socket.fd, {
        ...{ level: SOL_SOCKET, name: SO_LOCK_FILTER, value: Uint8Array.of(1, 0, 0, 0) },
      });
      expect(await refused({ passed: [socket.fd] })).toMatch(/it has a filter of another version/);
    },
  );
});

function linksOf(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/fd`).map((name) => readlinkSync(`/proc/${pid}/fd/${name}`));
}

interface OwnDescriptor extends Disposable {
  readonly fd: number;
}

function owned(fd: number): OwnDescriptor {
  return { fd, [Symbol.dispose]: () => void libc.close(fd) };
}

/** `groups`: a set of them. */
function netlink(protocol: number, groups: number): OwnDescriptor {
  const fd = libc.socket(AF_NETLINK, 3, protocol);
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK);
  address.writeUInt32LE(groups, 8);
  expect(libc.bind(fd, address)).toBe(0);
  return owned(fd);
}

interface TakeOptions {
  readonly passed: readonly number[];
  /** Whom they are for; the process itself by default. */
  readonly pid?: string;
  readonly names?: string;
  readonly onReady?: () => void;
}

/** What the script says in a process that is started as systemd would. */
async function take(
  [program, ...words]: readonly [string, ...string[]],
  { passed, pid = "$$", names = passed.map(() => "audit").join(":"), onReady }: TakeOptions,
): Promise<Readonly<Record<string, unknown>>> {
  const variables = `LISTEN_PID=${pid} LISTEN_FDS=${passed.length} LISTEN_FDNAMES=${names}`;
  const child = spawn("sh", ["-c", `${variables} exec "$@"`, "sh", program, ...words, TAKER], {
    stdio: ["ignore", "pipe", "inherit", ...passed],
  });
  let said = "";
  for await (const text of child.stdout?.setEncoding("utf8") ?? []) {
    if (said === "" && String(text).startsWith("ready")) onReady?.();
    said += text;
  }
  return JSON.parse(said.slice(said.indexOf("{")));
}
