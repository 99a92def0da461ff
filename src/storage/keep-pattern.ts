/**
 * Patterns of topics and hosts that say what is kept: how they are read, and which one decides. Retention goes by them,
 * and who reads the table knows from them what may have been removed. Pure.
 */
import { isTopic } from "../event/topic.ts";

export interface KeepPattern {
  /** As it was given. */
  readonly pattern: string;
  /** The topic and all below it; undefined for all. */
  readonly topic: string | undefined;
  /** A host, or with `*` at the end all that begin so; undefined for all. */
  readonly host: string | undefined;
}

/** Undefined when it is of no form that we know. */
export function parseKeepPattern(pattern: string): KeepPattern | undefined {
  const [, topicText = "", host] = /^([^@]+)(?:@([!-~]+))?$/.exec(pattern) ?? [];
  const topic = topicText === "**" ? undefined : topicText.replace(/\/\*\*$/, "");
  const isKnown = topicText !== "" && (topic === undefined || isTopic(topic));
  if (!isKnown || host?.slice(0, -1).includes("*") === true) return undefined;
  return { pattern, topic, host };
}

/** Order in which patterns are asked: of the longer topic first, then of the longer host. */
export function byDecision(a: KeepPattern, b: KeepPattern): number {
  return lengthOf(b.topic) - lengthOf(a.topic) || lengthOf(b.host) - lengthOf(a.host);
}

function lengthOf(text: string | undefined): number {
  return text === undefined ? -1 : text.length;
}
