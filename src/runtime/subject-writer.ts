/**
 * Writing to one subject of a stream on the condition that nobody else does: each message names the one it follows.
 *
 * Invariant: what is stored stands right behind the message that was expected, or the writer learns that it does not.
 */
import { jetstream, JetStreamApiError, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";

export interface SubjectMessage {
  readonly subject: string;
  readonly messageId: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly payload: Uint8Array;
  /** Sequence of the subject's last message; 0 for none. */
  readonly expected: number;
}

const PUBLISH_TIMEOUT_MS = 5_000;
const NO_MESSAGE = 10037;
const WRONG_LAST_SEQUENCE = 10071;

/** Sequence of the last message of a subject that the stream holds; 0 for none. */
export async function lastSequenceOf(
  connection: NatsConnection,
  { stream, subject }: { readonly stream: string; readonly subject: string },
): Promise<number> {
  const { streams } = await jetstreamManager(connection, { checkAPI: false });
  try {
    return (await streams.getMessage(stream, { last_by_subj: subject }))?.seq ?? 0;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === NO_MESSAGE) return 0;
    throw error;
  }
}

/**
 * The sequence it got, also when a message of this id was stored there before; undefined when another message is the
 * subject's last one.
 */
export async function publishBehind(
  connection: NatsConnection,
  { subject, messageId, headers: given, payload, expected }: SubjectMessage,
): Promise<number | undefined> {
  const fields = headers();
  for (const [name, value] of given) fields.set(name, value);
  try {
    const { seq } = await jetstream(connection).publish(subject, payload, {
      msgID: messageId,
      headers: fields,
      expect: { lastSubjectSequence: expected },
      timeout: PUBLISH_TIMEOUT_MS,
    });
    return seq > expected ? seq : undefined;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE) return undefined;
    throw error;
  }
}

/** Publishes to a subject that some stream stores; rejects unless one has stored it or knew its id already. */
export async function publishStored(
  connection: NatsConnection,
  { subject, messageId, payload }: Pick<SubjectMessage, "subject" | "messageId" | "payload">,
): Promise<void> {
  try {
    await jetstream(connection).publish(subject, payload, {
      msgID: messageId,
      timeout: PUBLISH_TIMEOUT_MS,
    });
  } catch (cause) {
    if (!(cause instanceof Error) || cause.name !== "JetStreamNotEnabled") throw cause;
    // The client says that JetStream is off whenever nobody answers, which is so for a subject of no stream, too.
    throw new Error(
      `Cannot store in ${JSON.stringify(subject)}: no stream of the server has this subject`,
      { cause },
    );
  }
}
