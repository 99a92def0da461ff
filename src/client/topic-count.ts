/** The topic tree with counts, as a list. */

export interface TopicCount {
  readonly topic: string;
  /** Events of the topic and all topics below it. */
  readonly count: number;
}

/** The topics in the JSON of an answer. Throws TypeError when there are none. */
export function topicCounts(value: unknown): readonly TopicCount[] {
  const list = typeof value === "object" && value !== null && "topics" in value
    ? value.topics
    : undefined;
  if (!Array.isArray(list)) {
    throw new TypeError("Cannot read topics: the answer has no list of them");
  }
  return list.filter(isTopicCount);
}

function isTopicCount(value: unknown): value is TopicCount {
  return typeof value === "object" && value !== null && "topic" in value && "count" in value &&
    typeof value.topic === "string" && typeof value.count === "number";
}
