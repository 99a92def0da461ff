/** The client's address, from whatever the server around the fetch handler hands over beside the request. */

/**
 * Node's adapter gives `incoming` with a socket, Deno's server a `remoteAddr` with a host name, Bun's a function
 * `requestIP`. Undefined when there is none, as in tests.
 */
export function remoteOf(environment: unknown, request: Request): string | undefined {
  const { incoming, remoteAddr, requestIP } = fieldsOf(environment);
  const byNode = fieldsOf(fieldsOf(incoming)["socket"])["remoteAddress"];
  if (typeof byNode === "string") return plainAddress(byNode);
  const byDeno = fieldsOf(remoteAddr)["hostname"];
  if (typeof byDeno === "string") return plainAddress(byDeno);
  if (typeof requestIP !== "function") return undefined;
  const byBun = fieldsOf(requestIP.call(environment, request))["address"];
  return typeof byBun === "string" ? plainAddress(byBun) : undefined;
}

/** An IPv4 address as it is written, not as a socket of both families shows it. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=[0-9.]+$)/, "");
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? Object.fromEntries(entriesOf(value)) : {};
}

/** Getters of a prototype count too: sockets keep their address there. */
function entriesOf(value: object): [string, unknown][] {
  return ["incoming", "socket", "remoteAddress", "remoteAddr", "hostname", "requestIP", "address"]
    .map((name) => [name, Reflect.get(value, name)]);
}
