/**
 * The stage that stand-ins for modules play on: which simulation is under way in this process, and its machines.
 * Modules have no arguments, so this is the one place of the simulation that is global.
 */
import type { AddressedBroker } from "./broker-connection.ts";
import type { Faults } from "./faults.ts";
import type { Machine } from "./machine.ts";
import type { Random } from "./random.ts";
import type { SimulatedBucket } from "./bucket.ts";
import type { SimulatedTime, Timer } from "./simulated-time.ts";

export interface Stage {
  readonly time: SimulatedTime;
  /** Of the stand-ins alone: what the software draws by chance comes from `softwareRandom`. */
  readonly random: Random;
  readonly softwareRandom: Random;
  readonly machines: Map<string, Machine>;
  readonly faults: Faults;
  readonly broker: AddressedBroker;
  readonly bucket: SimulatedBucket;
  /** Nothing starts at night; and the first night makes things old. */
  isNight: boolean;
  hasSlept: boolean;
}

let present: Stage | undefined;

export function enterStage(stage: Stage): void {
  present = stage;
}

export function stage(): Stage {
  if (present === undefined) throw new Error("Cannot simulate: no simulation is under way");
  return present;
}

/** A life of a machine, by the address it uses: `<machine>.<life>`. */
export interface Life {
  readonly machine: Machine;
  readonly number: number;
  isAlive(): boolean;
}

export function lifeAt(address: string): Life {
  const [, name = "", number = ""] = /^([a-z0-9-]+)\.(\d+)$/.exec(address) ?? [];
  const machine = stage().machines.get(name);
  if (machine === undefined) throw new Error(`Cannot simulate: there is no machine "${address}"`);
  const life = Number(number);
  return { machine, number: life, isAlive: () => machine.isUp && machine.life === life };
}

/** What comes to a life after a delay: later when it stands still then, never when it has ended. */
export function afterIn(life: Life, delayUs: number, fire: () => void): Timer {
  const { time } = stage();
  const arrive = (): void => {
    if (!life.isAlive()) return;
    const restUs = life.machine.frozenUntilUs - time.nowUs;
    if (restUs > 0) timer = time.after(restUs, arrive);
    else fire();
  };
  let timer = time.after(delayUs, arrive);
  return { cancel: () => timer.cancel() };
}

/** A promise of the dead: nothing follows from it. */
export function never<T>(): Promise<T> {
  return new Promise<T>(() => undefined);
}
