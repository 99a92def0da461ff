/** Proves every source and looks at a process of another user, and says as JSON what works: for runs with fewer rights. */
import process from "node:process";
import { openAuditSocket } from "../../src/edge-agent/audit-socket.ts";
import { probeSources } from "../../src/edge-agent/doctor.ts";
import { loadLibc } from "../../src/edge-agent/libc.ts";
import { readKernelLink } from "../../src/edge-agent/kernel-files.ts";
import { createLog } from "../../src/runtime/log.ts";

const sources = await probeSources({ log: createLog({ level: "error" }) });
const works = sources.filter(({ status }) => status.state === "on").map(({ name }) => name);
// The process that started this one runs as root.
if (readKernelLink(`/proc/${process.ppid}/exe`) !== undefined) works.push("executables");
if (openAuditSocket(loadLibc()) >= 0) works.push("audit");
process.stdout.write(JSON.stringify(works));
