/** Processes: exec, fork and exit, proven by running `true`. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import {
  compareFields,
  detailOf,
  type ParsedLine,
  type ProofAction,
  type ProofCheck,
  type ProofResult,
  type RingFamily,
} from "../ring-family.ts";
import { createProcessDecoder } from "./process-lines.ts";

export const processFamily: RingFamily = {
  name: "process",
  lane: "critical",
  prepare: () => Promise.resolve(),
  createDecoder: createProcessDecoder,
  prove: proveByExec,
};

/** The shell is everywhere that sh is, and `:` ends it at once. */
async function proveByExec(): Promise<ProofAction> {
  const marker = `probity-probe-${randomBytes(8).toString("hex")}`;
  const child = spawn("/bin/sh", ["-c", ":", marker], { cwd: "/", stdio: "ignore" });
  await once(child, "exit");
  const expected = { pid: child.pid, ppid: process.pid, uid: process.getuid?.(), cwd: "/" };
  const ofChild = (topic: string, fields: ParsedLine): ProofCheck => (line) =>
    line["topic"] === topic && line["pid"] === child.pid ? compareFields(line, fields) : "other";
  return {
    hook: "exec",
    further: {
      fork: ofChild("process/fork", { ppid: process.pid, uid: process.getuid?.() }),
      exit: (line) => {
        const found = ofChild("process/exit", { uid: process.getuid?.() })(line);
        return found === "proven" ? compareFields(detailOf(line), { exit_code: 0 }) : found;
      },
    },
    check: (line: ParsedLine): ProofResult => {
      const { argv } = detailOf(line);
      const isOurs = line["topic"] === "process/exec" && Array.isArray(argv) &&
        argv.includes(marker);
      return isOurs ? compareFields(line, expected) : "other";
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
