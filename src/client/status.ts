/**
 * How the service fares, and what it says of itself.
 *
 * as: an object with the member that is asked for is taken for the answer; its members are what the service says
 */
import { objectWith } from "./answer.ts";
import { type Connection, jsonOf, request, type RequestOptions } from "./request.ts";

export interface ServiceReadiness {
  readonly ready: boolean;
  /** Those that are not ready. */
  readonly parts: readonly { readonly name: string; readonly reason: string }[];
}

export interface StatusClient {
  /** Resolves when the process works; throws when it does not answer. */
  health(options?: RequestOptions): Promise<void>;
  /** Whether every part is ready; needs no token. */
  readiness(options?: RequestOptions): Promise<ServiceReadiness>;
  /** Figures of the process in Prometheus' text form. */
  figures(options?: RequestOptions): Promise<string>;
  /** The description of the interface: an OpenAPI 3.1 document. */
  description(options?: RequestOptions): Promise<Readonly<Record<string, unknown>>>;
  /** The same for people, as HTML. */
  documentation(options?: RequestOptions): Promise<string>;
}

export function createStatus(connection: Connection): StatusClient {
  const textOf = async (path: string, accept: string, options?: RequestOptions): Promise<string> =>
    await (await request(connection, path, { ...options, headers: { accept } })).text();
  return {
    async health(options) {
      await jsonOf(await request(connection, "healthz", options));
    },
    async readiness(options) {
      const response = await request(connection, "readyz", { ...options, accepts: [503] });
      const value = objectWith("ready", await jsonOf(response)) as unknown as ServiceReadiness;
      return { ready: value.ready, parts: value.parts };
    },
    figures: (options) => textOf("metrics", "text/plain", options),
    async description(options) {
      return objectWith(
        "openapi",
        await jsonOf(await request(connection, "openapi.json", options)),
      );
    },
    documentation: (options) => textOf("docs", "text/html", options),
  };
}
