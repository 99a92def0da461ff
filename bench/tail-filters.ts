/** The numbered events of `tail.ts`, the filter of each of its clients, and which events pass it. */
import type { AuditEvent } from "../src/event/event.ts";

const TOPICS = 500;
const USERS = 7;
const FOLDERS = 20;

export function eventOf(number: number, timeUs: number): AuditEvent {
  return {
    timeUs,
    topic: `app/bench/t${number % TOPICS}`,
    severity: "info",
    outcome: "success",
    pid: number,
    uid: number % USERS,
    user: `user${number % USERS}`,
    exe: "/usr/lib/bench/worker",
    cmdline: "/usr/lib/bench/worker --queue orders --batch 250",
    path: `/srv/data/${number % FOLDERS}/order-${number}.json`,
    message: `Order ${number} was written.`,
    detail: { order: number, items: number % 13, state: "written" },
  };
}

/** Parameters of one client's filter; none is that of another among 1,500. */
export function filterOf(client: number): Record<string, string> {
  const topic = `app/bench/t${client % TOPICS}`;
  switch (Math.floor(client / TOPICS) % 3) {
    case 0:
      return { topic };
    case 1:
      return { topic, uid: "!3" };
    default:
      return { topic, path: "/srv/data/1*" };
  }
}

export function passes(client: number, number: number): boolean {
  if (number % TOPICS !== client % TOPICS) return false;
  switch (Math.floor(client / TOPICS) % 3) {
    case 0:
      return true;
    case 1:
      return number % USERS !== 3;
    default:
      return String(number % FOLDERS).startsWith("1");
  }
}
