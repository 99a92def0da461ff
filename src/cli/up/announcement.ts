/** What agent, roll-up and query service say on standard output once they are ready: one JSON object on a line. */
import "../schema-settings.ts";
import { type } from "arktype";

const sourceReport = type({
  name: "string",
  state: "'on'",
  how: "string",
}).or({ name: "string", state: "'off'", reason: "string", remedy: "string" });

const agentAnnouncement = type({
  command: "'agent'",
  agent: "string",
  host: "string",
  sources: sourceReport.array(),
});

const rollupAnnouncement = type({ command: "'rollup'" });

const serveAnnouncement = type({
  command: "'serve'",
  url: "string",
  /** The real address and port, in the form of `--listen`. */
  listen: "string",
});

/** A source of events: on and how, or off, why, and what would turn it on. */
export type SourceReport = typeof sourceReport.infer;
export type AgentAnnouncement = typeof agentAnnouncement.infer;
export type RollupAnnouncement = typeof rollupAnnouncement.infer;
export type ServeAnnouncement = typeof serveAnnouncement.infer;

export function parseAgentAnnouncement(value: unknown): AgentAnnouncement {
  return agentAnnouncement.assert(value);
}

export function parseRollupAnnouncement(value: unknown): RollupAnnouncement {
  return rollupAnnouncement.assert(value);
}

export function parseServeAnnouncement(value: unknown): ServeAnnouncement {
  return serveAnnouncement.assert(value);
}
