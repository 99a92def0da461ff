/** What `probity doctor` says of addresses for applications: of an agent, of another program, and of nobody. */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { expect, it } from "vitest";
import { applicationsStatus } from "../../src/cli/doctor/applications.ts";
import { openApplicationRig, TCP } from "../support/application-rig.ts";
import { freePort } from "../support/free-port.ts";
import { runSource } from "../support/source-run.ts";

it("an address at which an agent listens is on, also while it reads nothing", async () => {
  await using rig = await openApplicationRig({ listen: TCP, socket: "a.sock" });
  const settings = { listen: { ...TCP, port: rig.source.port ?? 0 }, socket: rig.socket };
  expect(await applicationsStatus(settings)).toMatchObject({ state: "on" });
  await using run = runSource(rig.source);
  expect(await applicationsStatus(settings)).toMatchObject({
    state: "on",
    how: expect.stringMatching(/^tcp .* listens, unix .* listens$/),
  });
  expect(run.lines).toEqual([]);
});

it("an address at which nobody listens is free for the agent", async () => {
  const listen = { host: "127.0.0.1", port: await freePort() };
  expect(await applicationsStatus({ listen })).toMatchObject({
    state: "on",
    how: expect.stringContaining("is free for the agent"),
  });
});

it.each([
  ["greets", (socket: Socket) => void socket.resume().write("220 mail.example\r\n")],
  ["answers something else", (socket: Socket) => {
    socket.once("data", () => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
  }],
  ["hangs up", (socket: Socket) => void socket.once("data", () => socket.end())],
])("an address at which another program %s is off", async (_name, serve) => {
  await using stack = new AsyncDisposableStack();
  const server = createServer(serve).listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => closed(server));
  const address = server.address();
  const port = typeof address === "object" ? address?.port ?? 0 : 0;
  expect(await applicationsStatus({ listen: { host: "127.0.0.1", port } })).toMatchObject({
    state: "off",
    reason: expect.stringContaining("another program than an agent listens there"),
  });
});

async function closed(server: Server): Promise<void> {
  const end = once(server, "close");
  server.close();
  await end;
}
