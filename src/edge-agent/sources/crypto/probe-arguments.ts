/**
 * Where a probe's arguments are, read from the text that the assembler left (`-8@%rdi 4@$7 8@-16(%rbp)`). Pure.
 *
 * Invariant: what is not understood whole is not attached: a wrong place would tell wrong values.
 */
import { ARGUMENTS_MAX, type OPERAND_KIND } from "../../crypto-layout.ts";
import { MACHINE } from "./elf-file.ts";

export interface Operand {
  readonly kind: keyof typeof OPERAND_KIND;
  /** The constant, or what is added to the address. */
  readonly value: bigint;
  /** Of registers: bytes from the beginning of `struct pt_regs`. */
  readonly place: number;
  readonly index: number;
  readonly scale: number;
  readonly sizeBytes: number;
  readonly isSigned: boolean;
}

/** Longest text that is looked at, in characters. */
const TEXT_MAX = 512;
/** Spaces inside brackets belong to an address of arm64. No text makes it look at a character more than a few times. */
const WORD = /(?:\[[^\][]*\]|[^ ])+/g;
const SIZES: readonly number[] = [1, 2, 4, 8];

/** Undefined when one is not understood, or there are more than programs take. */
export function parseArguments(text: string, machine: number): readonly Operand[] | undefined {
  const registers = REGISTERS[machine];
  if (registers === undefined || text.length > TEXT_MAX) return undefined;
  const words = text.match(WORD) ?? [];
  const operands = words.map((word) => parseOperand(word, registers));
  const known = operands.filter((each) => each !== undefined);
  return known.length === operands.length && known.length <= ARGUMENTS_MAX ? known : undefined;
}

function parseOperand(word: string, registers: Registers): Operand | undefined {
  const [, sign, size = "", rest = ""] = /^(-?)([1248])f?@(.+)$/.exec(word) ?? [];
  const sizeBytes = Number(size);
  if (!SIZES.includes(sizeBytes)) return undefined;
  const place = registers.parse(rest);
  return place && {
    value: 0n,
    place: 0,
    index: 0,
    scale: 1,
    ...place,
    sizeBytes,
    isSigned: sign === "-",
  };
}

type Place = Pick<Operand, "kind"> & Partial<Pick<Operand, "value" | "place" | "index" | "scale">>;

interface Registers {
  parse(text: string): Place | undefined;
}

/** `struct pt_regs` of x86-64, and the names that its registers' lower parts have. */
const X86_64: Readonly<Record<string, number>> = Object.fromEntries([
  ...namesOf(["r15", "r14", "r13", "r12"], 0),
  ...[["bp", 32], ["bx", 40], ["ax", 80], ["cx", 88], ["dx", 96], ["si", 104], ["di", 112]]
    .flatMap(([name, place]) => lowerNames(String(name)).map((each) => [each, place])),
  ...namesOf(["r11", "r10", "r9", "r8"], 48),
  ["rip", 128],
  ...["rsp", "esp", "sp", "spl"].map((name) => [name, 152]),
]);

function namesOf(names: readonly string[], from: number): [string, number][] {
  return names.flatMap((name, place) =>
    ["", "d", "w", "b"].map((suffix): [string, number] => [`${name}${suffix}`, from + 8 * place])
  );
}

/** `rax`, `eax`, `ax`, `al`; those of a second byte (`ah`) are not understood. */
function lowerNames(name: string): readonly string[] {
  const low = name.endsWith("x") ? `${name.slice(0, 1)}l` : `${name}l`;
  return [`r${name}`, `e${name}`, name, low];
}

const INTEGER = "-?(?:0x[0-9a-f]+|[0-9]+)";
const X86_CONSTANT = new RegExp(`^\\$(${INTEGER})$`);
const X86_REGISTER = /^%([a-z0-9]+)$/;
const X86_MEMORY = new RegExp(
  `^(${INTEGER})?\\((?:%([a-z0-9]+))(?:,%([a-z0-9]+)(?:,([1248]))?)?\\)$`,
);

const x86Registers: Registers = {
  parse(text) {
    const [, constant] = X86_CONSTANT.exec(text) ?? [];
    if (constant !== undefined) return { kind: "constant", value: integerOf(constant) };
    const [, name] = X86_REGISTER.exec(text) ?? [];
    if (name !== undefined) {
      const place = X86_64[name];
      return place === undefined ? undefined : { kind: "register", place };
    }
    const [whole, added = "0", baseName = "", indexName, scale = "1"] = X86_MEMORY.exec(text) ?? [];
    const place = X86_64[baseName];
    if (whole === undefined || place === undefined) return undefined;
    const value = integerOf(added);
    if (indexName === undefined) return { kind: "memory", value, place };
    const index = X86_64[indexName];
    return index === undefined
      ? undefined
      : { kind: "indexed", value, place, index, scale: Number(scale) };
  },
};

/** `struct pt_regs` of arm64: 31 registers, then the stack pointer. */
function armPlace(name: string): number | undefined {
  if (name === "sp") return 248;
  const [, number] = /^[xw]([0-9]{1,2})$/.exec(name) ?? [];
  return number !== undefined && Number(number) <= 30 ? 8 * Number(number) : undefined;
}

const ARM_MEMORY = new RegExp(`^\\[([a-z0-9]+)(?:, ?(${INTEGER}))?\\]$`);

const armRegisters: Registers = {
  parse(text) {
    if (new RegExp(`^${INTEGER}$`).test(text)) return { kind: "constant", value: integerOf(text) };
    const direct = armPlace(text);
    if (direct !== undefined) return { kind: "register", place: direct };
    const [whole, name = "", added = "0"] = ARM_MEMORY.exec(text) ?? [];
    const place = armPlace(name);
    if (whole === undefined || place === undefined) return undefined;
    return { kind: "memory", value: integerOf(added), place };
  },
};

function integerOf(text: string): bigint {
  const isNegative = text.startsWith("-");
  const value = BigInt(isNegative ? text.slice(1) : text);
  return BigInt.asIntN(64, isNegative ? -value : value);
}

const REGISTERS: Readonly<Record<number, Registers>> = {
  [MACHINE.x86_64]: x86Registers,
  [MACHINE.aarch64]: armRegisters,
};
