import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { AuditEvent } from "../../../../src/event/event.ts";
import {
  createHostCollector,
} from "../../../../src/edge-agent/sources/collectors/host/host-collector.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { testLog } from "../../../support/ring-sources.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";
import {
  openCollectorState,
} from "../../../../src/edge-agent/sources/collectors/collector-state.ts";
import { requireListedDetail } from "../../../support/listed-detail.ts";

const HEADING =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";
const NO_ONE = "00000000:0000";

function socketLine(local: string, state: string, uid: number): string {
  return `   0: ${local} ${NO_ONE} ${state} 00000000:00000000 00:00000000 00000000 ${uid} 0 123 1\n`;
}

const SSH = socketLine("00000000:0016", "0A", 0);
const OPEN = socketLine("00000000:0016", "01", 0);
const DOOR = socketLine("0100007F:1F90", "0A", 1000);
const ASKING = socketLine("00000000:C000", "07", 1000);
const TIME = socketLine("00000000:007B", "07", 2);
const SIX = socketLine("00000000000000000000000000000000:0050", "0A", 33);

it("ports that somebody began to listen on while no agent was there are told once", async () => {
  await using folder = await openTemporaryFolder("ports");
  const root = join(folder.path, "root");
  mkdirSync(join(root, "proc/net"), { recursive: true });
  const write = (tcp: string, { udp = "", tcp6 = "" } = {}): void => {
    const texts = { tcp, udp, tcp6, udp6: "" };
    for (const [name, text] of Object.entries(texts)) {
      writeFileSync(join(root, "proc/net", name), HEADING + text);
    }
  };
  /** What an agent tells that looks once, and once more after a change. */
  const look = async (portsToldBy: "network" | "nobody", change: () => void = () => undefined) => {
    using state = openCollectorState(join(folder.path, "agent-host.db"));
    const stopping = new AbortController();
    let looks = 0;
    const sleep = (): Promise<void> => {
      looks += 1;
      if (looks === 1) change();
      else stopping.abort();
      return Promise.resolve();
    };
    const context = { clock: { ...systemClock, sleep }, log: testLog, lost: () => undefined };
    const told: AuditEvent[] = [];
    const collector = createHostCollector({ root, portsToldBy });
    for await (const each of collector.collect(state.memory, context, stopping.signal)) {
      state.commit(each);
      told.push(...each.events);
    }
    for (const event of told) requireListedDetail({ ...event });
    return told.map(({ topic, uid, src_ip, src_port, protocol }) =>
      `${topic} ${uid} ${protocol} ${src_ip} ${src_port}`
    );
  };
  write(SSH);
  expect(await look("network", () => write(SSH + DOOR))).toEqual([]);
  write(SSH + OPEN, { udp: ASKING + TIME, tcp6: SIX });
  expect(await look("network", () => write(SSH + DOOR))).toEqual([
    "network/listen 33 tcp :: 80",
    "network/listen 2 udp 0.0.0.0 123",
    "network/close 1000 tcp 127.0.0.1 8080",
  ]);
  // Nobody sees it when it happens: every look tells.
  expect(await look("nobody", () => write(SSH))).toEqual([
    "network/close 1000 tcp 127.0.0.1 8080",
  ]);
});
