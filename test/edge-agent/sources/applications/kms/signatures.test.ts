/** Known answers of both signatures, and of the texts that are signed. */
import { describe, expect, it } from "vitest";
import {
  batchText,
  createCmac,
  createSigner,
  rowText,
} from "../../../../../src/edge-agent/sources/applications/kms/signatures.ts";

const hex = (text: string): Buffer => Buffer.from(text, "hex");

describe("AES-256-CMAC", () => {
  // NIST SP 800-38B, appendix D.3.
  const cmac = createCmac(hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"));
  const text = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" +
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
  it.each([
    [0, "028962f61b7bf89efc6b551f4667d983"],
    [16, "28a7023f452e8f82bd4bf28d8c37c35c"],
    [40, "aaf3d8f1de5640c232f5b169b9c911e6"],
    [64, "e1992190549f6ed5696a2c056c315410"],
  ])("of %i bytes is what the standard says", (sizeBytes, expected) => {
    expect(cmac(hex(text).subarray(0, sizeBytes)).toString("hex")).toBe(expected);
  });
});

describe("signatures of rows and batches", () => {
  const counting = Buffer.from(Array.from({ length: 32 }, (_, at) => at));
  const publicKey = hex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8");
  const signer = createSigner(counting, Buffer.concat([counting, publicKey]));
  const row = {
    keyId: "11111111-1111-4111-8111-111111111111",
    sequence: 1,
    message: '{"id":1,"name":"Test"}',
    timestamp: "2017-07-14T14:16:15.000Z",
  };

  it("are those of the protocol, byte for byte", () => {
    const signature = signer.row(rowText(row));
    expect(signature).toBe("f59bb8466159881aca5c67cabfb85d86");
    const data = batchText([{ row, signature }]);
    expect(data).toBe(JSON.stringify([{ row, signature }]));
    expect(signer.batch(data)).toBe(
      "96863b358ac1cf8defcee91578a0dfc8dcd8e967fefbfc0444c6012edb04a1aa" +
        "7a3dff563e59f29a24535a3d22ab24da00adbe31b4e50fd793f0db4b1486090b",
    );
  });

  it("prove the holder of the keys to a challenge", () => {
    const challenge = "22222222-2222-4222-8222-222222222222";
    expect(signer.row(challenge)).toBe("3a5d59d419cbf21d70d52a2704949efc");
    expect(signer.batch(challenge)).toBe(
      "c43a73adc0daf24a24c58fcdd1e48cc0d7b0b361288241ff3fac5e877de89895" +
        "584d16e8bfd7085d07921edb8b7503a96d8159df93a9dbdbb7bb3f9233f54d03",
    );
  });

  it("are not made with keys of another size, or with halves that do not belong together", () => {
    expect(() => createSigner(counting.subarray(1), Buffer.alloc(64))).toThrow("31 bytes");
    expect(() => createSigner(counting, Buffer.alloc(63))).toThrow("63 bytes");
    expect(() => createSigner(counting, Buffer.alloc(64))).toThrow("public half");
  });
});
