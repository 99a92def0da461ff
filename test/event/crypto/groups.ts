/** Any group of crypto-auditing's events, for properties. */
import fc from "fast-check";
import type { EventGroup, GroupEvent } from "../../../src/event/crypto/group.ts";
import type { CryptoValue } from "../../../src/event/crypto/record.ts";

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export const contextId = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(hexOf);
export const cryptoText = fc.oneof(
  fc.constantFrom("name", "tls::handshake", "tls::group", "\ufeff", "\ufeffa mark before text"),
  fc.string({ unit: "binary" }),
);
export const cryptoValue: fc.Arbitrary<CryptoValue> = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .map((value) => ({ type: "word", value }) as const),
  fc.integer({ min: -300, max: 70_000 }).map((value) =>
    ({ type: "word", value: BigInt(value) }) as const
  ),
  cryptoText.map((value) => ({ type: "string", value }) as const),
  fc.uint8Array().map((bytes) => ({ type: "blob", value: Uint8Array.from(bytes) }) as const),
);
const event: fc.Arbitrary<GroupEvent> = fc.oneof(
  fc.record({
    kind: fc.constant("context" as const),
    parent: contextId,
    origin: fc.uint8Array({ maxLength: 64 }).map(hexOf),
    executable: fc.option(fc.uint8Array({ maxLength: 20 }).map(hexOf), { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("data" as const), key: cryptoText, datum: cryptoValue }),
);
const moment = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

export const eventGroup: fc.Arbitrary<EventGroup> = fc.record({
  ...{ context: contextId, startNs: moment, endNs: moment },
  events: fc.array(event, { minLength: 1, maxLength: 5 }),
});
