import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cgroupMounts } from "../../../src/edge-agent/cgroup-root.ts";
import { createFlowDecoder } from "../../../src/edge-agent/sources/network/flow-lines.ts";
import {
  ADDRESSES_MAX,
  createPeerNames,
  LIFE_MAX_S,
  LIFE_MIN_S,
  NAMES_MAX,
} from "../../../src/edge-agent/sources/network/peer-names.ts";
import { createTestContext } from "../../support/decoders.ts";
import { dnsAnswer } from "../../support/dns.ts";
import { dnsRecord, locate, networkRecord } from "../../support/records.ts";
import { parseLine } from "../../support/source-run.ts";

const answer = (address: readonly number[]): Uint8Array =>
  dnsAnswer("web.test", [{ owner: [0xc0, 12], type: 1, ttlSeconds: 60, data: address }]);

describe("the decoder of flows", () => {
  it("names peers by what DNS answered before, and makes no line of the answer", () => {
    const context = createTestContext();
    const decoder = createFlowDecoder(context, () => undefined);
    const told = locate(dnsRecord({ payload: answer([10, 0, 0, 2]), netCookie: 4n, timeNs: 50n }));
    decoder.learn(told);
    expect(decoder.line(told)).toBe("");
    const sent = (timeNs: bigint): unknown => {
      const record = networkRecord({
        kind: "connect",
        protocol: 17,
        netCookie: 4n,
        remote: [10, 0, 0, 2],
        timeNs,
      });
      return parseLine(decoder.line(locate(record)) ?? "").detail["names"];
    };
    expect(sent(51n)).toEqual(["web.test"]);
    expect(sent(49n)).toBeUndefined();
  });

  it("takes a record with another length than it says for none", () => {
    const decoder = createFlowDecoder(createTestContext(), () => undefined);
    const record = dnsRecord({ payload: answer([10, 0, 0, 2]), payloadLength: 7 });
    expect(decoder.line(locate(record))).toBeUndefined();
    expect(decoder.line(locate(record.slice(0, 110)))).toBeUndefined();
  });

  it("stumbles over nothing, and makes lines that parse", () => {
    const context = createTestContext();
    const decoder = createFlowDecoder(context, () => undefined);
    const seeds = [
      dnsRecord({ payload: answer([10, 0, 0, 2]) }),
      networkRecord({ kind: "close", protocol: 17 }),
    ];
    fc.assert(fc.property(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(250), fc.nat(255)), { maxLength: 8 }),
      (seed, changes) => {
        const copy = seed.slice();
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        decoder.learn(locate(copy));
        const line = decoder.line(locate(copy));
        if (line !== undefined && line !== "") parseLine(line);
      },
    ));
  });
});

describe("names of peers", () => {
  const claim = { netCookie: 1, address: "10.0.0.1", name: "a", ttlSeconds: 60, timeNs: 1e9 };

  it("hold in the namespace that asked, and from one that is not known in none", () => {
    const names = createPeerNames();
    names.learn(claim);
    names.learn({ ...claim, netCookie: 0, name: "b", address: "10.0.0.2" });
    expect(names.namesOf(1, "10.0.0.1", 2e9)).toEqual(["a"]);
    expect(names.namesOf(2, "10.0.0.1", 2e9)).toEqual([]);
    expect(names.namesOf(2, "10.0.0.2", 2e9)).toEqual([]);
  });

  it("hold as long as the answer says, within bounds", () => {
    const names = createPeerNames();
    const at = (seconds: number): readonly string[] =>
      names.namesOf(1, "10.0.0.1", 1e9 + seconds * 1e9);
    names.learn({ ...claim, ttlSeconds: 0 });
    expect(at(LIFE_MIN_S - 1)).toEqual(["a"]);
    expect(at(LIFE_MIN_S)).toEqual([]);
    names.learn({ ...claim, ttlSeconds: 2 ** 31 - 1 });
    expect(at(LIFE_MAX_S - 1)).toEqual(["a"]);
    expect(at(LIFE_MAX_S)).toEqual([]);
  });

  it("are as many as fit, the latest first", () => {
    const names = createPeerNames();
    for (let place = 0; place <= NAMES_MAX; place += 1) {
      names.learn({ ...claim, name: `n${place}`, timeNs: 1e9 + place });
    }
    const found = names.namesOf(1, "10.0.0.1", 2e9);
    expect(found).toHaveLength(NAMES_MAX);
    expect(found[0]).toBe(`n${NAMES_MAX}`);
    // Told again, it comes first, and still counts for what was before.
    names.learn({ ...claim, name: "n1", timeNs: 3e9 });
    expect(names.namesOf(1, "10.0.0.1", 2e9)[0]).toBe("n1");
  });

  it("forget the addresses that nobody used for longest", () => {
    const names = createPeerNames();
    names.learn(claim);
    for (let place = 0; place < ADDRESSES_MAX; place += 1) {
      names.learn({ ...claim, address: `10.1.${place >> 8}.${place & 255}` });
      names.namesOf(1, "10.0.0.1", 2e9);
    }
    expect(names.size).toBe(ADDRESSES_MAX);
    expect(names.namesOf(1, "10.0.0.1", 2e9)).toEqual(["a"]);
    expect(names.namesOf(1, "10.1.0.0", 2e9)).toEqual([]);
  });
});

it("finds where cgroups of version 2 are mounted", () => {
  const text = [
    "24 30 0:22 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755",
    "31 24 0:27 / /sys/fs/cgroup/a\\040b rw shared:11 - cgroup2 cgroup2 rw,nsdelegate",
    "32 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
    "",
  ].join("\n");
  expect(cgroupMounts(text)).toEqual(["/sys/fs/cgroup/a b"]);
  expect(cgroupMounts("")).toEqual([]);
});
