/**
 * Records a small workload's kernel records into test/fixtures/ring-records.bin, which bench/ring-to-line.ts replays:
 * commands run, files written, loopback connections. As root: `node bench/capture-ring.ts`.
 *
 * The file holds one record after the other: u32 length, u32 zero, the record, zeros up to a multiple of 8.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { loadLibbpf } from "../src/edge-agent/libbpf.ts";
import { loadProgramObject } from "../src/edge-agent/program-object.ts";
import { HEADER, KIND } from "../src/edge-agent/record-layout.ts";
import { openRingBuffer, type RingBuffer } from "../src/edge-agent/ring-buffer.ts";

const RING_BYTES = 4 * 1024 * 1024;
const FIXTURE = fileURLToPath(new URL("../test/fixtures/ring-records.bin", import.meta.url));

const folder = mkdtempSync("/tmp/workload-");
const server = createServer((socket) => socket.end());
server.listen(0, "127.0.0.1");
await once(server, "listening");
const address = server.address();
const port = typeof address === "object" && address !== null ? address.port : 0;

const libbpf = loadLibbpf();
const objects = ["process", "network", "file"].map((family) => {
  const object = loadProgramObject(libbpf, { family, variant: "tp_btf", ringBytes: RING_BYTES });
  const ring = openRingBuffer(libbpf, object.mapFd("events"), RING_BYTES);
  object.attach();
  return { object, ring };
});

const script = `
for n in $(seq 20); do
  ls -la /etc/hostname > listing-$n
  grep -c root /etc/passwd >> count
  for m in 1 2 3 4; do echo $m > note-$m-$n; echo more >> note-$m-$n; done
  for m in 1 2; do exec 3<>/dev/tcp/127.0.0.1/${port}; exec 3>&-; done
done`;
const child = spawn("/bin/bash", ["-c", script], { cwd: folder, stdio: "ignore" });
await once(child, "exit");
await delay(100);

const tree = new Set([child.pid]);
const chunks: Buffer[] = [];
for (const { object, ring } of objects) {
  chunks.push(...ofTree(ring));
  ring[Symbol.dispose]();
  object[Symbol.dispose]();
}
writeFileSync(FIXTURE, Buffer.concat(chunks));
server.close();
rmSync(folder, { recursive: true });
process.stdout.write(`${chunks.length} records, ${Buffer.concat(chunks).length} bytes\n`);

/** Records of the workload's processes; the process family comes first, and its forks tell who they are. */
function ofTree(ring: RingBuffer): Buffer[] {
  const cursor = ring.cursorAt(0);
  const limit = ring.producerPosition();
  const found: Buffer[] = [];
  for (let offset = cursor.next(limit); offset >= 0; offset = cursor.next(limit)) {
    const { words, bytes } = ring.memory;
    const pid = words[(offset + HEADER.pid) >> 2];
    const ppid = words[(offset + HEADER.ppid) >> 2];
    if (bytes[offset + HEADER.kind] === KIND.fork && tree.has(ppid)) tree.add(pid);
    if (!tree.has(pid)) continue;
    const padded = Buffer.alloc(8 + Math.ceil(cursor.length / 8) * 8);
    padded.writeUInt32LE(cursor.length, 0);
    bytes.copy(padded, 8, offset, offset + cursor.length);
    found.push(padded);
  }
  return found;
}
