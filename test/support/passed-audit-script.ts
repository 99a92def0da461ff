/** Takes the audit socket that was passed, hears one login by it, and says as JSON what it found, or why it refuses. */
import process from "node:process";
import {
  AUDIT_TYPE,
  lockAuditFilter,
  openAuditSocket,
  receiveAudit,
} from "../../src/edge-agent/audit-socket.ts";
import { readKernelBytes } from "../../src/edge-agent/kernel-files.ts";
import { loadLibc } from "../../src/edge-agent/libc.ts";
import { takePassed } from "../../src/edge-agent/privilege/separation.ts";

const LIMIT_MS = 10_000;
const libc = loadLibc();

function found(): unknown {
  const passed = takePassed();
  if (passed === undefined) return { passed };
  const fd = openAuditSocket(libc);
  process.stdout.write("ready\n");
  const buffer = new Uint8Array(16 * 1024);
  const untilMs = performance.now() + LIMIT_MS;
  let heard = 0;
  while (heard !== AUDIT_TYPE.USER_LOGIN && performance.now() < untilMs) {
    if (receiveAudit(libc, fd, buffer) > 0) heard = new DataView(buffer.buffer).getUint16(4, true);
  }
  const about = String(readKernelBytes(`/proc/self/fdinfo/${passed}`, 4096));
  const [, flags = ""] = /flags:[ \t]*([0-7]+)/.exec(about) ?? [];
  return {
    passed,
    heard,
    isClosedOnExec: (Number.parseInt(flags, 8) & 0o2000000) !== 0,
    isLocked: lockAuditFilter(libc, fd) < 0,
    variables: Object.keys(process.env).filter((name) => name.startsWith("LISTEN_")),
  };
}

try {
  process.stdout.write(JSON.stringify(found()));
} catch (error) {
  process.stdout.write(JSON.stringify({ refused: error instanceof Error ? error.message : "" }));
}
