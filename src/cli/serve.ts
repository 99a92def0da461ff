/** `serve`: answers over HTTP from log and archive until it is told to stop. */
import { join } from "node:path";
import { hostname } from "node:os";
import { createMetrics } from "../runtime/metrics.ts";
import { openStore } from "../storage/open-store.ts";
import { defineCommand } from "./command.ts";
import { EXIT } from "./exit.ts";
import { listenAddress, refuseTwoAddresses, refuseWithoutTls } from "./listen.ts";
import { natsAccessOf } from "./nats-access.ts";
import { AGENT_OPTIONS, NATS_OPTIONS, PORT_OPTION, ROLLUP_OPTIONS } from "./options.ts";
import { SERVER_OPTIONS, STORE_OPTIONS, SUPERVISED_VARIABLE } from "./options.ts";
import { versionOfPackage } from "./program.ts";
import { shardNames } from "./shards.ts";
import { storeOptionsOf } from "./store-options.ts";
import { dataFolderAt, removeNote, writeNote } from "./up/data-folder.ts";

/** Most JSON that the table of events not yet archived may hold, in bytes. */
const HOT_LIMIT_BYTES = 512 * 1024 * 1024;

export const serveCommand = defineCommand({
  name: "serve",
  summary: "answer over HTTP: events, live streams and SQL",
  examples: [
    ["probity serve --nats nats://log:4222 --store-url s3://audit/prod", "on 127.0.0.1:7333"],
    [
      "probity serve --listen 0.0.0.0:443 --server-tls-cert chain.pem --server-tls-key key.pem",
      "with TLS",
    ],
  ],
  options: {
    own: PORT_OPTION,
    server: SERVER_OPTIONS,
    nats: NATS_OPTIONS,
    store: STORE_OPTIONS,
    rollup: { shards: ROLLUP_OPTIONS.shards },
    agent: { host: AGENT_OPTIONS.host },
  },
  isDaemon: true,
  run: async ({ settings, structures, global, flags, environment, output, log, signal }) => {
    refuseTwoAddresses(flags);
    const folder = dataFolderAt(global.data);
    const { tlsCert: cert, tlsKey: key } = settings.server;
    refuseWithoutTls(settings);
    const metrics = createMetrics();
    const { openHttpServer } = await import("./http-server.ts");
    const { webSocketsOf } = await import("./web-socket.ts");
    const { oidcSettingsOf } = await import("./config-oidc.ts");
    const { sinkSettingsOf } = await import("./config-sinks.ts");
    const { openQueryService } = await import("../query/open-query.ts");
    await using store = await openStore({ ...storeOptionsOf(settings.store, folder), log });
    await using service = await openQueryService({
      store,
      nats: natsAccessOf(settings.nats, { folder, role: "query" }),
      shards: shardNames(settings.rollup.shards),
      cacheDirectory: join(folder.cache, "query"),
      hot: { limitBytes: HOT_LIMIT_BYTES },
      tokens: {
        adminTokenFile: global.tokenFile ?? folder.adminToken,
        oidc: oidcSettingsOf(structures.oidc),
      },
      sinks: sinkSettingsOf(structures.sinks),
      origins: settings.server.origins,
      requestsPerSecond: settings.server.requestsPerSecond,
      host: settings.agent.host ?? hostname(),
      producerDirectory: folder.spool("query"),
      version: versionOfPackage(),
      log,
      metrics,
    });
    await using server = await openHttpServer({
      fetch: service.fetch,
      webSockets: webSocketsOf(service.rpc),
      address: listenAddress(settings),
      tls: cert === undefined || key === undefined ? undefined : { cert, key, log },
    });
    const { url, listen } = server;
    if (server.tls !== undefined) {
      const help = "When the certificate in use ends, in seconds since 1970.";
      metrics.observed(
        "probity_tls_certificate_expiry_seconds",
        { help },
        () => (server.tls?.expiresMs ?? 0) / 1_000,
      );
    }
    // Under `up` the folder is not ours to write.
    if (environment[SUPERVISED_VARIABLE] !== "1") writeNote(folder.serverUrl, `${url}\n`);
    if (output.isForPeople) await output.write(`Listening on ${output.paint("bold", url)}\n`);
    else await output.json({ command: "serve", url, listen });
    await ended(signal);
    if (environment[SUPERVISED_VARIABLE] !== "1") removeNote(folder.serverUrl);
    // No new connections from here on, while the service ends its live streams.
    await Promise.all([server[Symbol.asyncDispose](), service[Symbol.asyncDispose]()]);
    return EXIT.ok;
  },
});

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
