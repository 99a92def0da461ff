/**
 * Ports of loopback for servers that others start, or that are started again at the same port.
 *
 * They lie below those that the kernel gives to who connects: a server that is away for a moment would otherwise find
 * its port taken by another test's connection, or even by a client's own that looks for the server there.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

const LOWEST = 15_000;
const TRIES_MAX = 100;

/** One that nobody listens at now. */
export async function freePort(): Promise<number> {
  const [first = ""] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split("\t");
  const end = Math.max(Number(first), LOWEST + 1_000);
  for (let tried = 0; tried < TRIES_MAX; tried++) {
    const port = LOWEST + Math.floor(Math.random() * (end - LOWEST));
    if (await isFree(port)) return port;
  }
  throw new Error(`Cannot find a free port: none of ${TRIES_MAX} was`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return false; // somebody listens
  }
  server.close();
  await once(server, "close");
  return true;
}
