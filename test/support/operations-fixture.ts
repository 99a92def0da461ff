/** What every operation of the interface is called on: a service over known events, as a function and on a port. */
import { type HttpServer, openHttpServer } from "../../src/cli/http-server.ts";
import { webSocketsOf } from "../../src/cli/web-socket.ts";
import { openQueryFixture, type QueryFixture, QUIET_SINK } from "./query-fixture.ts";

/** Of which one event tells each kind of thing that is asked for by name. */
export const PROCESS = "8975aece-17-100";

export interface OperationsFixture extends AsyncDisposable {
  readonly query: QueryFixture;
  readonly server: HttpServer;
}

export async function openOperationsFixture(): Promise<OperationsFixture> {
  const more = { process_id: PROCESS, pid: 17, uid: 0, user: "root" };
  await using stack = new AsyncDisposableStack();
  const query = stack.use(
    await openQueryFixture({
      sinks: [QUIET_SINK],
      events: [
        { topic: "process/exec", exe: "/bin/sh", ...more },
        { topic: "file/rename", path: "/etc/new", old_path: "/etc/old", ...more },
        { topic: "file/write", path: "/etc/new", ...more },
        ...["7f00aa", "7f00ab"].map((context) => ({
          ...{ topic: "crypto/tls/group", context, exe: "/usr/bin/curl" },
          detail: { key: "tls::group", value: 29, type: "word", origin: "27bb" },
        })),
      ].map((event, at) => ({
        timeUs: Date.UTC(2026, 5, 1) * 1_000 + 10_000_000 + at,
        severity: "info" as const,
        message: event.topic,
        ...event,
      })),
    }),
  );
  const server = stack.use(
    await openHttpServer({
      fetch: query.service.fetch,
      webSockets: webSocketsOf(query.service.rpc),
      address: { host: "127.0.0.1", port: 0 },
      tls: undefined,
    }),
  );
  const owned = stack.move();
  return { query, server, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
