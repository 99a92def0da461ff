/**
 * Matching of patterns in time linear in the text, whatever the pattern: an automaton whose states are made when they
 * are first needed (Thompson 1968; Cox, Regular Expression Matching Can Be Simple And Fast, 2007).
 *
 * Invariants: no pattern makes matching backtrack; instructions and states are bounded in number, a pattern that needs
 * more of the former is refused, states above the limit are forgotten and made again.
 */
import { PatternError, type PatternNode, type Ranges } from "./pattern-syntax.ts";

/** Most instructions of one pattern: counted repetitions multiply. */
export const INSTRUCTIONS_MAX = 4_096;
/** States that are remembered per pattern, each about 1 KB. */
const STATES_MAX = 512;
const ASCII = 128;

export interface Pattern {
  /** Whether the text matches. */
  test(text: string): boolean;
  /** Whether some longer text that begins like this matches. */
  canStartWith(text: string): boolean;
}

type Instruction =
  | { readonly kind: "set"; readonly ranges: Ranges; readonly next: number }
  | { readonly kind: "fork"; readonly next: readonly number[] }
  | { readonly kind: "begin" | "end"; readonly next: number }
  | { readonly kind: "match" };

interface State {
  /** Instructions that look at a character, at the end, or match. */
  readonly places: readonly number[];
  readonly isMatch: boolean;
  readonly isMatchAtEnd: boolean;
  /** By code of an ASCII character. */
  readonly next: (State | undefined)[];
}

/** Throws {@link PatternError} when the pattern is too large. */
export function compilePattern(node: PatternNode): Pattern {
  const program: Instruction[] = [{ kind: "match" }];
  const start = emit(node, { program, next: 0 });
  let states = new Map<string, State>();
  let first: State | undefined;

  const stateOf = (from: readonly number[], isBegin: boolean): State => {
    const places = closure(program, from, { isBegin, isEnd: false });
    const id = places.join();
    const known = states.get(id);
    if (known !== undefined) return known;
    const isMatch = places.includes(0);
    const state: State = {
      places,
      isMatch,
      isMatchAtEnd: isMatch ||
        closure(program, places, { isBegin: false, isEnd: true }).includes(0),
      next: [],
    };
    if (states.size >= STATES_MAX) {
      // Whatever is known leads back to the first state: it is forgotten, too.
      states = new Map();
      first = undefined;
    }
    states.set(id, state);
    return state;
  };
  const step = (state: State, code: number): State => {
    const known = code < ASCII ? state.next[code] : undefined;
    if (known !== undefined) return known;
    const from = state.places.flatMap((place) => {
      const instruction = program[place];
      return instruction?.kind === "set" && isIn(instruction.ranges, code) ? instruction.next : [];
    });
    const next = stateOf(from, false);
    if (code < ASCII) state.next[code] = next;
    return next;
  };
  /** The state behind a text, or the first that matches. */
  const run = (text: string): State => {
    first ??= stateOf([start], true);
    let state = first;
    for (let at = 0; at < text.length && !state.isMatch && state.places.length > 0; at += 1) {
      state = step(state, text.charCodeAt(at));
    }
    return state;
  };
  // An empty text is at its begin and end at once.
  const isEmptyMatch = closure(program, [start], { isBegin: true, isEnd: true }).includes(0);
  return {
    test: (text) => text === "" ? isEmptyMatch : run(text).isMatchAtEnd,
    canStartWith: (text) => {
      const { isMatch, places } = run(text);
      return isMatch || places.some((place) => program[place]?.kind === "set");
    },
  };
}

interface Emitting {
  readonly program: Instruction[];
  /** Where matching goes on behind the node. */
  readonly next: number;
}

/** Adds the instructions of a node; returns where it begins. */
function emit(node: PatternNode, { program, next }: Emitting): number {
  switch (node.kind) {
    case "set":
      return add(program, { kind: "set", ranges: node.ranges, next });
    case "begin":
    case "end":
      return add(program, { kind: node.kind, next });
    case "sequence":
      return node.nodes.reduceRight((behind, each) => emit(each, { program, next: behind }), next);
    case "choice":
      return add(program, {
        kind: "fork",
        next: node.nodes.map((each) => emit(each, { program, next })),
      });
    case "repeat":
      return emitRepeat(node, { program, next });
  }
}

function emitRepeat(
  { node, least, most }: Extract<PatternNode, { kind: "repeat" }>,
  { program, next }: Emitting,
): number {
  let begin = next;
  if (most === Infinity) {
    // The loop is known before what it repeats.
    const ways: number[] = [next];
    begin = add(program, { kind: "fork", next: ways });
    ways.push(emit(node, { program, next: begin }));
  } else {
    for (let count = least; count < most; count += 1) {
      const inner = emit(node, { program, next: begin });
      begin = add(program, { kind: "fork", next: [inner, next] });
    }
  }
  for (let count = 0; count < least; count += 1) {
    const inner = emit(node, { program, next: begin });
    // What is empty stays so, however often.
    if (inner === begin) break;
    begin = inner;
  }
  return begin;
}

function add(program: Instruction[], instruction: Instruction): number {
  if (program.length >= INSTRUCTIONS_MAX) {
    throw new PatternError(`the pattern needs more than ${INSTRUCTIONS_MAX} steps`);
  }
  program.push(instruction);
  return program.length - 1;
}

interface Position {
  readonly isBegin: boolean;
  readonly isEnd: boolean;
}

/** All instructions that are reached without a character, in order; forks and passed borders are left out. */
function closure(
  program: readonly Instruction[],
  from: readonly number[],
  ...[{ isBegin, isEnd }]: readonly [Position]
): number[] {
  const seen = new Set<number>();
  const waiting = [...from];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    if (seen.has(place)) continue;
    seen.add(place);
    const instruction = program[place];
    if (instruction?.kind === "fork") waiting.push(...instruction.next);
    if (instruction?.kind === "begin" && isBegin) waiting.push(instruction.next);
    if (instruction?.kind === "end" && isEnd) waiting.push(instruction.next);
  }
  return [...seen].filter((place) => {
    const kind = program[place]?.kind;
    return kind === "set" || kind === "end" || kind === "match";
  }).sort((a, b) => a - b);
}

function isIn(ranges: Ranges, code: number): boolean {
  return ranges.some(([from, to]) => code >= from && code <= to);
}
