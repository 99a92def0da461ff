/** What programs send over TCP arrives at a KMS, signed, besides becoming events. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { KMS_DEFAULTS } from "../../../../../src/edge-agent/sources/applications/kms/kms-settings.ts";
import { openApplicationsSource } from "../../../../../src/edge-agent/sources/applications/applications-source.ts";
import { systemClock } from "../../../../../src/runtime/clock.ts";
import {
  connectTo,
  frame,
  lookupOf,
  openApplicationRig,
  TCP,
} from "../../../../support/application-rig.ts";
import { openTestKms } from "../../../../support/kms.ts";
import { quietLog } from "../../../../support/data-table.ts";
import { runSource } from "../../../../support/source-run.ts";
import { openTemporaryFolder } from "../../../../support/temporary-folder.ts";

const settingsFor = (url: string) => ({
  listen: TCP,
  service: "bank",
  kms: { ...KMS_DEFAULTS, url, batchSize: 2, reconnectIntervalMs: 20 },
});

describe("messages of applications with a KMS", () => {
  it("are relayed as they came, whatever they are, and are events all the same", async () => {
    await using kms = await openTestKms();
    await using rig = await openApplicationRig(settingsFor(kms.url));
    await using run = runSource(rig.source);
    const messages = ['{"topic":"transfer","amount":"1"}', "käse", "", "plain"];
    const whole = Buffer.concat([...messages.map(frame), frame(Buffer.from([0x61, 0xff]))]);
    const socket = await connectTo(rig.source);
    socket.write(whole.subarray(0, 9));
    await systemClock.sleep(20);
    socket.end(whole.subarray(9));
    await run.waitFor(() => true, { count: 5 });
    while (kms.batches.length < 2) await systemClock.sleep(10);
    const { rows, faults } = await kms.inquire(Date.now() - 60_000, Date.now() + 1_000);
    expect(faults).toEqual([]);
    // As the sidecar has it: what is no UTF-8 is replaced in what is signed.
    expect(rows.map(({ message }) => message)).toEqual([...messages, "a\ufffd"]);
    expect(kms.registered).toEqual(["bank"]);
    expect(run.lines[0]).toMatchObject({ topic: "app/bank/transfer" });
    expect(run.lines[4]).toMatchObject({ message: "a\\xff" });
  });

  it("are taken without a relay when its database cannot be had, and the status says so", async () => {
    await using kms = await openTestKms();
    await using folder = await openTemporaryFolder("kms");
    const path = join(folder.path, "kms.db");
    mkdirSync(path);
    await using source = openApplicationsSource({
      settings: settingsFor(kms.url),
      processes: lookupOf(""),
      relay: { path, version: "1.2.3" },
      clock: systemClock,
      log: quietLog,
    });
    const status = await source.probe();
    expect(status).toMatchObject({
      state: "on",
      hooks: [{ name: "kms", state: "off", reason: expect.stringContaining("EISDIR") }, {
        state: "on",
      }],
    });
    await using run = runSource(source);
    const socket = await connectTo(source);
    socket.end(frame("one"));
    await run.waitFor(({ message }) => message === "one", { count: 1 });
  });
});
