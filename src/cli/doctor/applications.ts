/**
 * What of `[applications]` listens now, or would: asked by connecting, and where nobody answers by listening for a moment.
 */
import { once } from "node:events";
import { connect, createServer, type NetConnectOpts } from "node:net";
import type { ApplicationSettings } from "../../edge-agent/sources/applications/application-settings.ts";
import type { HookStatus, SourceStatus } from "../../edge-agent/source.ts";

const ANSWER_LIMIT_MS = 1_000;

export async function applicationsStatus(settings: ApplicationSettings): Promise<SourceStatus> {
  const { listen, socket, syslog, health } = settings;
  const endpoints: readonly (readonly [string, NetConnectOpts | undefined])[] = [
    ["tcp", listen],
    ["unix", socket === undefined ? undefined : { path: socket }],
    ["syslog", syslog],
    ["health", health],
  ];
  const hooks: HookStatus[] = [];
  const said: string[] = [];
  for (const [kind, target] of endpoints) {
    if (target === undefined) continue;
    const name = `${kind} ${"path" in target ? target.path : `${target.host}:${target.port}`}`;
    if (await answers(target)) {
      hooks.push({ name, state: "on" });
      said.push(`${name} listens`);
      continue;
    }
    const fault = "path" in target ? undefined : await faultOfListening(target);
    hooks.push(fault === undefined ? { name, state: "on" } : { name, state: "off", reason: fault });
    said.push(fault === undefined ? `${name} is free for the agent` : `${name}: ${fault}`);
  }
  if (hooks.length === 0) {
    const remedy = "name a port or a socket in [applications], as docs/sources.md shows";
    return { state: "off", reason: "no address is configured", remedy };
  }
  if (hooks.some(({ state }) => state === "on")) {
    return { state: "on", how: said.join(", "), hooks };
  }
  return { state: "off", reason: said.join(", "), remedy: "name another address" };
}

async function answers(target: NetConnectOpts): Promise<boolean> {
  const socket = connect(target);
  try {
    return await new Promise<boolean>((resolve) => {
      socket.setTimeout(ANSWER_LIMIT_MS, () => resolve(false));
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}

/** Why nobody can listen there. */
async function faultOfListening(
  target: { readonly host?: string | undefined; readonly port: number },
): Promise<string | undefined> {
  const server = createServer();
  try {
    server.listen(target.port, target.host);
    await once(server, "listening");
    const closed = once(server, "close");
    server.close();
    await closed;
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
