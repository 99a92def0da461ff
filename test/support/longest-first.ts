/**
 * In which order test files start: those that take longest first, so that none of them is left alone at the end. Vitest
 * goes by what files took the last time, and by their size on a machine where none has run.
 */
import {
  BaseSequencer,
  type TestSequencer,
  type TestSpecification,
  type Vitest,
} from "vitest/node";

/** What takes long for its size, the longest first; below `test/`. */
export const LONGEST: readonly string[] = [
  "simulation/simulation.test.ts",
  "integration/tail-cuts.test.ts",
  "integration/replay.test.ts",
  "integration/subscription-faults.test.ts",
  "integration/query-faults.test.ts",
  "integration/subscription-readers.test.ts",
  "kernel/end-to-end.test.ts",
  "kernel/chaos.test.ts",
  "edge-agent/sources/applications/application-fuzz.test.ts",
  "query/app-hostile-sql.test.ts",
  "cli/table.test.ts",
  "cli/sql.test.ts",
];

/** A class, as Vitest makes one itself. */
export class LongestFirst implements TestSequencer {
  readonly #usual: BaseSequencer;

  constructor(vitest: Vitest) {
    this.#usual = new BaseSequencer(vitest);
  }

  async shard(files: TestSpecification[]): Promise<TestSpecification[]> {
    return await this.#usual.shard(files);
  }

  async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const group = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    const usual = await this.#usual.sort(files);
    return usual.toSorted((a, b) => group(a) - group(b) || placeOf(a) - placeOf(b));
  }
}

function placeOf({ moduleId }: TestSpecification): number {
  const place = LONGEST.findIndex((file) => moduleId.endsWith(`/test/${file}`));
  return place === -1 ? LONGEST.length : place;
}
