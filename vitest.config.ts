import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

const serverTests = ["test/integration/**/*.test.ts"];
const simulationTests = ["test/simulation/**/*.test.ts"];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: [...serverTests, ...simulationTests],
          // Some start processes; a busy machine takes long to.
          testTimeout: 30_000,
          // Many wait for a disk or a child: one more worker than there are processors uses the time.
          maxWorkers: availableParallelism() + 1,
        },
      },
      {
        test: {
          name: "integration",
          include: serverTests,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "simulation",
          include: simulationTests,
          // Its processes take all processors.
          fileParallelism: false,
        },
      },
    ],
  },
});
