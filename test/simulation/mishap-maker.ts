/** Makes what happens once in a while happen, at times that the seed decides. */
import { headers } from "@nats-io/transport-node";
import type { AgentActor } from "./agent-actor.ts";
import type { SimulatedStream } from "./broker-stream.ts";
import { type Mishaps, namesOf } from "./faults.ts";
import { createNonsense, type Nonsense } from "./nonsense.ts";
import type { Random } from "./random.ts";
import type { KeeperActor } from "./keeper-actor.ts";
import type { RollupActor } from "./rollup-actor.ts";
import { stage } from "./stage.ts";

export interface MishapOptions {
  readonly random: Random;
  readonly mishaps: Mishaps;
  readonly agents: readonly AgentActor[];
  readonly rollups: readonly RollupActor[];
  readonly keepers: readonly KeeperActor[];
  readonly clone: (agent: AgentActor) => void;
  readonly note: (what: string) => void;
}

const DOWN_US = 8_000_000;
const FULL_US = 10_000_000;
const STORE_DOWN_US = 25_000_000;
const RESTORE_US = 15_000_000;
const TAIL_MAX = 6;
/** Clocks differ by at most so much: hours, as time zones taken for UTC make them. */
const SKEW_US = 6 * 3_600_000_000;
const SKEW_SMALL_US = 3_000_000;
/** Longer than any lease, and than the broker waits for anybody. */
const FROZEN_US = 20_000_000;

export class MishapMaker {
  readonly #options: MishapOptions;
  readonly #nonsense: Nonsense;
  #isOver = false;

  constructor(options: MishapOptions) {
    this.#options = options;
    this.#nonsense = createNonsense(options.random.fork());
    for (const name of namesOf(options.mishaps)) this.#repeat(name);
  }

  /** No more of it; what is down comes back. */
  end(): void {
    this.#isOver = true;
    const { broker, bucket } = stage();
    if (!broker.isUp) broker.comeBack();
    bucket.isDown = false;
    for (const { machine } of this.#options.agents) machine.disk.isFull = false;
  }

  #repeat(name: keyof Mishaps): void {
    const { random, mishaps } = this.#options;
    const meanUs = mishaps[name] * 1_000_000;
    if (!Number.isFinite(meanUs)) return;
    stage().time.after(-Math.log(1 - random.next()) * meanUs, () => {
      if (this.#isOver) return;
      this.#options.note(name);
      this.#happen(name);
      this.#repeat(name);
    });
  }

  #happen(name: keyof Mishaps): void {
    const { random, agents, rollups, keepers } = this.#options;
    const { time, broker, bucket } = stage();
    const keeper = keepers[random.between(0, Math.max(0, keepers.length - 1))];
    const agent = agents[random.between(0, agents.length - 1)];
    const rollup = rollups[random.between(0, rollups.length - 1)];
    const stream = this.#anyStream();
    switch (name) {
      case "rollupKilled":
        return random.chance(0.3) ? rollup?.stop() : rollup?.kill({ isPowerLost: false });
      case "agentKilled":
        return agent?.kill({ isPowerLost: random.chance(0.5) });
      case "brokerRestarted":
        return this.#restartBroker();
      case "tailLost":
        for (const each of broker.server.streams.values()) this.#loseTail(each);
        return this.#restartBroker();
      case "brokerWiped":
        for (const each of [...broker.server.streams.keys()]) broker.server.remove(each);
        return this.#restartBroker();
      case "streamRemoved":
        if (stream !== undefined) broker.server.remove(stream.settings.name);
        return;
      case "holeMade":
        for (let left = random.between(1, 3); left > 0; left--) this.#makeHole(stream);
        return;
      case "messageReplayed":
        return this.#replay(stream);
      case "nonsenseSent":
        if (stream !== undefined) broker.server.inject(stream, this.#nonsense(stream));
        return;
      case "clockJumped": {
        const skewUs = (): number =>
          (random.next() - 0.5) * (random.chance(0.5) ? SKEW_US : SKEW_SMALL_US);
        for (const each of [agent, rollup, keeper]) {
          if (each !== undefined) each.machine.skewUs = skewUs();
        }
        return;
      }
      case "processFrozen":
        return random.pick<AgentActor | RollupActor | KeeperActor | undefined>(
          [agent, rollup, rollup, keeper],
        )?.machine.freeze(random.next() * FROZEN_US);
      case "keeperKilled":
        return keeper?.kill({ isPowerLost: false });
      case "diskRestored":
        return this.#restoreLater(agent);
      case "diskCloned":
        if (agent !== undefined) this.#options.clone(agent);
        return;
      case "storeDown":
        bucket.isDown = true;
        time.after(random.next() * STORE_DOWN_US, () => bucket.isDown = false);
        return;
      case "diskFull": {
        if (agent === undefined) return;
        const { disk } = agent.machine;
        disk.isFull = true;
        time.after(random.next() * FULL_US, () => disk.isFull = false);
        return;
      }
    }
  }

  #restoreLater(agent: AgentActor | undefined): void {
    const copy = agent?.copyDisk();
    stage().time.after(this.#options.random.next() * RESTORE_US, () => {
      if (!this.#isOver && copy !== undefined) agent?.restoreDisk(copy);
    });
  }

  #restartBroker(): void {
    const { time, broker } = stage();
    if (!broker.isUp) return;
    broker.goDown();
    time.after(this.#options.random.next() * DOWN_US, () => {
      if (!broker.isUp) broker.comeBack();
    });
  }

  #loseTail(stream: SimulatedStream): void {
    const { random } = this.#options;
    if (random.chance(0.3)) return;
    stream.loseTail(random.between(1, TAIL_MAX), { forgetsIds: random.chance(0.8) });
  }

  #makeHole(stream: SimulatedStream | undefined): void {
    if (stream === undefined || stream.messages.size < 2) return;
    const { random } = this.#options;
    const sequences = [...stream.messages.keys()].slice(0, -1);
    const sequence = sequences[random.between(0, sequences.length - 1)];
    if (sequence !== undefined) stream.remove(sequence);
  }

  /** The same message once more, behind all others. */
  #replay(stream: SimulatedStream | undefined): void {
    const messages = [...stream?.messages.values() ?? []];
    const found = messages[this.#options.random.between(0, messages.length - 1)];
    if (stream === undefined || found === undefined) return;
    const copy = headers();
    for (const [name, values] of found.headers ?? []) {
      for (const each of values) copy.append(name, each);
    }
    const { subject, data } = found;
    stage().broker.server.inject(stream, { subject, headers: copy, data });
  }

  #anyStream(): SimulatedStream | undefined {
    const streams = [...stage().broker.server.streams.values()]
      .filter(({ settings }) => settings.name.startsWith("AUDIT_"));
    return streams[this.#options.random.between(0, streams.length - 1)];
  }
}
