import { describe, expect, it } from "vitest";
import { MACHINE } from "../../../../src/edge-agent/sources/crypto/elf-file.ts";
import { parseArguments } from "../../../../src/edge-agent/sources/crypto/probe-arguments.ts";

const X86 = MACHINE.x86_64;
const ARM = MACHINE.aarch64;

describe("places of a probe's arguments", () => {
  it.each<[string, number, object]>([
    ["-8@$-3", X86, { kind: "constant", value: -3n, sizeBytes: 8, isSigned: true }],
    ["4@$0x10", X86, { kind: "constant", value: 16n, sizeBytes: 4, isSigned: false }],
    ["8@%rdi", X86, { kind: "register", place: 112 }],
    ["-4@%r12d", X86, { kind: "register", place: 24, sizeBytes: 4 }],
    ["1@%sil", X86, { kind: "register", place: 104, sizeBytes: 1 }],
    ["2@%ax", X86, { kind: "register", place: 80 }],
    ["1@%bl", X86, { kind: "register", place: 40 }],
    ["8@-16(%rbp)", X86, { kind: "memory", value: -16n, place: 32 }],
    ["8@(%rsp)", X86, { kind: "memory", value: 0n, place: 152 }],
    ["8@8(%rax,%rcx,4)", X86, { kind: "indexed", value: 8n, place: 80, index: 88, scale: 4 }],
    ["8@x19", ARM, { kind: "register", place: 152 }],
    ["-4@w0", ARM, { kind: "register", place: 0, isSigned: true }],
    ["8@[sp, 24]", ARM, { kind: "memory", value: 24n, place: 248 }],
    ["8@[x1]", ARM, { kind: "memory", value: 0n, place: 8 }],
    ["-8@5", ARM, { kind: "constant", value: 5n }],
  ])("are read: %s", (text, machine, expected) => {
    expect(parseArguments(text, machine)).toMatchObject([expected]);
  });

  it("are read one after the other", () => {
    expect(parseArguments("-8@%rdi 8@%rcx 8@%rsi 8@$3", X86)?.map(({ kind }) => kind))
      .toEqual(["register", "register", "register", "constant"]);
    expect(parseArguments("8@[sp, 8] 8@x1", ARM)).toHaveLength(2);
    expect(parseArguments("", X86)).toEqual([]);
  });

  it.each([
    ["8@%xmm0", X86],
    ["1@%ah", X86],
    ["3@%rdi", X86],
    ["8@counter(%rip)", X86],
    ["8@%rdi 8", X86],
    ["8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8", X86],
    ["8@x31", ARM],
    ["8@[x1, x2]", ARM],
    ["8@%rdi", 8],
    [`8@$${"1".repeat(600)}`, X86],
  ])("are not guessed: %s on machine %i", (text, machine) => {
    expect(parseArguments(text, machine)).toBeUndefined();
  });
});
