/** A TCP proxy before a real server that passes on, hangs (accepts, and never answers), or flaps (cuts what it accepts). */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export type Mood = "pass" | "hang" | "flap";

export interface MoodyProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections that it has accepted so far. */
  readonly accepted: () => number;
  /** Connections that stand are cut, as a network does that comes back. */
  turn(mood: Mood): void;
}

export async function openMoodyProxy(target: { readonly port: number }): Promise<MoodyProxy> {
  const sockets = new Set<Socket>();
  let mood: Mood = "hang";
  let accepted = 0;
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
  };
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((incoming) => {
    accepted += 1;
    keep(incoming);
    if (mood === "flap") incoming.destroy();
    else if (mood === "hang") incoming.resume();
    else {
      const onward = keep(connect(target.port, "127.0.0.1"));
      incoming.pipe(onward).pipe(incoming);
      incoming.on("close", () => onward.destroy());
      onward.on("close", () => incoming.destroy());
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("Cannot listen");
  return {
    port: address.port,
    accepted: () => accepted,
    turn(next) {
      mood = next;
      cut();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      cut();
      await once(server, "close");
    },
  };
}
