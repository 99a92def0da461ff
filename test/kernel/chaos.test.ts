/** The pipeline's promise under everything that happens to processes, disks, clocks and services, for a minute. */
import { randomInt } from "node:crypto";
import { describe, expect, it } from "vitest";
import { isPresent } from "../support/capabilities.ts";
import { missingCephGateway } from "../support/ceph-gateway.ts";
import { runChaos } from "../support/chaos.ts";
import { findFakeTime } from "../support/fake-clock.ts";
import { requireCapability } from "../support/require.ts";

const SECONDS = 60;
const EVENTS_PER_SECOND = 500;
/** Of the kills, however they fall. */
const KILLS_MIN = 10;
const COMPACTIONS_MIN = 3;

const noGateway = missingCephGateway();
const canRun = [
  requireCapability("bpf", isPresent("bpf"), "needs root, BTF and libbpf1"),
  requireCapability("nats", isPresent("nats"), "needs the Debian package nats-server"),
  requireCapability("s3", noGateway === undefined, noGateway ?? ""),
  requireCapability("faketime", findFakeTime() !== undefined, "apt-get install libfaketime"),
].every(Boolean);

describe.runIf(canRun)("the pipeline, for a minute of disasters", () => {
  it(
    "has every event of the agents' spools in the table exactly once, while it is kept in order",
    async () => {
      const seed = Number(process.env["CHAOS_SEED"] ?? randomInt(2 ** 31));
      console.log(`CHAOS_SEED=${seed}`);
      const report = await runChaos({ seconds: SECONDS, seed, perSecond: EVENTS_PER_SECOND });
      console.log(JSON.stringify(report));
      const { events, found, countedLost, doubled, rowsDoubled, rowsOverdue, kills } = report;
      expect({ doubled, rowsDoubled }).toEqual({ doubled: 0, rowsDoubled: 0 });
      expect(events - found, "missing beyond what gaps count").toBeLessThanOrEqual(countedLost);
      expect(report.rowsBack, "rows of the time when the clock was an hour back").toBeGreaterThan(
        0,
      );
      expect(rowsOverdue, "rows that retention has left").toBe(0);
      expect(report.compactions).toBeGreaterThanOrEqual(COMPACTIONS_MIN);
      expect(report.rowsRetained).toBeGreaterThan(0);
      expect(report.filesVacuumed).toBeGreaterThan(0);
      expect(Object.keys(report.deedsTold)).toEqual([
        "table compact",
        "table retain",
        "table vacuum",
      ]);
      const killed = Object.values(kills).reduce((sum, count) => sum + count, 0);
      expect(killed).toBeGreaterThanOrEqual(KILLS_MIN);
    },
    600_000,
  );
});
