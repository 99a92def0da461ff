/** Tells the kernel's audit one thing in a login of its own: type, login uid, words. Says pid and session as JSON. */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { openAuditControl } from "./audit-control.ts";

const [type = "", auid = "", said = ""] = process.argv.slice(2);
writeFileSync("/proc/self/loginuid", auid);
using control = openAuditControl();
control.tell(Number(type), said);
const session = readFileSync("/proc/self/sessionid", "utf8");
process.stdout.write(JSON.stringify({ pid: process.pid, session }));
