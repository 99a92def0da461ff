/** Processes: exec, fork and exit, proven by running a shell whose arguments, environment and ancestry are known. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import process from "node:process";
import {
  compareFields,
  detailOf,
  type ParsedLine,
  type ProofAction,
  type ProofCheck,
  type ProofResult,
  type RingFamily,
} from "../ring-family.ts";
import { environmentBits } from "./environment.ts";
import { createProcessDecoder } from "./process-lines.ts";

/** Variables that mean nothing to the shell that is run, and whose values are no secrets. */
const HARMLESS: readonly string[] = [
  "PYTHONPATH",
  "PERL5LIB",
  "RUBYOPT",
  "SSH_CLIENT",
  "SUDO_USER",
];
const PROOF_VALUE = "probity-probe";

/** `environment`: names of the variables that an exec tells. */
export function createProcessFamily(environment: readonly string[]): RingFamily {
  const names = new Set(environment);
  const values = (): Readonly<Record<string, Uint8Array>> => ({
    environment: environmentBits([...names]),
  });
  return {
    name: "process",
    lane: "critical",
    get values() {
      return values();
    },
    reconfigure({ environment: next }) {
      if (next === undefined) return {};
      names.clear();
      for (const name of next) names.add(name);
      return values();
    },
    prepare: () => Promise.resolve(),
    createDecoder: (context) => createProcessDecoder(context, { environment: names }),
    prove: () => proveByExec([...names].find((name) => HARMLESS.includes(name))),
  };
}

/** The shell is everywhere that sh is, and `:` ends it at once. */
async function proveByExec(variable: string | undefined): Promise<ProofAction> {
  const marker = `probity-probe-${randomBytes(8).toString("hex")}`;
  const argv = ["/bin/sh", "-c", ":", marker];
  const env = variable === undefined ? {} : { [variable]: PROOF_VALUE };
  const child = spawn("/bin/sh", argv.slice(1), { cwd: "/", stdio: "ignore", env });
  await once(child, "exit");
  const uid = process.getuid?.();
  const gid = process.getgid?.();
  const expected = {
    pid: child.pid,
    ppid: process.pid,
    uid,
    euid: process.geteuid?.(),
    gid,
    cwd: "/",
    cmdline: argv.join(" "),
    argv: JSON.stringify(argv),
    argv_bytes: argv.join(" ").length + 1,
    truncated: false,
    parent: process.pid,
    env: variable === undefined ? undefined : PROOF_VALUE,
  };
  const ofChild = (topic: string, fields: ParsedLine): ProofCheck => (line) =>
    line["topic"] === topic && line["pid"] === child.pid ? compareFields(line, fields) : "other";
  return {
    hook: "exec",
    further: {
      fork: ofChild("process/fork", { ppid: process.pid, uid }),
      exit: (line) => {
        const found = ofChild("process/exit", { uid })(line);
        return found === "proven" ? compareFields(detailOf(line), { exit_code: 0 }) : found;
      },
    },
    check: (line: ParsedLine): ProofResult => {
      const detail = detailOf(line);
      const told = detail["argv"];
      const isOurs = line["topic"] === "process/exec" && Array.isArray(told) &&
        told.includes(marker);
      return isOurs ? compareFields({ ...line, ...toldIn(detail, variable) }, expected) : "other";
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** What of the detail is compared, made flat. */
function toldIn(detail: ParsedLine, variable: string | undefined): ParsedLine {
  const ancestors: unknown = detail["ancestors"];
  const parent: unknown = Array.isArray(ancestors) ? ancestors[0]?.pid : undefined;
  const env = detailOf({ detail: detail["env"] });
  return {
    argv: JSON.stringify(detail["argv"]),
    argv_bytes: detail["argv_bytes"],
    truncated: detail["truncated"],
    parent,
    env: variable === undefined ? undefined : env[variable],
  };
}
