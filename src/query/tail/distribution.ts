/**
 * Finds who wants a row, among many: those are asked whose rows have a mark that this row has, or none; and what several
 * of them ask of a row is looked at once.
 *
 * Invariant: whoever is left out without being asked wants only rows with marks that this row does not have.
 */
import type { Interest } from "../planner/tail-plan.ts";
import { type Matcher, type RowValues, testsOf } from "./matcher.ts";
import { createMarkIndex, type Mark, marksOf } from "./row-marks.ts";

export interface Distribution<T extends Interest> {
  /** What an interest's filter means is found out once, here. */
  add(interest: T): void;
  remove(interest: T): void;
  wantedBy(values: RowValues): readonly T[];
}

/** A test that filters have in common, and what it said of the row that is looked at. */
interface SharedTest {
  readonly key: string;
  readonly matches: Matcher;
  users: number;
  /** Number of the row that {@link SharedTest.isPassed} is about. */
  row: number;
  isPassed: boolean;
}

interface Entry<T> {
  readonly interest: T;
  readonly tests: readonly SharedTest[];
  readonly marks: readonly Mark[] | undefined;
  /** Number of the last row that it was asked about. */
  row: number;
}

export function createDistribution<T extends Interest>(): Distribution<T> {
  const entries = new Map<T, Entry<T>>();
  const tests = new Map<string, SharedTest>();
  const unmarked = new Set<Entry<T>>();
  const marked = createMarkIndex<Entry<T>>();
  let row = 0;

  const shared = ({ key, matches }: { readonly key: string; readonly matches: Matcher }) => {
    const test = tests.get(key) ?? { key, matches, users: 0, row: 0, isPassed: false };
    tests.set(key, test);
    test.users += 1;
    return test;
  };
  const ask = (candidates: Iterable<Entry<T>>, values: RowValues, wanted: T[]): void => {
    for (const entry of candidates) {
      if (entry.row === row) continue;
      entry.row = row;
      if (passes(entry.tests, values, row)) wanted.push(entry.interest);
    }
  };
  return {
    add(interest) {
      const marks = marksOf(interest.request);
      const own = testsOf(interest.request, interest.principal).map(shared);
      const entry = { interest, tests: own, marks, row: 0 };
      entries.set(interest, entry);
      if (marks === undefined) unmarked.add(entry);
      for (const mark of marks ?? []) marked.add(mark, entry);
    },
    remove(interest) {
      const entry = entries.get(interest);
      if (entry === undefined) return;
      entries.delete(interest);
      unmarked.delete(entry);
      for (const mark of entry.marks ?? []) marked.remove(mark, entry);
      for (const test of entry.tests) {
        test.users -= 1;
        if (test.users === 0) tests.delete(test.key);
      }
    },
    wantedBy(values) {
      row += 1;
      const wanted: T[] = [];
      ask(unmarked, values, wanted);
      for (const candidates of marked.of(values)) ask(candidates, values, wanted);
      return wanted;
    },
  };
}

function passes(tests: readonly SharedTest[], values: RowValues, row: number): boolean {
  for (const test of tests) {
    if (test.row !== row) {
      test.row = row;
      test.isPassed = test.matches(values);
    }
    if (!test.isPassed) return false;
  }
  return true;
}
