/**
 * The privileged process: keeps the capabilities that it was started with and does what the agent asks through one
 * socket, whose descriptor is its only argument. It starts nothing, reads no configuration and has no network.
 *
 * Invariant: it ends when the agent does. Signals that end the agent do not end it before: the agent still asks while
 * it drains.
 */
import process from "node:process";
import { type Libbpf, loadLibbpf } from "../libbpf.ts";
import { loadLibc, O_RDONLY } from "../libc.ts";
import { loadProcessCalls } from "../process-calls.ts";
import { loadProgramObject } from "../program-object.ts";
import { serve } from "./serve.ts";

const ENDING_SIGNALS = [1, 2, 3, 15];

const socketFd = Number(process.argv[2]);
const libc = loadLibc();
const calls = loadProcessCalls();
calls.setDumpable("closed");
calls.setInherited(socketFd, "closed on exec");
for (const signal of ENDING_SIGNALS) calls.ignoreSignal(signal);
// Whoever reads the agent's output must see it end when the agent ends.
const nowhere = libc.open("/dev/null", O_RDONLY);
for (const output of [0, 1]) calls.dup2(nowhere, output);
libc.close(nowhere);

await serve(calls.messages(socketFd), {
  socketFd,
  libc,
  libbpf: loadIfPossible(),
  loadObject: loadProgramObject,
});
process.exit(0);

function loadIfPossible(): Libbpf | undefined {
  try {
    return loadLibbpf();
  } catch {
    return undefined; // Its absence is told by the agent, which looks itself.
  }
}
