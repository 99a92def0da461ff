/** Where the query service listens: `--listen HOST:PORT`, or `--port N` for loopback. */
import { usageError } from "./exit.ts";
import type { Address } from "./option-type.ts";
import type { PORT_OPTION, SERVER_OPTIONS, Values } from "./options.ts";

export interface ListenSettings {
  readonly own: Values<typeof PORT_OPTION>;
  readonly server: Values<typeof SERVER_OPTIONS>;
}

export function listenAddress({ own, server }: ListenSettings): Address {
  return own.port === undefined ? server.listen : { host: "127.0.0.1", port: own.port };
}

/** The address in the form of `--listen`. */
export function listenText(settings: ListenSettings): string {
  const { host, port } = listenAddress(settings);
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Throws a usage error when both forms are given on the command line. */
export function refuseTwoAddresses(flags: ReadonlyMap<string, unknown>): void {
  if (!flags.has("port") || !flags.has("server.listen")) return;
  throw usageError("Cannot listen: --port and --listen are given, and only one of them may be");
}
