/**
 * What a pattern says, as a tree: regular expressions without what only backtracking can do, and globs.
 *
 * Regular expressions: literals, `.`, classes, `\d \w \s` and their opposites, groups, `|`, `* + ? {n,m}`, `^` and `$`.
 * Backreferences, lookaround and word borders are refused. `.` and negated classes match newlines: names may have them.
 * What is matched is bytes, one character each: a class of letters beyond ASCII matches single bytes of them.
 * Globs: `*` and `?` do not cross `/`, `**` does, `**` between slashes also stands for `/`; `[a-z]`, `[!a-z]`, `{a,b}`; `\` escapes.
 * Names that begin with a dot are names like others.
 */

/** Inclusive ranges of UTF-16 code units. */
export type Ranges = readonly (readonly [from: number, to: number])[];

export type PatternNode =
  | { readonly kind: "set"; readonly ranges: Ranges }
  | { readonly kind: "begin" | "end" }
  | { readonly kind: "sequence" | "choice"; readonly nodes: readonly PatternNode[] }
  | {
    readonly kind: "repeat";
    readonly node: PatternNode;
    readonly least: number;
    readonly most: number;
  };

/** A pattern that cannot be used; the message says why, and is about the pattern alone. */
export class PatternError extends Error {
  override readonly name = "PatternError";
}

const CODE_MAX = 0xffff;
const SLASH = 0x2f;
/** Groups and braces within one another. */
const DEPTH_MAX = 50;
/** Greatest number in `{n,m}`. */
const COUNT_MAX = 1_000;

const ANY: Ranges = [[0, CODE_MAX]];
const NO_SLASH: Ranges = [[0, SLASH - 1], [SLASH + 1, CODE_MAX]];
const DIGITS: Ranges = [[0x30, 0x39]];
const WORDS: Ranges = [[0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const BLANKS: Ranges = [[9, 13], [0x20, 0x20], [0xa0, 0xa0], [0x2028, 0x2029], [0xfeff, 0xfeff]];

const CLASSES: Readonly<Record<string, Ranges>> = {
  d: DIGITS,
  D: inverted(DIGITS),
  w: WORDS,
  W: inverted(WORDS),
  s: BLANKS,
  S: inverted(BLANKS),
};
const CONTROLS: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", f: "\f", v: "\v" };

const set = (ranges: Ranges): PatternNode => ({ kind: "set", ranges });
const sequence = (nodes: readonly PatternNode[]): PatternNode => ({ kind: "sequence", nodes });
const choice = (nodes: readonly PatternNode[]): PatternNode => ({ kind: "choice", nodes });
const repeat = (node: PatternNode, [least, most]: readonly [number, number]): PatternNode => ({
  kind: "repeat",
  node,
  least,
  most,
});

/** Everything, as many as there are. */
export const ANYTHING: PatternNode = repeat(set(ANY), [0, Infinity]);

/** A byte that is no slash, or the bytes of one character of UTF-8: globs see names as bytes. */
const ONE_CHARACTER: PatternNode = choice([
  set(NO_SLASH),
  ...([[0xc2, 0xdf, 1], [0xe0, 0xef, 2], [0xf0, 0xf4, 3]] as const).map(([from, to, more]) =>
    sequence([set([[from, to]]), repeat(set([[0x80, 0xbf]]), [more, more])])
  ),
]);

/** The tree of literal text. */
export function literalNode(text: string): PatternNode {
  return sequence(Array.from({ length: text.length }, (_, at) => {
    const code = text.charCodeAt(at);
    return set([[code, code]]);
  }));
}

/** The tree of a regular expression. Throws {@link PatternError}. */
export function parseExpression(source: string): PatternNode {
  const reader = new Reader(source);
  const node = parseChoice(reader, 0);
  if (!reader.isDone) throw new PatternError(`")" without "(" at character ${reader.at + 1}`);
  return node;
}

/** The tree of a glob, which stands for whole paths. Throws {@link PatternError}. */
export function parseGlob(source: string): PatternNode {
  const reader = new Reader(source);
  const node = parseGlobSequence(reader, 0);
  return sequence([{ kind: "begin" }, node, { kind: "end" }]);
}

/** Reads a source from left to right. */
class Reader {
  at = 0;
  readonly #source: string;

  constructor(source: string) {
    this.#source = source;
  }

  get isDone(): boolean {
    return this.at >= this.#source.length;
  }

  /** The next character, which stays; "" at the end. */
  get next(): string {
    return this.#source[this.at] ?? "";
  }

  /** The character that was taken last. */
  get previous(): string {
    return this.#source[this.at - 1] ?? "";
  }

  take(): string {
    this.at += 1;
    return this.#source[this.at - 1] ?? "";
  }

  /** Takes the text when it comes next. */
  takes(text: string): boolean {
    if (!this.#source.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  /** Takes what a sticky expression matches here. */
  match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.#source);
    if (found !== null) this.at += found[0].length;
    return found;
  }
}

function parseChoice(reader: Reader, depth: number): PatternNode {
  if (depth > DEPTH_MAX) throw new PatternError(`more than ${DEPTH_MAX} groups in one another`);
  const choices: PatternNode[] = [];
  do {
    const nodes: PatternNode[] = [];
    while (!reader.isDone && reader.next !== "|" && reader.next !== ")") {
      nodes.push(parseRepeat(reader, parseAtom(reader, depth)));
    }
    choices.push(sequence(nodes));
  } while (reader.takes("|"));
  return choices.length === 1 ? sequence(choices) : choice(choices);
}

function parseAtom(reader: Reader, depth: number): PatternNode {
  const place = reader.at + 1;
  const character = reader.take();
  switch (character) {
    case "(": {
      if (reader.takes("?") && !reader.takes(":")) {
        throw new PatternError(`lookaround and other "(?" at character ${place} are not supported`);
      }
      const node = parseChoice(reader, depth + 1);
      if (!reader.takes(")")) throw new PatternError(`"(" without ")" at character ${place}`);
      return node;
    }
    case "[":
      return set(parseClass(reader, { place, negation: "^" }));
    case ".":
      return set(ANY);
    case "^":
      return { kind: "begin" };
    case "$":
      return { kind: "end" };
    case "*":
    case "+":
    case "?":
      throw new PatternError(`nothing to repeat before "${character}" at character ${place}`);
    case "\\":
      return set(parseEscape(reader, place));
    default:
      return literalNode(character);
  }
}

function parseRepeat(reader: Reader, atom: PatternNode): PatternNode {
  const place = reader.at + 1;
  const [all, sign, from = "0", comma, to = ""] =
    reader.match(/([*+?])|\{(\d{1,6})(,)?(\d{0,6})\}/y) ??
      [];
  if (all === undefined) return atom;
  // Lazy and greedy are the same where only the whole matters.
  reader.takes("?");
  if (atom.kind === "begin" || atom.kind === "end" || /[*+?{]/.test(reader.next)) {
    throw new PatternError(`nothing to repeat at character ${place}`);
  }
  if (sign === "*") return repeat(atom, [0, Infinity]);
  if (sign === "+") return repeat(atom, [1, Infinity]);
  if (sign === "?") return repeat(atom, [0, 1]);
  const least = Number(from);
  const most = comma === undefined ? least : to === "" ? Infinity : Number(to);
  if (least > COUNT_MAX || (most !== Infinity && most > COUNT_MAX) || least > most) {
    throw new PatternError(`repeated out of 0 to ${COUNT_MAX} times at character ${place}`);
  }
  return repeat(atom, [least, most]);
}

function parseEscape(reader: Reader, place: number): Ranges {
  const [, hex2, hex4] = reader.match(/x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})/y) ?? [];
  const hex = hex2 ?? hex4;
  if (hex !== undefined) return [[Number.parseInt(hex, 16), Number.parseInt(hex, 16)]];
  if (reader.isDone) throw new PatternError("a backslash at the end");
  const character = reader.take();
  const known = CLASSES[character];
  if (known !== undefined) return known;
  const control = CONTROLS[character];
  if (control === undefined && /[A-Za-z0-9]/.test(character)) {
    throw new PatternError(`"\\${character}" at character ${place} is not supported`);
  }
  const code = (control ?? character).charCodeAt(0);
  return [[code, code]];
}

/** The ranges of a class, whose bracket was taken. */
function parseClass(
  reader: Reader,
  { place, negation }: { readonly place: number; readonly negation: string },
): Ranges {
  const isNegated = [...negation].some((sign) => reader.takes(sign));
  const ranges: (readonly [number, number])[] = [];
  // A bracket that comes first is one of the characters.
  for (let isFirst = true; isFirst || reader.next !== "]"; isFirst = false) {
    if (reader.isDone) throw new PatternError(`"[" without "]" at character ${place}`);
    const low = classItem(reader);
    const [only] = low;
    const isRange = reader.match(/-(?!\])/y) !== null;
    if (!isRange || low.length > 1 || only === undefined) {
      ranges.push(...low);
      if (isRange) ranges.push([0x2d, 0x2d]);
      continue;
    }
    const [high] = classItem(reader);
    if (high === undefined || high[1] < only[0]) {
      throw new PatternError(`a range out of order in the class at character ${place}`);
    }
    ranges.push([only[0], high[1]]);
  }
  reader.take();
  return isNegated ? inverted(ranges) : ranges;
}

function classItem(reader: Reader): Ranges {
  const place = reader.at + 1;
  const character = reader.take();
  if (character === "\\") return parseEscape(reader, place);
  const code = character.charCodeAt(0);
  return [[code, code]];
}

/** Everything that is in no range. */
function inverted(ranges: Ranges): Ranges {
  const sorted = ranges.toSorted(([a], [b]) => a - b);
  const rest: (readonly [number, number])[] = [];
  let from = 0;
  for (const [low, high] of sorted) {
    if (low > from) rest.push([from, low - 1]);
    from = Math.max(from, high + 1);
  }
  return from <= CODE_MAX ? [...rest, [from, CODE_MAX]] : rest;
}

function withoutSlash(ranges: Ranges): Ranges {
  return inverted([...inverted(ranges), [SLASH, SLASH]]);
}

function parseGlobSequence(reader: Reader, depth: number): PatternNode {
  if (depth > DEPTH_MAX) throw new PatternError(`more than ${DEPTH_MAX} braces in one another`);
  const nodes: PatternNode[] = [];
  while (!reader.isDone) {
    if (depth > 0 && (reader.next === "," || reader.next === "}")) break;
    nodes.push(parseGlobPart(reader, depth));
  }
  return sequence(nodes);
}

function parseGlobPart(reader: Reader, depth: number): PatternNode {
  const place = reader.at + 1;
  // Between slashes, any number of folders, none included.
  if (reader.previous === "/" && reader.match(/\*\*+\//y) !== null) {
    return repeat(sequence([ANYTHING, literalNode("/")]), [0, 1]);
  }
  if (reader.match(/\*\*+/y) !== null) return ANYTHING;
  const character = reader.take();
  switch (character) {
    case "*":
      return repeat(set(NO_SLASH), [0, Infinity]);
    case "?":
      return ONE_CHARACTER;
    case "[":
      return set(withoutSlash(parseClass(reader, { place, negation: "!^" })));
    case "{": {
      const choices: PatternNode[] = [];
      do choices.push(parseGlobSequence(reader, depth + 1)); while (reader.takes(","));
      if (!reader.takes("}")) throw new PatternError(`"{" without "}" at character ${place}`);
      return choice(choices);
    }
    case "\\":
      if (reader.isDone) throw new PatternError("a backslash at the end");
      return literalNode(reader.take());
    default:
      return literalNode(character);
  }
}
