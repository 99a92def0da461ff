/**
 * A world in which the sender meets the receiver: a broker that loses, forgets and answers late, a roll-up that accepts,
 * commits, purges and writes watermarks, and spools that crash. All of it plain values, moved by one operation at a
 * time, so that a failing run shrinks to the few operations that matter.
 */
import {
  type AcceptanceState,
  createAcceptance,
  emptyAcceptance,
  startIncarnation,
  watermarkOf,
} from "../../src/event/acceptance.ts";
import type { Watermark } from "../../src/event/watermark.ts";
import { planAdoption } from "../../src/event/adoption.ts";
import {
  adoptionIdOf,
  type BatchHeader,
  batchIdOf,
  isGivenUp,
  resendIdOf,
} from "../../src/event/wire.ts";
import { outstandingIn } from "../../src/pipeline/adoption.ts";
import { createSender, type Sender, type SenderCommand } from "../../src/producer/resend.ts";
import type { SenderRules } from "../../src/producer/resend-rules.ts";
import type { StreamPlace } from "../../src/producer/spool-receipts.ts";

export const AGENT = "a";

export interface Message {
  readonly sequence: number;
  /** Undefined: another agent's. */
  readonly header: BatchHeader | undefined;
  readonly isDamaged: boolean;
  readonly messageDigest: string;
}

/** The stream and its memory of message ids. */
export class Broker {
  incarnation: string | undefined = "i1";
  made = 1;
  messages: Message[] = [];
  lastSequence = 0;
  ids = new Map<string, number>();
  stored = 0;

  /** What a publish is answered with. */
  publish(
    header: BatchHeader,
    options: { readonly id: string; readonly expected: number; readonly isDamaged: boolean },
  ): { kind: "stored"; sequence: number } | { kind: "refused"; reported: number } | undefined {
    if (this.incarnation === undefined) return undefined;
    const known = this.ids.get(options.id);
    if (known !== undefined) return { kind: "stored", sequence: known };
    const reported = this.messages.findLast((each) => each.header !== undefined)?.sequence ?? 0;
    if (reported !== options.expected) return { kind: "refused", reported };
    const sequence = this.append(header, options.isDamaged);
    this.ids.set(options.id, sequence);
    return { kind: "stored", sequence };
  }

  append(header: BatchHeader | undefined, isDamaged: boolean): number {
    this.lastSequence += 1;
    this.stored += 1;
    const messageDigest = `m${this.stored}`;
    this.messages.push({ sequence: this.lastSequence, header, isDamaged, messageDigest });
    return this.lastSequence;
  }

  /** A power loss: the newest messages are gone; ids of them may be remembered or not. */
  loseTail(count: number, options: { readonly forgetIds: boolean }): void {
    this.lastSequence = Math.max(0, this.lastSequence - count);
    this.messages = this.messages.filter(({ sequence }) => sequence <= this.lastSequence);
    if (!options.forgetIds) return;
    for (const [id, sequence] of this.ids) if (sequence > this.lastSequence) this.ids.delete(id);
  }

  remove(): void {
    this.incarnation = undefined;
    this.messages = [];
    this.ids.clear();
    this.lastSequence = 0;
  }

  make(): void {
    this.remove();
    this.made += 1;
    this.incarnation = `i${this.made}`;
  }

  purge(before: number): void {
    this.messages = this.messages.filter(({ sequence }) => sequence >= before);
  }
}

/** The roll-up: the record, and what it tells of it. */
export class Record {
  state: AcceptanceState = emptyAcceptance("i1");
  /** Digests of the payloads that are part of the record, in order. */
  accepted: string[] = [];
  history: { readonly state: AcceptanceState; readonly accepted: readonly string[] }[] = [];
  watermarks: Watermark[] = [];
  commits = 0;
  /** Batches that came ahead of a hole. */
  evidence: { readonly header: BatchHeader }[] = [];

  round(broker: Broker, options: { readonly nowUs: number; readonly isPurging: boolean }): void {
    this.history.push({ state: this.state, accepted: [...this.accepted] });
    this.#follow(broker);
    const acceptance = createAcceptance(this.state);
    for (const { sequence, header, isDamaged, messageDigest } of broker.messages) {
      if (sequence <= this.state.sequence) continue;
      const batch = header !== undefined && !isDamaged
        ? { ok: true, header } as const
        : { ok: false, reason: "damaged" } as const;
      const { verdict } = acceptance.decide({
        sequence,
        storedAtUs: options.nowUs,
        messageDigest,
        agent: header === undefined ? undefined : AGENT,
        batch,
      });
      if (header === undefined) continue;
      const isTaken = verdict === "accepted" || verdict === "void";
      if (isTaken && !isGivenUp(header)) this.accepted.push(header.digest);
      if (verdict === "ahead") this.evidence.push({ header });
    }
    this.state = acceptance.state();
    this.commits += 1;
    const watermark = watermarkOf(this.state, AGENT, options.nowUs);
    if (watermark !== undefined) this.watermarks.push(watermark);
    if (options.isPurging) broker.purge(this.state.sequence);
  }

  /** Publishes in the agent's place what it left behind a hole, and perhaps only the first of it. */
  adopt(broker: Broker, steps: number): void {
    const { incarnation, sequence } = this.state;
    let expected = broker.messages.findLast(({ header }) => header !== undefined)?.sequence ?? 0;
    if (broker.incarnation !== incarnation || expected > sequence) return;
    for (const { epoch, accepted: number, digest, isCurrent } of outstandingIn("0", this.state)) {
      if (!isCurrent) continue;
      const kept = this.evidence.filter(({ header }) => header.epoch === epoch);
      for (const step of planAdoption({ number, digest }, kept).steps.slice(0, steps)) {
        const header = step.kind === "void" ? step.header : step.batch.header;
        const id = adoptionIdOf(header, this.state);
        const answer = broker.publish(header, { id, expected, isDamaged: false });
        if (answer?.kind !== "stored" || answer.sequence <= expected) return;
        expected = answer.sequence;
      }
    }
  }

  /** A stream that is not the one that was read is made anew: all in it is committed or still in a spool. */
  #follow(broker: Broker): void {
    const { incarnation, sequence, digest } = this.state;
    const at = broker.messages.find((each) => each.sequence === sequence);
    const isSame = broker.incarnation === incarnation;
    const isCut = isSame && broker.lastSequence < sequence;
    const isOther = isSame && at !== undefined && at.messageDigest !== digest;
    if (broker.incarnation === undefined || isCut || isOther) broker.make();
    if (broker.incarnation !== incarnation) {
      this.state = startIncarnation(this.state, broker.incarnation ?? "");
    }
  }

  /** The bucket goes back to what it was some commits ago. */
  setBack(commits: number): void {
    const before = this.history.at(-commits);
    if (before === undefined) return;
    this.state = before.state;
    this.accepted = [...before.accepted];
  }
}

interface Kept {
  readonly digest: string;
  isVoid: boolean;
}

interface SpooledEpoch {
  readonly epoch: string;
  /** How many batches of the spool come before it. */
  readonly base: number;
  readonly previous: string;
}

/** One spool and its sender. */
export class Agent {
  readonly rules: SenderRules;
  readonly name: string;
  batches: Kept[] = [];
  epochs: SpooledEpoch[];
  released = 0;
  places = new Map<number, StreamPlace>();
  sender: Sender;
  isOnline = false;
  conflicts = 0;
  /** Publishes that reach the broker later. */
  late: { header: BatchHeader; id: string; expected: number }[] = [];

  constructor(name: string, rules: SenderRules) {
    this.rules = rules;
    this.name = name;
    this.epochs = [{ epoch: `${name}1`, base: 0, previous: "" }];
    this.sender = this.#start();
  }

  get epoch(): SpooledEpoch {
    return this.epochs[this.epochs.length - 1] ?? { epoch: "", base: 0, previous: "" };
  }

  append(digest: string): void {
    this.batches.push({ digest, isVoid: false });
    const number = this.batches.length - this.epoch.base;
    this.sender.take({ kind: "durable", number, digest });
  }

  connect(): void {
    this.isOnline = true;
    this.sender.take({ kind: "connected" });
  }

  disconnect(): void {
    this.isOnline = false;
    this.sender.take({ kind: "disconnected" });
  }

  /** The process dies; the newest receipts may be lost with it. */
  crash(lostReceipts: number): void {
    for (const ordinal of [...this.places.keys()].slice(-lostReceipts || this.places.size)) {
      this.places.delete(ordinal);
    }
    this.isOnline = false;
    this.sender = this.#start();
  }

  /** The same disk, twice. */
  clone(name: string): Agent {
    const twin = new Agent(name, this.rules);
    twin.batches = this.batches.map((each) => ({ ...each }));
    twin.epochs = [...this.epochs];
    twin.released = this.released;
    twin.places = new Map(this.places);
    twin.sender = twin.#start();
    return twin;
  }

  headerOf(number: number): BatchHeader {
    const ordinal = this.epoch.base + number;
    const kept = this.batches[ordinal - 1];
    const before = number === 1 ? this.epoch.previous : this.batches[ordinal - 2]?.digest ?? "";
    return {
      host: "h",
      agent: AGENT,
      epoch: this.epoch.epoch,
      number,
      count: 1,
      firstUs: 0,
      lastUs: 0,
      digest: kept?.digest ?? "",
      previous: before === "" ? undefined : before,
      void: kept?.isVoid === true ? "the spool was full" : undefined,
    };
  }

  recordStored(number: number, place: StreamPlace): void {
    this.places.set(this.epoch.base + number, place);
  }

  release(through: number): void {
    this.released = this.epoch.base + through;
  }

  startEpoch(): void {
    this.conflicts += 1;
    const previous = this.batches[this.released - 1]?.digest ?? this.epoch.previous;
    const epoch = `${this.name}${this.epochs.length + 1}`;
    this.epochs.push({ epoch, base: this.released, previous });
    this.sender = this.#start();
    if (this.isOnline) this.sender.take({ kind: "connected" });
  }

  #start(): Sender {
    const { base, epoch } = this.epoch;
    const number = this.released - base;
    return createSender({
      epoch,
      others: this.epochs.slice(0, -1).map((each) => each.epoch),
      isClosed: false,
      released: {
        number,
        digest: number === 0 ? "" : this.batches[this.released - 1]?.digest ?? "",
      },
      batches: this.batches.slice(this.released).map(({ digest }, place) => ({
        number: number + place + 1,
        digest,
        stored: this.places.get(this.released + place + 1),
      })),
      lastStored: number === 0 ? undefined : this.places.get(this.released),
    }, this.rules);
  }
}

/** How a publish goes wrong, if it does. */
export type Delivery = "answered" | "answerLost" | "lost" | "late" | "damaged";

export class World {
  readonly broker = new Broker();
  readonly record = new Record();
  nowUs = 1_000_000;

  /** Does what a sender asks for next. */
  step(
    agent: Agent,
    delivery: Delivery,
    options: { readonly watermarkAge: number },
  ): SenderCommand {
    const command = agent.sender.next();
    switch (command.kind) {
      case "publish":
        this.#publish(agent, command, delivery);
        break;
      case "readStream": {
        const { incarnation, lastSequence } = this.broker;
        const isThere = incarnation !== undefined && delivery !== "lost";
        agent.sender.take({
          kind: "stream",
          status: isThere ? { incarnation, lastSequence } : undefined,
        });
        break;
      }
      case "readWatermark":
        this.readWatermark(agent, options.watermarkAge);
        break;
      case "idle":
        if (command.isPolling) this.readWatermark(agent, options.watermarkAge);
        break;
      case "pause":
        agent.sender.take({ kind: "rested" });
        break;
      case "release":
        agent.release(command.through);
        break;
      case "startEpoch":
        agent.startEpoch();
        break;
      case "offline":
      case "finished":
        break;
    }
    return command;
  }

  readWatermark(agent: Agent, age: number): void {
    agent.sender.take({ kind: "watermark", watermark: this.record.watermarks.at(-1 - age) });
  }

  /** What was on its way arrives. */
  deliverLate(agent: Agent): void {
    const first = agent.late.shift();
    if (first !== undefined) this.broker.publish(first.header, { ...first, isDamaged: false });
  }

  #publish(
    agent: Agent,
    command: Extract<SenderCommand, { kind: "publish" }>,
    delivery: Delivery,
  ): void {
    const { number, expected, resend } = command;
    const header = agent.headerOf(number);
    const id = resend === undefined ? batchIdOf(header) : resendIdOf(header, resend);
    if (delivery === "late") agent.late.push({ header, id, expected });
    const isSent = delivery !== "lost" && delivery !== "late";
    const isDamaged = delivery === "damaged";
    const answer = isSent ? this.broker.publish(header, { id, expected, isDamaged }) : undefined;
    if (answer === undefined || delivery === "answerLost") {
      agent.sender.take({ kind: "unanswered" });
    } else if (answer.kind === "refused") {
      agent.sender.take(answer);
    } else {
      agent.sender.take({ kind: "stored", number, sequence: answer.sequence });
      const incarnation = this.broker.incarnation ?? "";
      if (agent.sender.next().kind !== "pause") {
        agent.recordStored(number, { incarnation, sequence: answer.sequence });
      }
    }
  }
}
