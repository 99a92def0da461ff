/**
 * The program of a process that runs people's SQL, and nothing else: its first line of standard input are its settings,
 * then come requests, one at a time. It ends with its input, so it never outlives the service: at once, since an exit
 * would wait for the statement that runs.
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { type Engine, openEngine } from "./engine.ts";
import { decode, encode, type EngineReply, type EngineRequest, faultOf } from "./protocol.ts";
import { engineRequest, engineSettings } from "./requests.ts";

let engine: Engine | undefined;
/** Of the request that came last; there is one from the moment it has come, since its cancel may come with it. */
let running: AbortController | undefined;
let work: Promise<void> = Promise.resolve();

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const message = decode(line);
    if (engine === undefined && running === undefined) {
      running = new AbortController();
      work = start(message);
      return;
    }
    const request = engineRequest(message);
    if (request.do === "cancel") {
      running?.abort();
      return;
    }
    const { signal } = running = new AbortController();
    work = work.then(() => answer(request, signal));
  })
  .on("close", () => {
    process.kill(process.pid, "SIGKILL");
  });

async function start(message: unknown): Promise<void> {
  engine = await openEngine(engineSettings(message));
  say({});
}

async function answer(request: EngineRequest, signal: AbortSignal): Promise<void> {
  try {
    if (engine === undefined) throw new Error("it has not started");
    const { body, ...reply } = await engine.handle(request, signal);
    say({ ...reply, ...(body === undefined ? {} : { bytes: body.length }) });
    if (body !== undefined) process.stdout.write(body);
  } catch (error) {
    say({ error: faultOf(error) });
  }
}

function say(reply: EngineReply): void {
  process.stdout.write(`${encode(reply)}\n`);
}
