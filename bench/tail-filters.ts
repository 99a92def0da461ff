/** The numbered events of `tail.ts`, the filter of each of its clients, and which events pass it. */
import type { AuditEvent } from "../src/event/event.ts";

const TOPICS = 500;
const USERS = 7;
const FOLDERS = 20;

export function eventOf(number: number, timeUs: number): AuditEvent {
  return {
    timeUs,
    topic: `app/bench/t${number % TOPICS}`,
    severity: isSevere(number) ? "high" : "info",
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

/** Parameters of one client's filter; none is that of another among 1,500. Every third names no topic. */
export function filterOf(client: number): Record<string, string> {
  const topic = `app/bench/t${client % TOPICS}`;
  const path = `/srv/*${endOf(client)}`;
  switch (client % 9) {
    case 2:
      return { host: "ben*", path };
    case 5:
      return { user: `user${client % USERS},root`, path };
    case 8:
      return { severity: "high,critical", path };
    default:
      break;
  }
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
  const hasEnd = `/order-${number}.json`.endsWith(endOf(client));
  switch (client % 9) {
    case 2:
      return hasEnd;
    case 5:
      return hasEnd && number % USERS === client % USERS;
    case 8:
      return hasEnd && isSevere(number);
    default:
      break;
  }
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

function isSevere(number: number): boolean {
  return number % 3 === 0;
}

/** What a client without a topic wants paths to end with: one number in a thousand. */
function endOf(client: number): string {
  return `${String(client % 1_000).padStart(3, "0")}.json`;
}
