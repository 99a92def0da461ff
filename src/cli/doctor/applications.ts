/**
 * What of `[applications]` listens now, or would: asked by connecting, and where nobody answers by listening for a moment.
 */
import { once } from "node:events";
import { connect, createServer, type NetConnectOpts } from "node:net";
import type { ApplicationSettings } from "../../edge-agent/sources/applications/application-settings.ts";
import type { HookStatus, SourceStatus } from "../../edge-agent/source.ts";

const ANSWER_LIMIT_MS = 1_000;
/** What an agent answers by the same words (docs/sources.md#answers). */
const HANDSHAKE = '{"probity":{"ack":true}}\n';

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
    const answer = await answerOf(target, kind === "tcp" || kind === "unix" ? HANDSHAKE : "");
    if (answer === "another's") {
      const reason = "another program than an agent listens there";
      hooks.push({ name, state: "off", reason });
      said.push(`${name}: ${reason}`);
      continue;
    }
    if (answer === "some") {
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

/** Whether somebody listens; `another's` if what says something to a handshake, or ends it, does so as no agent would. */
async function answerOf(
  target: NetConnectOpts,
  handshake: string,
): Promise<"none" | "some" | "another's"> {
  const socket = connect(target);
  let said = "";
  try {
    return await new Promise((resolve) => {
      let isConnected = false;
      // An agent whose spool is full reads nothing: who is silent may be one.
      socket.setTimeout(ANSWER_LIMIT_MS, () => resolve(isConnected ? "some" : "none"));
      socket.once("connect", () => {
        isConnected = true;
        if (handshake === "") resolve("some");
        else socket.write(handshake);
      });
      socket.on("data", (bytes) => {
        said += bytes.toString("latin1");
        if (said.length >= handshake.length || !handshake.startsWith(said)) {
          resolve(said.startsWith(handshake) ? "some" : "another's");
        }
      });
      socket.once("end", () => resolve("another's"));
      socket.once("error", () => resolve(isConnected ? "another's" : "none"));
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
