/** Moves the position of a pinned ring, as any process may that is allowed to open the pin: path, position to add. */
import { loadLibbpf } from "../../src/edge-agent/libbpf.ts";

const [path = "", bytes = "0"] = process.argv.slice(2);
const libbpf = loadLibbpf();
const fd = libbpf.bpf_obj_get(path);
const page = libbpf.mmap(fd, { sizeBytes: 4096, offsetBytes: 0, access: "read-write" });
if (fd < 0 || page === null) throw new Error(`Cannot map "${path}": errno ${libbpf.errno()}`);
const position = new BigInt64Array(page.view, 0, 1);
Atomics.add(position, 0, BigInt(bytes));
