/**
 * Finds who wants a row, among many: those are asked who want any topic, or one that the row has.
 *
 * Invariant: whoever is left out without being asked wants only rows of topics that this row does not have.
 */
import type { Interest } from "../planner/tail-plan.ts";
import {
  createMatcher,
  type Matcher,
  type RowValues,
  topicsAndAbove,
  topicsOf,
} from "./matcher.ts";

export interface Distribution<T extends Interest> {
  /** What an interest's filter means is found out once, here. */
  add(interest: T): void;
  remove(interest: T): void;
  wantedBy(values: RowValues): readonly T[];
}

export function createDistribution<T extends Interest>(): Distribution<T> {
  const matchers = new Map<T, Matcher>();
  const ofAnyTopic = new Set<T>();
  const byTopic = new Map<string, Set<T>>();
  return {
    add(interest) {
      matchers.set(interest, createMatcher(interest.request, interest.principal));
      const topics = topicsOf(interest.request);
      if (topics === undefined) ofAnyTopic.add(interest);
      for (const topic of topics ?? []) {
        const others = byTopic.get(topic) ?? new Set();
        byTopic.set(topic, others.add(interest));
      }
    },
    remove(interest) {
      matchers.delete(interest);
      ofAnyTopic.delete(interest);
      for (const topic of topicsOf(interest.request) ?? []) {
        const others = byTopic.get(topic);
        others?.delete(interest);
        if (others?.size === 0) byTopic.delete(topic);
      }
    },
    wantedBy(values) {
      const { topic, topics } = values;
      const candidates = new Set(ofAnyTopic);
      for (const each of topicsAndAbove([topic, ...Array.isArray(topics) ? topics : []])) {
        for (const interest of byTopic.get(each) ?? []) candidates.add(interest);
      }
      return [...candidates].filter((interest) => matchers.get(interest)?.(values) === true);
    },
  };
}
