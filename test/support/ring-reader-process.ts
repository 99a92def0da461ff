/**
 * A process that reads the file ring as an agent does, with a file in the place of the spool: each chunk's paths and
 * position are fsynced before the ring is released. Made to be killed. Arguments: pin folder, spool file.
 */
import { existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { createKernelContext } from "../../src/edge-agent/kernel-context.ts";
import { openRingSource } from "../../src/edge-agent/sources/ring-source.ts";
import type { RingPosition } from "../../src/producer/producer.ts";
import { createLog } from "../../src/runtime/log.ts";
import { parseLine } from "./source-run.ts";

const [pinFolder = "", spoolPath = ""] = process.argv.slice(2);
const lines = existsSync(spoolPath) ? readFileSync(spoolPath, "utf8").split("\n") : [];
// The last line may be cut; what comes after the last line feed was never durable as a whole.
const last = lines.at(-2);
const position: RingPosition | undefined = last === undefined
  ? undefined
  : JSON.parse(last).position;
const spool = openSync(spoolPath, "a");
if (lines.at(-1) !== undefined && lines.at(-1) !== "") writeSync(spool, "\n");

const source = openRingSource({
  family: "file",
  context: createKernelContext(),
  log: createLog({ level: "error" }),
  pinFolder,
  ringBytes: 16 * 1024 * 1024,
  position,
});
for await (const chunk of source.start(new AbortController().signal)) {
  const paths = chunk.fields.map((fields) => parseLine(fields)["path"]);
  writeSync(spool, `${JSON.stringify({ paths, position: chunk.position })}\n`);
  fsyncSync(spool);
  if (chunk.position !== undefined) source.release(chunk.position);
}
