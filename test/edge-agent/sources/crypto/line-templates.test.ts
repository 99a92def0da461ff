import { describe, expect, it } from "vitest";
import { type CryptoFact, cryptoFields } from "../../../../src/event/crypto/record.ts";
import {
  createLineTemplate,
  type DatumPlace,
} from "../../../../src/edge-agent/sources/crypto/line-templates.ts";

const FILE = { path: '/usr/lib/"odd".so', origin: "00ff" };
const CONTEXT = "0123456789abcdef".repeat(2);
const PARENT = "fedcba9876543210".repeat(2);

/** The line as it is made from nothing. */
function wholeLine(
  fact: CryptoFact,
  file: typeof FILE | undefined,
  place: DatumPlace | undefined,
): string {
  const { topic, severity, ...fields } = cryptoFields(
    { context: CONTEXT, sinceBootNs: 12_345_678_901_234_567n, fact },
    {
      ...(file === undefined ? {} : { origin: file.origin }),
      more: { ...(file === undefined ? {} : { library: file.path }), tid: 17, ...place },
    },
  );
  return `"time":"T","topic":${JSON.stringify(topic)},"severity":"${severity}","uid":0,${
    JSON.stringify(fields).slice(1)
  }`;
}

describe("templates of lines", () => {
  it.each<[string, CryptoFact]>([
    ["a context", { kind: "context", parent: PARENT }],
    ["a word", { kind: "data", key: "tls::group", datum: { type: "word", value: -29n } }],
    ["a word that has a name", {
      kind: "data",
      key: "tls::protocol_version",
      datum: { type: "word", value: 772n },
    }],
    ["a text", { kind: "data", key: 'a"::\n\x7f', datum: { type: "string", value: "1 @1 \\ 2" } }],
    ["a name", { kind: "data", key: "name", datum: { type: "string", value: "tls::sign" } }],
    ["a word of a long key", {
      kind: "data",
      key: "k".repeat(200),
      datum: { type: "word", value: 0n },
    }],
  ])("give what is made from nothing, of %s", (_name, fact) => {
    const places = [undefined, { place: 0, count: 2 }, { place: 15, count: 255 }];
    for (
      const [file, place] of [FILE, undefined].flatMap((each) =>
        places.map((at) => [each, at] as const)
      )
    ) {
      const isWord = fact.kind === "data" && fact.datum.type === "word";
      const line = createLineTemplate(fact, file, place)?.({
        time: "T",
        columns: '"uid":0,',
        context: CONTEXT,
        parent: PARENT,
        word: isWord ? String(fact.datum.value) : "0",
        sinceBootNs: "12345678901234567",
        tid: 17,
      });
      expect(line).toBe(wholeLine(fact, file, place));
    }
  });

  it("are not made of text that could be taken for a mark", () => {
    const key = "7105991604317";
    const value = "@1\x7f";
    expect(
      createLineTemplate(
        { kind: "data", key, datum: { type: "word", value: 1n } },
        FILE,
        undefined,
      ),
    )
      .toBeUndefined();
    expect(
      createLineTemplate(
        { kind: "data", key: "a", datum: { type: "string", value } },
        FILE,
        undefined,
      ),
    )
      .toBeUndefined();
    const named = { type: "word", value: 3_999_117_541n } as const;
    expect(createLineTemplate({ kind: "data", key: "tls::group", datum: named }, FILE, undefined))
      .toBeUndefined();
    const file = { ...FILE, path: "/7105991604317" };
    expect(createLineTemplate({ kind: "context", parent: PARENT }, file, undefined))
      .toBeUndefined();
  });
});
