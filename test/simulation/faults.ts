/**
 * What goes wrong, and how often. Every seed has another mixture, in which most things do not: a run in which
 * everything fails at once gets nowhere, and hides what one fault alone would show.
 */
import type { Random } from "./random.ts";

/** Probabilities per opportunity. */
export interface Faults {
  /** A request to the broker never arrives; its answer never comes back; it arrives long after its sender gave up. */
  requestLost: number;
  answerLost: number;
  requestLate: number;
  /** A batch's payload is changed on its way. */
  payloadDamaged: number;
  /** Deliveries of the stream to a reader. */
  deliveryLost: number;
  deliveryDoubled: number;
  deliverySwapped: number;
  /** The bucket: busy (not done), 409 on conditions (not done), answers that are lost after or before the work. */
  storeBusy: number;
  storeConflict: number;
  storeAnswerLost: number;
  storeRequestLost: number;
  /** Done, but only seconds after the client gave up. */
  storeLate: number;
  storeSlow: number;
  /** A read or a listing that shows the bucket as it was up to some seconds ago. */
  storeStale: number;
  /** The disk of an agent: a sync that fails. */
  syncFails: number;
}

/** What happens once in a while: mean seconds between two of a kind; Infinity for never. */
export interface Mishaps {
  rollupKilled: number;
  agentKilled: number;
  /** The broker is restarted; of what it acknowledged last, some may be lost. */
  brokerRestarted: number;
  tailLost: number;
  brokerWiped: number;
  streamRemoved: number;
  /** Messages in the middle are gone. */
  holeMade: number;
  /** Another copy of a stored message. */
  messageReplayed: number;
  /** Messages of a sender that keeps no rules. */
  nonsenseSent: number;
  clockJumped: number;
  diskFull: number;
  /** The disk of an agent is as it was some time before. */
  diskRestored: number;
  /** Another machine goes on from a copy of an agent's disk, beside it. */
  diskCloned: number;
  storeDown: number;
  /** A process stands still, and goes on as if nothing were. */
  processFrozen: number;
  keeperKilled: number;
}

const NO_FAULTS: Faults = {
  requestLost: 0,
  answerLost: 0,
  requestLate: 0,
  payloadDamaged: 0,
  deliveryLost: 0,
  deliveryDoubled: 0,
  deliverySwapped: 0,
  storeBusy: 0,
  storeConflict: 0,
  storeAnswerLost: 0,
  storeRequestLost: 0,
  storeLate: 0,
  storeSlow: 0,
  storeStale: 0,
  syncFails: 0,
};

const GREATEST: Faults = {
  requestLost: 0.08,
  answerLost: 0.12,
  requestLate: 0.06,
  payloadDamaged: 0.1,
  deliveryLost: 0.08,
  deliveryDoubled: 0.08,
  deliverySwapped: 0.08,
  storeBusy: 0.15,
  storeConflict: 0.2,
  storeAnswerLost: 0.15,
  storeRequestLost: 0.1,
  storeLate: 0.06,
  storeSlow: 0.1,
  storeStale: 0.3,
  syncFails: 0.05,
};

/** Least mean seconds between two. */
const MOST_OFTEN: Mishaps = {
  rollupKilled: 8,
  agentKilled: 10,
  brokerRestarted: 15,
  tailLost: 15,
  brokerWiped: 40,
  streamRemoved: 40,
  holeMade: 12,
  messageReplayed: 4,
  nonsenseSent: 3,
  clockJumped: 10,
  diskFull: 30,
  diskRestored: 25,
  diskCloned: 30,
  storeDown: 25,
  processFrozen: 8,
  keeperKilled: 12,
};

/** How likely a kind is part of a seed's mixture. */
const FAULT_SHARE = 0.4;
const MISHAP_SHARE = 0.4;

export function drawFaults(random: Random): Faults {
  const faults = { ...NO_FAULTS };
  for (const name of namesOf(GREATEST)) {
    if (random.chance(FAULT_SHARE)) faults[name] = GREATEST[name] * random.next();
  }
  return faults;
}

export function drawMishaps(random: Random): Mishaps {
  const mishaps = { ...MOST_OFTEN };
  for (const name of namesOf(MOST_OFTEN)) {
    mishaps[name] = random.chance(MISHAP_SHARE)
      ? MOST_OFTEN[name] * (1 + 3 * random.next())
      : Infinity;
  }
  return mishaps;
}

export function endFaults(faults: Faults): void {
  Object.assign(faults, NO_FAULTS);
}

/** as: the keys of an object whose type lists them all */
export function namesOf<T extends object>(of: T): readonly (keyof T)[] {
  return Object.keys(of) as (keyof T)[];
}
