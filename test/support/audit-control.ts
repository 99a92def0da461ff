/** The kernel's audit from the side of who controls it and who tells it something: netlink(7), with root's capabilities. */
import koffi from "koffi";
import { type Libc, loadLibc, POLLFD_BYTES, POLLIN } from "../../src/edge-agent/libc.ts";

const AUDIT_GET = 1000;
const AUDIT_SET = 1001;
const NLMSG_ERROR = 2;
const MASK_ENABLED = 1;
const STATUS_BYTES = 44;
const HEADER_BYTES = 16;
/** As a set of groups: the one that is for reading. */
const READLOG = 1;
/** NLM_F_REQUEST and NLM_F_ACK. */
const ASK = 5;
const ANSWER_LIMIT_MS = 2_000;

export interface AuditControl extends Disposable {
  /** Whether it was on before; undefined: the kernel has none, or this process may not ask. */
  readonly wasEnabled: boolean | undefined;
  enable(): void;
  disable(): void;
  /** Tells something as a program does; the kernel adds who told it. */
  tell(type: number, said: string): void;
  /** Sends a whole message to those who listen, as if it were the kernel's. */
  forge(message: Uint8Array): void;
}

/** Audit is as it was before when it is disposed of. */
export function openAuditControl(): AuditControl {
  const libc = loadLibc();
  const sendto = koffi.load("libc.so.6").func(
    "long sendto(int fd, const void *data, size_t size, int flags, void *to, uint32_t toSize)",
  );
  const fd = libc.socket(16, 3, 9);
  /** Waits for `answer`, a type of messages. */
  const ask = (type: number, body: Uint8Array, answer: number): Buffer | undefined => {
    const message = Buffer.alloc(HEADER_BYTES + body.length);
    message.writeUInt32LE(message.length);
    message.writeUInt16LE(type, 4);
    message.writeUInt16LE(ASK, 6);
    message.set(body, HEADER_BYTES);
    const to = Buffer.alloc(12);
    to.writeUInt16LE(16);
    if (fd < 0 || sendto(fd, message, message.length, 0, to, to.length) < 0) return undefined;
    return answerOf(libc, fd, answer);
  };
  const set = (isOn: boolean): void => {
    const status = Buffer.alloc(STATUS_BYTES);
    status.writeUInt32LE(MASK_ENABLED);
    status.writeUInt32LE(isOn ? 1 : 0, 4);
    ask(AUDIT_SET, status, NLMSG_ERROR);
  };
  const status = ask(AUDIT_GET, new Uint8Array(), AUDIT_GET);
  const wasEnabled = status === undefined ? undefined : status.readUInt32LE(HEADER_BYTES + 4) > 0;
  return {
    wasEnabled,
    enable: () => set(true),
    disable: () => set(false),
    forge(message) {
      const to = Buffer.alloc(12);
      to.writeUInt16LE(16);
      to.writeUInt32LE(READLOG, 8);
      // The kernel takes it, too, and writes a NUL over its last byte before others read it.
      const sent = Buffer.concat([message, Buffer.alloc(1)]);
      sent.writeUInt32LE(sent.length);
      sendto(fd, sent, sent.length, 0, to, to.length);
    },
    tell: (type, said) => void ask(type, Buffer.from(`${said}\0`, "latin1"), NLMSG_ERROR),
    [Symbol.dispose]() {
      if (wasEnabled !== undefined) set(wasEnabled);
      if (fd >= 0) libc.close(fd);
    },
  };
}

/** What the kernel answers: an acknowledgement, and the answer by a thread of its own. */
function answerOf(libc: Libc, fd: number, type: number): Buffer | undefined {
  const poll = Buffer.alloc(POLLFD_BYTES);
  poll.writeInt32LE(fd);
  poll.writeInt16LE(POLLIN, 4);
  while (libc.poll(poll, ANSWER_LIMIT_MS) > 0) {
    const buffer = Buffer.alloc(16 * 1024);
    const length = libc.read(fd, buffer);
    if (length < 0) return undefined;
    const isError = buffer.readUInt16LE(4) === NLMSG_ERROR && buffer.readInt32LE(HEADER_BYTES) < 0;
    if (isError) return undefined;
    if (buffer.readUInt16LE(4) === type) return buffer.subarray(0, length);
  }
  return undefined;
}
