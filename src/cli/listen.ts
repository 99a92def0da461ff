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

/**
 * Throws a usage error when what is told of TLS cannot be meant: half a pair of files, or an address that other machines
 * reach without any.
 */
export function refuseWithoutTls(settings: ListenSettings): void {
  const { tlsCert, tlsKey, plain } = settings.server;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw usageError("Cannot use TLS: [server] tls_cert and tls_key are wanted together");
  }
  if (tlsCert !== undefined || plain || isLoopback(listenAddress(settings).host)) return;
  throw usageError(
    `Cannot listen on ${listenText(settings)} without TLS: tokens and events could be read on ` +
      `the way; give --server-tls-cert and --server-tls-key, or --server-plain where a proxy ` +
      `in front has TLS`,
  );
}

/** Whether only this machine reaches an address. A name may lead anywhere, but for one. */
function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** Throws a usage error when both forms are given on the command line. */
export function refuseTwoAddresses(flags: ReadonlyMap<string, unknown>): void {
  if (!flags.has("port") || !flags.has("server.listen")) return;
  throw usageError("Cannot listen: --port and --listen are given, and only one of them may be");
}
