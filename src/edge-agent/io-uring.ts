/**
 * One request through io_uring, in a ring of its own: how the agent proves that it sees what io_uring does.
 *
 * Invariant: nothing is left of the ring; a kernel that has no io_uring, or forbids it, is an answer and no exception.
 */
import type { Libbpf, Mapping } from "./libbpf.ts";

const ENTRIES = 64;
const SQE_BYTES = 64;
const CQE_BYTES = 16;
const PARAMS_BYTES = 120;
/** Offsets in `struct io_uring_params`. */
const PARAM = {
  sqEntries: 0,
  cqEntries: 4,
  sqTail: 44,
  sqArray: 64,
  cqCqes: 100,
} as const;
const OFFSET_SQES = 0x1000_0000;
const GETEVENTS = 1;
const IORING_OP_OPENAT = 18;
const AT_FDCWD = -100;
const O_WRONLY_CREAT = 0o101;
const MODE = 0o600;
/** The path lies behind the first request, in the same memory. */
const PATH_OFFSET = 1024;
const PATH_BYTES_MAX = ENTRIES * SQE_BYTES - PATH_OFFSET - 1;

/** Makes a file by IORING_OP_OPENAT; 0, or the negative errno of the first step that failed. */
export function createByIoUring(libbpf: Libbpf, path: string): number {
  const text = Buffer.from(path);
  if (text.length > PATH_BYTES_MAX) throw new RangeError("Cannot open by io_uring: path too long");
  const params = new DataView(new ArrayBuffer(PARAMS_BYTES));
  const ring = libbpf.io_uring_setup(ENTRIES, new Uint8Array(params.buffer));
  if (ring < 0) return ring;
  const read = (offset: number): number => params.getUint32(offset, true);
  const ringBytes = Math.max(
    read(PARAM.sqArray) + 4 * read(PARAM.sqEntries),
    read(PARAM.cqCqes) + CQE_BYTES * read(PARAM.cqEntries),
  );
  const map = (sizeBytes: number, offsetBytes: number): Mapping | null =>
    libbpf.mmap(ring, { sizeBytes, offsetBytes, access: "read-write" });
  const queues = map(ringBytes, 0);
  const requests = map(ENTRIES * SQE_BYTES, OFFSET_SQES);
  try {
    if (queues === null || requests === null) return -libbpf.errno();
    writeRequest(requests, text);
    const queue = new DataView(queues.view);
    queue.setUint32(read(PARAM.sqArray), 0, true);
    queue.setUint32(read(PARAM.sqTail), 1, true);
    const entered = libbpf.io_uring_enter(ring, { submit: 1, complete: 1, flags: GETEVENTS });
    if (entered < 0) return entered;
    const result = queue.getInt32(read(PARAM.cqCqes) + 8, true);
    if (result >= 0) libbpf.close(result);
    return Math.min(result, 0);
  } finally {
    for (const mapping of [queues, requests]) if (mapping !== null) libbpf.munmap(mapping);
    libbpf.close(ring);
  }
}

/** `struct io_uring_sqe`. */
function writeRequest({ view, address }: Mapping, path: Uint8Array): void {
  const request = new DataView(view);
  request.setUint8(0, IORING_OP_OPENAT);
  request.setInt32(4, AT_FDCWD, true);
  request.setBigUint64(16, BigInt(address) + BigInt(PATH_OFFSET), true);
  request.setUint32(24, MODE, true);
  request.setUint32(28, O_WRONLY_CREAT, true);
  new Uint8Array(view).set(path, PATH_OFFSET);
}
