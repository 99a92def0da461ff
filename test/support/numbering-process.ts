/**
 * A process that emits numbered events for ever, for tests that kill it. The number reached is its ring position: what
 * a restarted one reads is where the newest durable batch ended, as with the kernel's rings.
 *
 * Arguments: spool folder, broker's URL. Prints `agent NAME`, then `durable N` for every batch on disk.
 */
import process from "node:process";
import { lineFields } from "../../src/event/event.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { createLog } from "../../src/runtime/log.ts";

const [directory = "", url = ""] = process.argv.slice(2);
const producer = await openProducer({
  directory,
  host: "web-1",
  shard: "0",
  nats: { url },
  flushMs: 5,
  log: createLog({ level: "error" }),
});
process.stdout.write(`agent ${producer.agent}\n`);
producer.onDurable(({ numbers }) => process.stdout.write(`durable ${numbers?.position}\n`));
for (let number = (producer.positions["numbers"]?.position ?? 0) + 1;; number++) {
  const timeUs = Date.now() * 1000;
  const detail = { number };
  producer.append(lineFields({ timeUs, topic: "app/test", severity: "info", detail }), timeUs);
  producer.mark("numbers", { ring: "r", position: number });
  if (number % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
}
