/** A real browser, and a page of another origin that loads the client as a browser would get it: without types. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import { join, resolve } from "node:path";
import { type BrowserContext, chromium } from "playwright-core";
import { requireCapability } from "./require.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

const CHROMIUM = "/usr/bin/chromium";
const CLIENT = resolve(import.meta.dirname, "../../src/client");

export function canRunChromium(): boolean {
  return requireCapability("chromium", existsSync(CHROMIUM), "install Debian's chromium");
}

export interface Browser extends AsyncDisposable {
  readonly context: BrowserContext;
}

export async function openBrowser(): Promise<Browser> {
  const folder = await openTemporaryFolder("browser");
  const context = await chromium.launchPersistentContext(folder.path, {
    executablePath: CHROMIUM,
    headless: true,
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ],
  });
  return {
    context,
    async [Symbol.asyncDispose]() {
      await context.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

export interface LocalServer extends AsyncDisposable {
  readonly url: string;
}

/** A page at `/`, and the client's modules at `/client/`. */
export async function openPageServer(html: string): Promise<LocalServer> {
  const server = createServer(async (request, response) => {
    const name = /^\/client\/([a-z-]+\.ts)$/.exec(request.url ?? "")?.[1];
    if (name !== undefined) {
      const source = stripTypeScriptTypes(await readFile(join(CLIENT, name), "utf8"));
      response.writeHead(200, { "Content-Type": "text/javascript" }).end(source);
    } else if (request.url === "/") {
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(html);
    } else response.writeHead(204).end();
  });
  return await listening(server, () => server.closeAllConnections());
}

/** Passes connections on, and cuts them all when it is told to. */
export async function openCuttingProxy(
  target: string,
): Promise<LocalServer & { readonly cut: () => number }> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
    return socket;
  };
  const server = createTcpServer((incoming) => {
    const onward = keep(connect(Number(port), hostname));
    keep(incoming).pipe(onward).pipe(incoming);
    incoming.on("close", () => onward.destroy());
    onward.on("close", () => incoming.destroy());
  });
  const cut = (): number => {
    const count = sockets.size / 2;
    for (const socket of sockets) socket.destroy();
    return count;
  };
  return { ...await listening(server, cut), cut };
}

async function listening(
  server: ReturnType<typeof createTcpServer>,
  endAll: () => unknown,
): Promise<LocalServer> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("Cannot listen");
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.close();
      endAll();
      await once(server, "close");
    },
  };
}
