/**
 * The agent's side of the socket to the privileged process: asks and waits for the answer.
 *
 * Invariant: one question at a time, each with its answer; a descriptor that comes belongs to whoever asked. When the
 * privileged process has ended every question throws: the agent cannot start another, it has no rights left.
 */
import { type Libc, POLLERR, POLLFD_BYTES } from "../libc.ts";
import { MESSAGE_BYTES_MAX, type ProcessCalls } from "../process-calls.ts";
import {
  encodeRequest,
  type Operation,
  parseReply,
  type Reply,
  type RequestOf,
} from "./messages.ts";

const POLLHUP = 0x10;

export interface Answer extends Reply {
  /** They belong to whoever asked. */
  readonly descriptors: readonly number[];
}

export interface PrivilegedConnection {
  /** Throws when the privileged process has ended. */
  ask<O extends Operation>(
    operation: O,
    fields: RequestOf<O>,
    descriptors?: readonly number[],
  ): Answer;
  /** The descriptor that came, or the negative errno. */
  askDescriptor<O extends Operation>(
    operation: O,
    fields: RequestOf<O>,
    descriptors?: readonly number[],
  ): number;
  /** Whether the privileged process is there; never waits. */
  isAlive(): boolean;
}

export function createConnection(
  calls: Pick<ProcessCalls, "messages">,
  libc: Pick<Libc, "poll" | "close">,
  socketFd: number,
): PrivilegedConnection {
  const socket = calls.messages(socketFd);
  const gone = (): Error => new Error("Cannot ask the privileged process: it has ended");
  const ask: PrivilegedConnection["ask"] = (operation, fields, descriptors = []) => {
    const request = encodeRequest(operation, fields);
    if (request.length > MESSAGE_BYTES_MAX) {
      throw new RangeError(`Cannot ask for "${operation}": more than ${MESSAGE_BYTES_MAX} bytes`);
    }
    if (socket.send(request, descriptors) < 0) throw gone();
    const message = socket.receive();
    if (typeof message === "number" || message.bytes.length === 0) throw gone();
    return { ...parseReply(message.bytes), descriptors: message.descriptors };
  };
  return {
    ask,
    askDescriptor(operation, fields, descriptors) {
      const answer = ask(operation, fields, descriptors);
      const { status, descriptors: [descriptor, ...more] } = answer;
      for (const each of more) libc.close(each);
      if (descriptor === undefined) return status < 0 ? status : -1;
      return descriptor;
    },
    isAlive() {
      const poll = new DataView(new ArrayBuffer(POLLFD_BYTES));
      poll.setInt32(0, socketFd, true);
      libc.poll(new Uint8Array(poll.buffer), 0);
      return (poll.getInt16(6, true) & (POLLERR | POLLHUP)) === 0;
    },
  };
}
