/**
 * Captures what really happens on this machine into an evidence segment, for the roll-up's figures: an agent with all
 * its sources and a broker of its own. Needs root. Arguments: file to write, seconds (60 by default).
 */
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { openAgent } from "../src/edge-agent/agent.ts";
import { MESSAGE_BYTES_MAX, streamOf, subjectsOf } from "../src/event/wire.ts";
import { createSegmentEncoder } from "../src/pipeline/segment.ts";
import { createLog } from "../src/runtime/log.ts";
import { connectNats, ensureStream, openStream } from "../src/runtime/nats.ts";
import { readStream } from "../src/runtime/stream-reader.ts";
import { openNatsServer } from "../test/support/nats-server.ts";

const [path = "capture.segment", seconds = "60"] = process.argv.slice(2);
const log = createLog({ level: "info" });
await using server = await openNatsServer();
await using connection = await connectNats({ url: server.url, name: "capture", log });
await ensureStream(connection, {
  name: streamOf("0"),
  subjects: [subjectsOf("0")],
  messageBytesMax: MESSAGE_BYTES_MAX,
});
const folder = await mkdtemp(join(tmpdir(), "probity-capture-"));
{
  await using agent = await openAgent({
    dataDirectory: folder,
    nats: { url: server.url },
    version: "0.1.0",
    log,
  });
  const stop = new AbortController();
  const running = agent.run(stop.signal);
  await delay(Number(seconds) * 1000);
  stop.abort();
  await running;
}
await rm(folder, { recursive: true, force: true });

const last = (await openStream(connection, streamOf("0")))?.lastSequence ?? 0;
const encoder = createSegmentEncoder({ shard: "0", incarnation: "00000000" });
const file = createWriteStream(path);
file.write(encoder.begin());
if (last > 0) {
  for await (const message of readStream({ connection, stream: streamOf("0"), fromSequence: 1 })) {
    for (const part of encoder.message(message)) file.write(part);
    if (message.sequence >= last) break;
  }
}
file.end(encoder.end());
await once(file, "close");
log.info("captured", { path, messages: last });
