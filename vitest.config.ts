import { defineConfig } from "vitest/config";

const serverTests = ["test/integration/**/*.test.ts"];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: serverTests,
          // Some start processes; a busy machine takes long to.
          testTimeout: 30_000,
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
    ],
  },
});
