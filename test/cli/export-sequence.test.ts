import { expect, test } from "vitest";
import { writeSequence } from "../../src/cli/export-sequence.ts";
import type { Output } from "../../src/cli/output.ts";
import { createGroupEvents, serviceOf } from "../../src/event/crypto/group-events.ts";
import { cryptoFields } from "../../src/event/crypto/record.ts";
import { createGroupReader } from "../../src/event/crypto/sequence.ts";

const context = "ab".repeat(16);
const word = (key: string) => ({ kind: "data", key, datum: { type: "word", value: 1n } }) as const;
const [imported] = createGroupEvents({ bootUs: 0, firstNs: 1n }).next(
  { context, startNs: 1n, endNs: 1n, events: [word("tls::old")] },
  { id: "0123", group: 0 },
);
const live = cryptoFields({ context, sinceBootNs: 5n, fact: word("tls::new") }, {});
const time = "2026-01-01T00:00:00.000000Z";

test.each([
  ["what probes told, beside what was imported", {}, ["tls::new"], 1],
  ["a file that is asked for", { service: serviceOf("0123") }, ["tls::old"], 0],
])("a sequence is %s", async (_name, conditions, expected, left) => {
  const reader = createGroupReader();
  const keys: string[] = [];
  const notices: string[] = [];
  const write = (bytes: Uint8Array | string): Promise<void> => {
    for (const { group } of reader.push(Buffer.from(bytes))) {
      keys.push(...group.events.flatMap((each) => each.kind === "data" ? [each.key] : []));
    }
    return Promise.resolve();
  };
  async function* events() {
    yield { id: "1", time, topic: "crypto/tls/old", host: "h", ...imported };
    if (left > 0) yield { id: "2", time, host: "h", ...live };
  }
  // as: of an output it needs no more
  const output = { write, notice: (text: string) => void notices.push(text) } as unknown as Output;
  await writeSequence(events(), { variant: "normal", conditions, output });
  expect(keys.filter((key) => key.startsWith("tls"))).toEqual(expected);
  expect(notices).toHaveLength(left);
});
