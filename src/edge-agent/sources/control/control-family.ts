/**
 * Control over processes, proven by what harms nobody: a child that changes its user, a tracer that asks to trace
 * itself, a signal that wakes who does not sleep.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import type { Libbpf } from "../../libbpf.ts";
import {
  compareFields,
  detailOf,
  type ParsedLine,
  type ProofAction,
  type ProofCheck,
  type RingFamily,
} from "../ring-family.ts";
import { createControlDecoder } from "./control-lines.ts";

/** A user without rights, by number; it need not have a name. */
const NOBODY = 65534;
const EPERM = 1;
const SIGCONT = 18;

export const controlFamily: RingFamily = {
  name: "control",
  lane: "critical",
  // Writes into another process's memory.
  tellsOnce: true,
  prepare: () => Promise.resolve(),
  createDecoder: createControlDecoder,
  prove: proveByTrying,
};

async function proveByTrying(libbpf: Libbpf): Promise<ProofAction> {
  const hasChanged = await runAsNobody();
  // A thread cannot trace its own process.
  libbpf.ptrace_seize(process.pid);
  const killer = spawn("/bin/sh", ["-c", `kill -CONT ${process.pid}`], { stdio: "ignore" });
  await once(killer, "exit");
  return {
    hook: "credentials",
    check: (line) => {
      const { how, after } = detailOf(line);
      if (how !== "setuid" || line["ppid"] !== process.pid) return "other";
      const uid = detailOf({ detail: after })["uid"];
      return hasChanged
        ? compareFields({ ...line, after: uid }, { outcome: "success", uid: NOBODY, after: NOBODY })
        : compareFields(line, { outcome: "failure" });
    },
    further: {
      ptrace: ofUs("process/ptrace", { how: "seize" }, { pid: process.pid, errno: EPERM }),
      signal: ofUs("process/signal", { signal: SIGCONT }, { pid: killer.pid, outcome: "success" }),
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Runs a shell as another user; whether that is allowed. Where it is not, the attempt is what must be seen. */
async function runAsNobody(): Promise<boolean> {
  try {
    const child = spawn("/bin/sh", ["-c", ":"], { uid: NOBODY, cwd: "/", stdio: "ignore" });
    await once(child, "exit");
    return true;
  } catch {
    return false; // EPERM, or EINVAL where the namespace has no such user.
  }
}

/** A line whose detail is about this process: the others may come from anyone. */
function ofUs(topic: string, detail: ParsedLine, expected: ParsedLine): ProofCheck {
  return (line) => {
    const told = detailOf(line);
    const isOurs = line["topic"] === topic && told["target_pid"] === process.pid &&
      compareFields(told, detail) === "proven";
    return isOurs ? compareFields(line, expected) : "other";
  };
}
