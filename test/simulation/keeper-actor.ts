/**
 * Keeps the table in order while roll-ups write it: the real compaction, checkpoints and vacuum. It also reads the
 * table as others do, sometimes from nothing, and has what it read compared.
 */
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { GRACE_MS_MIN, vacuumBucket } from "../../src/pipeline/maintenance/vacuum.ts";
import type { Log } from "../../src/runtime/log.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { openS3Store } from "../../src/storage/s3-store.ts";
import type { TableSnapshot } from "../../src/storage/table.ts";
import { SIMULATED_ROOT } from "./file-modules.ts";
import { Machine } from "./machine.ts";
import type { Random } from "./random.ts";
import { stage } from "./stage.ts";

export interface KeeperActorOptions {
  readonly name: string;
  readonly random: Random;
  readonly log: Log;
  /** Told of what it read. */
  readonly onView: (snapshot: TableSnapshot) => void;
}

const PAUSE_MS = 5_000;
const DOWN_US = 6_000_000;
/** So often the table is read from nothing. */
const FRESH_SHARE = 0.4;

export class KeeperActor {
  readonly machine: Machine;
  readonly #options: KeeperActorOptions;

  constructor(options: KeeperActorOptions) {
    this.#options = options;
    this.machine = new Machine(options.name);
  }

  start(): void {
    if (this.machine.isUp || stage().isNight) return;
    this.machine.start();
    void this.#live(this.machine.life);
  }

  kill(options: { readonly isPowerLost: boolean }): void {
    if (!this.machine.isUp) return;
    this.machine.kill(options);
    stage().time.after(this.#options.random.next() * DOWN_US, () => this.start());
  }

  async #live(life: number): Promise<void> {
    const { log } = this.#options;
    const { machine } = this;
    const { address } = machine;
    const own = log.with({ at: address });
    while (machine.isUp && machine.life === life) {
      try {
        await this.#keep(own);
      } catch (error) {
        own.error("the table is not kept", { error: String(error) });
      }
      await machine.clock().sleep(PAUSE_MS);
    }
  }

  async #keep(log: Log): Promise<void> {
    const { random, onView } = this.#options;
    const { address } = this.machine;
    const clock = this.machine.clock();
    await using store = openS3Store({ url: "s3://bucket", endpoint: `sim://${address}`, log });
    const scratchDirectory = `${SIMULATED_ROOT}${address}/scratch`;
    await using context = await openMaintenanceContext({ store, scratchDirectory, clock, log });
    const { table } = context;
    for (;;) {
      await clock.sleep(random.next() * PAUSE_MS);
      onView(await table.refresh());
      if (table.current().version < 0) continue;
      const version = await table.checkpoint();
      if (version !== undefined) log.info("wrote a checkpoint", { version });
      await compactTable(context);
      // Before the first night nothing is old enough.
      if (stage().hasSlept) await vacuumBucket(context, { graceMs: GRACE_MS_MIN });
      if (random.chance(FRESH_SHARE)) onView(await openTable({ store, clock, log }).refresh());
    }
  }
}
