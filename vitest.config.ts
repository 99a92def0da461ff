import { chmodSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/support/longest-first.ts";

const serverTests = ["test/integration/**/*.test.ts"];
/** Agents see what all processes of the machine do, so that these need it for themselves. */
const kernelTests = ["test/kernel/**/*.test.ts"];
/** Whole systems that are killed and started again: they mostly wait, and what others do they tell as well. */
const wholeSystems = ["test/kernel/{chaos,end-to-end,up}.test.ts"];
/** Those that look at what their own programs and folders do alone: they have time beside the longest of those. */
const ownSubjects = [
  "test/kernel/{account-files,doctor,package-folding}.test.ts",
  "test/kernel/{file-integrity,file-integrity-agent,file-integrity-places}.test.ts",
];
const systemTests = [...wholeSystems, ...ownSubjects];
const simulationTests = ["test/simulation/**/*.test.ts"];
/** Without servers, but with commands as processes, whole tables or 100,000 inputs: too long before each commit. */
const longTests = [
  "test/cli/{data-folder,host,import-sequence,replay-trial,report,rollup,search,sink,sql}.test.ts",
  "test/cli/{start,subscription,supervisor,table,tls,token,unusable-folder,web-socket}.test.ts",
  "test/client/{every-operation,query,rpc,runtimes}.test.ts",
  "test/edge-agent/crypto-broker/crypto-broker.test.ts",
  "test/edge-agent/sources/applications/{application-fuzz,hostile-senders,kms/relay}.test.ts",
  "test/edge-agent/sources/collectors/{auth-log,dpkg-status,utmp}.test.ts",
  "test/edge-agent/sources/digest/file-digests.test.ts",
  "test/edge-agent/sources/file-integrity/content-secrets.test.ts",
  "test/event/crypto/{sequence-fuzz,sequence-writer}.test.ts",
  "test/pipeline/maintenance/{compaction,retention,schedule,vacuum}.test.ts",
  "test/pipeline/round.test.ts",
  "test/producer/{resend-model,spool,spool-torn}.test.ts",
  "test/query/{app-*,coverage,engine-process,issuers,sql-cookbook,sql-counts}.test.ts",
  "test/query/{json-parts,tail-matcher,tail-removals,written-rows}.test.ts",
  "test/storage/{delta-model,fs-store,typed-read,unreadable}.test.ts",
];
/** Many wait for a disk or a child: one more worker than there are processors uses the time. */
const maxWorkers = availableParallelism() + 1;

/** Code that the processes of tests have compiled, for the next ones: also for those that become another user. */
const compiled = join(import.meta.dirname, "node_modules/.cache/probity-tests");
mkdirSync(compiled, { recursive: true });
chmodSync(compiled, 0o1777);
const env = { NODE_COMPILE_CACHE: compiled };

/**
 * Files share a worker's modules: importing the same hundreds of them for each file took half of all tests' processor
 * time. Who imports the library of schemas first decides how it checks: that is settled before, as in every command.
 */
const together = { isolate: false, setupFiles: "src/cli/schema-settings.ts" };

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "unit",
          env,
          include: ["test/**/*.test.ts"],
          exclude: [...serverTests, ...kernelTests, ...simulationTests, ...longTests],
          globalSetup: "test/support/bpf-filesystem.ts",
          // Some start processes; a busy machine takes long to.
          testTimeout: 30_000,
          hookTimeout: 30_000,
          maxWorkers,
          ...together,
        },
      },
      {
        test: {
          name: "long",
          env,
          include: longTests,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers,
          ...together,
        },
      },
      {
        test: {
          name: "integration",
          env,
          include: serverTests,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // They mostly wait for servers.
          maxWorkers,
          ...together,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: "simulation",
          env,
          include: simulationTests,
          // Its processes take all processors.
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: "system",
          env,
          include: systemTests,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: "kernel",
          env,
          include: kernelTests,
          exclude: systemTests,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
