/**
 * A sender that keeps no rules: batches that follow each other, that fork, that come too early, that cannot be read,
 * that say of themselves what is not so.
 */
import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { headers } from "@nats-io/transport-node";
import type { Publishing, SimulatedStream } from "./broker-stream.ts";
import type { Random } from "./random.ts";
import { stage } from "./stage.ts";

export type Nonsense = (stream: SimulatedStream) => Omit<Publishing, "atUs">;

export function createNonsense(random: Random): Nonsense {
  let made = 0;
  const chains = new Map<string, { number: number; digest: string }>();
  return ({ settings }) => {
    const shard = settings.name.replace("AUDIT_", "");
    const epoch = `e${random.between(1, 2)}`;
    const agent = `rogue-${random.between(1, 2)}`;
    const chain = chains.get(`${shard}/${agent}/${epoch}`) ?? { number: 0, digest: "" };
    const count = random.between(1, 3);
    const lines = Array.from({ length: count }, (_, idx) => {
      made += 1;
      const time = new Date(stage().time.nowUs / 1000).toISOString();
      // Its events have names of their own, in no order that anybody promised.
      return JSON.stringify({ idx, time, topic: "app/rogue", message: `rogue-${made}` });
    });
    const text = `${lines.join("\n")}\n`;
    const kind = random.pick([
      "next",
      "next",
      "next",
      "fork",
      "early",
      "twin",
      "unreadable",
      "count",
      "digest",
      "void",
      "bare",
      "other",
    ]);
    const payload = kind === "unreadable"
      ? Buffer.from(text)
      : kind === "void"
      ? new Uint8Array()
      : zstdCompressSync(text, { pledgedSrcSize: text.length });
    const digest = createHash("sha256").update(kind === "void" ? text : payload).digest("hex");
    const isFork = kind === "fork";
    const number = kind === "early"
      ? chain.number + 3
      : kind === "twin"
      ? Math.max(1, chain.number)
      : chain.number + 1;
    const fields = headers();
    const set = (name: string, value: string): void => fields.set(`Probity-${name}`, value);
    set("Host", "rogue");
    set("Agent", kind === "other" ? "somebody" : agent);
    set("Epoch", epoch);
    if (kind !== "bare") set("Batch", String(number));
    set("Count", String(kind === "count" ? count + 1 : count));
    set("First", String(stage().time.nowUs));
    set("Last", String(stage().time.nowUs));
    set("Digest", kind === "digest" ? digest.replaceAll(/[0-7]/g, "8") : digest);
    const previous = isFork ? digest : chain.digest;
    if (previous !== "") set("Prev", previous);
    if (kind === "void") set("Void", "as simulated");
    set("Schema", "1");
    fields.set("Content-Encoding", "zstd");
    const isTaken = ["next", "unreadable", "count", "void"].includes(kind) ||
      (isFork && number === 1) || (kind === "twin" && chain.number === 0);
    if (isTaken) chains.set(`${shard}/${agent}/${epoch}`, { number, digest });
    return { subject: `audit.${shard}.${agent}`, headers: fields, data: payload };
  };
}
