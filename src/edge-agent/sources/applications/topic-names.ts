/**
 * The topics of applications' messages: `app/<service>/<what the sender calls it>`.
 *
 * Invariant: what comes out is always a topic, whatever the sender calls it; names that had to be changed for it are told
 * apart, so that the sender's spelling can be kept.
 */
import { TOPIC_LENGTH_MAX } from "../../../event/topic.ts";

/** What follows the service for messages that name no topic. */
export const PLAIN_TOPIC = "message";
export const SERVICE_LENGTH_MAX = 64;

export interface TopicName {
  readonly topic: string;
  /** Whether it is what the sender said, letter by letter. */
  readonly isExact: boolean;
}

/** Names that are remembered per connection and service. */
const REMEMBERED_MAX = 64;
/** Longer ones are not. */
const REMEMBERED_LENGTH_MAX = 128;

/** A text as one part of a topic; undefined when nothing of it can be one. */
export function topicPart(text: string): string | undefined {
  const part = text.slice(0, SERVICE_LENGTH_MAX).replaceAll(/[^a-zA-Z0-9_.:-]/g, "_");
  return /[a-zA-Z0-9]/.test(part) ? part : undefined;
}

/** The topic of a sender's name for it, below `app/<service>`; of no name, {@link PLAIN_TOPIC}. */
export function topicNameOf(service: string, named: string | undefined): TopicName {
  const root = `app/${service}/`;
  if (named === undefined) return { topic: root + PLAIN_TOPIC, isExact: true };
  const parts = named.slice(0, TOPIC_LENGTH_MAX).replaceAll(/[^a-zA-Z0-9_.:/-]/g, "_").split("/");
  const path = parts.filter((part) => part !== "").join("/");
  const topic = root + (path === "" ? PLAIN_TOPIC : path);
  const cut = topic.slice(0, TOPIC_LENGTH_MAX).replace(/\/$/, "");
  return { topic: cut, isExact: cut === root + named };
}

/** The same, quicker for names that come again. */
export function createTopicNames(): typeof topicNameOf {
  let service = "";
  let known = new Map<string | undefined, TopicName>();
  return (asked, named) => {
    if (asked !== service) {
      service = asked;
      known = new Map();
    }
    const found = known.get(named);
    if (found !== undefined) return found;
    const made = topicNameOf(asked, named);
    if ((named?.length ?? 0) > REMEMBERED_LENGTH_MAX) return made;
    if (known.size >= REMEMBERED_MAX) known.clear();
    // A slice of a chunk would keep the whole of it.
    known.set(named === undefined ? undefined : Buffer.from(named).toString(), made);
    return made;
  };
}
