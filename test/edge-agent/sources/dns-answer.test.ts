import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readDnsAnswer } from "../../../src/edge-agent/sources/network/dns-answer.ts";
import { COSTLY_RECORDS, costlyAnswer, dnsAnswer, dnsName } from "../../support/dns.ts";

const address = { type: 1, ttlSeconds: 300, data: [192, 0, 2, 7] };
const pointer = (to: number): number[] => [0xc0 | (to >> 8), to & 0xff];
/** Where the question's name is. */
const QUESTION = pointer(12);

describe("an answer of the DNS", () => {
  it("gives the addresses of the name that was asked for", () => {
    const answer = dnsAnswer("WWW.example.ORG", [
      { ...address, owner: QUESTION },
      {
        owner: dnsName("www.EXAMPLE.org"),
        type: 28,
        ttlSeconds: 5,
        data: [0x20, 1, ...zeros(13), 9],
      },
    ]);
    expect(readDnsAnswer(answer)).toEqual({
      name: "www.example.org",
      addresses: [
        { address: "192.0.2.7", ttlSeconds: 300 },
        { address: "2001::9", ttlSeconds: 5 },
      ],
    });
  });

  it("follows the names that a name stands for, and no others", () => {
    const answer = dnsAnswer("a.test", [
      { owner: QUESTION, type: 5, ttlSeconds: 9, data: dnsName("b.test") },
      { ...address, owner: dnsName("b.test") },
      { ...address, owner: dnsName("bank.test"), data: [192, 0, 2, 8] },
    ]);
    expect(readDnsAnswer(answer)).toEqual({
      name: "a.test",
      addresses: [{ address: "192.0.2.7", ttlSeconds: 300 }],
    });
  });

  it("escapes what no host's name has", () => {
    const answer = dnsAnswer("x", [{ ...address, owner: QUESTION }], {
      question: [7, 0x41, 0x22, 0x2e, 0x0a, 0xff, 0x5c, 0x00, 2, 0x2d, 0x5f, 0],
    });
    expect(readDnsAnswer(answer)?.name).toBe("a\\034\\046\\010\\255\\092\\000.-_");
  });

  it("keeps what came before the cut, and a time to live that is one", () => {
    const whole = dnsAnswer("a.test", [
      { ...address, owner: QUESTION, ttlSeconds: 0xffffffff },
      { ...address, owner: QUESTION, data: [192, 0, 2, 8] },
    ]);
    const cut = readDnsAnswer(whole.subarray(0, whole.length - 1));
    expect(cut?.addresses).toEqual([{ address: "192.0.2.7", ttlSeconds: 0 }]);
  });

  const good = [{ ...address, owner: QUESTION }];
  it.each([
    ["a query", dnsAnswer("a.test", good, { flags: 0x0100 })],
    ["an error", dnsAnswer("a.test", good, { flags: 0x8183 })],
    ["another operation", dnsAnswer("a.test", good, { flags: 0xa000 })],
    ["no question", dnsAnswer("a.test", good, { questions: 0 })],
    ["two questions", dnsAnswer("a.test", good, { questions: 2 })],
    ["another class", dnsAnswer("a.test", good, { questionClass: 3 })],
    ["the root", dnsAnswer("", good)],
    ["no addresses", dnsAnswer("a.test", [])],
    [
      "an address that is too long",
      dnsAnswer("a.test", [{ ...address, owner: QUESTION, data: zeros(5) }]),
    ],
    ["a pointer to itself", dnsAnswer("a.test", [{ ...address, owner: pointer(24) }])],
    [
      "pointers in a circle",
      dnsAnswer("a.test", [{ ...address, owner: [1, 0x61, ...pointer(24)] }]),
    ],
    ["a pointer forward", dnsAnswer("a.test", [{ ...address, owner: pointer(60) }])],
    ["a label of another kind", dnsAnswer("a.test", good, { question: [0x41, 0, 0] })],
    ["a name that is too long", dnsAnswer(`${"a".repeat(63)}.`.repeat(4) + "a", good)],
    ["nothing", new Uint8Array()],
  ])("is none from %s", (_what, bytes) => {
    expect(readDnsAnswer(bytes)).toBeUndefined();
  });

  it("takes as many pointers as there are, and ends", () => {
    // Each points to the one before: 100 jumps to the question's end.
    const chain = Array.from({ length: 100 }, (_, at) => pointer(at === 0 ? 12 : 38 + 2 * at))
      .flat();
    const answer = dnsAnswer("a.test", [
      { owner: [0], type: 16, ttlSeconds: 0, data: chain },
      { ...address, owner: pointer(39) },
    ]);
    expect(() => readDnsAnswer(answer)).not.toThrow();
  });

  it("costs no more than its bytes, however often its records point to the longest of names", () => {
    const long = costlyAnswer();
    const short = dnsAnswer(
      "a.test",
      Array.from({ length: COSTLY_RECORDS }, () => ({ ...address, owner: QUESTION })),
    );
    // The quickest of many, so that others' work does not count.
    const costMs = (bytes: Uint8Array): number =>
      Math.min(...Array.from({ length: 200 }, () => {
        const beganMs = performance.now();
        readDnsAnswer(bytes);
        return performance.now() - beganMs;
      }));
    expect(costMs(long)).toBeLessThan(10 * costMs(short));
    expect(readDnsAnswer(long)?.addresses).toHaveLength(COSTLY_RECORDS);
  });

  it("follows names for so many bytes, and keeps what came before", () => {
    // Each record has a label of its own before the longest name: nothing of it is known from before.
    const name = "a".repeat(61) + `.${"b".repeat(63)}`.repeat(2) + "." + "c".repeat(57);
    const records = Array.from(
      { length: 60 },
      () => ({ ...address, owner: [1, 0x78, ...QUESTION] }),
    );
    const answer = dnsAnswer(name, [
      { ...address, owner: QUESTION },
      ...records,
      { ...address, owner: QUESTION, data: [192, 0, 2, 8] },
    ]);
    expect(readDnsAnswer(answer)?.addresses).toEqual([{ address: "192.0.2.7", ttlSeconds: 300 }]);
  });

  it("is none or one whose names are plain text, whatever the bytes are", () => {
    const seed = dnsAnswer("a.test", [
      { owner: QUESTION, type: 5, ttlSeconds: 9, data: dnsName("b.test") },
      { ...address, owner: dnsName("b.test") },
    ]);
    const mangled = fc.array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { maxLength: 8 })
      .map((changes) => {
        const copy = seed.slice();
        for (const [at, value] of changes) copy[at] = value;
        return copy;
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 600 }), mangled), (bytes) => {
        const answer = readDnsAnswer(bytes);
        if (answer === undefined) return;
        expect(answer.name).toMatch(/^[a-z0-9_.\\-]+$/);
        expect(answer.addresses.length).toBeGreaterThan(0);
      }),
      { numRuns: 2000 },
    );
  });
});

function zeros(count: number): number[] {
  return Array<number>(count).fill(0);
}
