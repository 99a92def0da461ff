/**
 * Tokens of a TypeScript file: enough of its lexical grammar to tell code from comments, strings, templates and
 * regular expressions, so that rules about code never trip over text. It does not parse.
 *
 * Invariant: every character of the source belongs to one token, one comment, or white space between them.
 */

/** A template with substitutions is parts, each before one, and the rest as `template`. */
export type TokenKind =
  | "word"
  | "number"
  | "string"
  | "template-part"
  | "template"
  | "regex"
  | "sign";

export interface Token {
  readonly kind: TokenKind;
  /** Source text; of strings and templates the content without quotes and substitutions. */
  readonly text: string;
  /** From 1. */
  readonly line: number;
}

export interface Comment {
  readonly text: string;
  readonly firstLine: number;
  readonly lastLine: number;
}

export interface Scan {
  readonly tokens: readonly Token[];
  readonly comments: readonly Comment[];
}

/** Longest first. */
const SIGNS = [
  ">>>=",
  "...",
  "===",
  "!==",
  "**=",
  "<<=",
  "&&=",
  "||=",
  "??=",
  "=>",
  "==",
  "!=",
  "<=",
  ">=",
  "&&",
  "||",
  "??",
  "?.",
  "++",
  "--",
  "+=",
  "-=",
  "*=",
  "/=",
  "%=",
  "&=",
  "|=",
  "^=",
  "**",
];

/** Words after which an expression begins, so that a slash opens a regular expression. */
const BEFORE_EXPRESSION = new Set(
  ("return typeof case in of do else void delete throw new instanceof await yield extends as " +
    "satisfies default").split(" "),
);

/** Whether a token can end an expression: what a postfix `!`, `as` or a division follows. */
export function endsExpression(token: Token | undefined): boolean {
  if (token === undefined) return false;
  if (token.kind === "word") return !BEFORE_EXPRESSION.has(token.text);
  if (token.kind === "sign") return token.text === ")" || token.text === "]" || token.text === "}";
  return token.kind !== "template-part";
}

/** Whether a token is text of the program: a string or a piece of a template. */
export function isText({ kind }: Token): boolean {
  return kind === "string" || kind === "template" || kind === "template-part";
}

/** Scans a whole file. Throws SyntaxError on an unfinished string, template, comment or regular expression. */
export function scan(source: string): Scan {
  const tokens: Token[] = [];
  const comments: Comment[] = [];
  /** Depth of braces at each template substitution that is open. */
  const substitutions: number[] = [];
  let depth = 0;
  let line = 1;
  let at = source.startsWith("#!") ? lineEnd(source, 0) : 0;

  const take = (kind: TokenKind, end: number, text = source.slice(at, end)): void => {
    tokens.push({ kind, text, line });
    advance(end);
  };
  const advance = (end: number): void => {
    for (let place = at; place < end; place++) if (source[place] === "\n") line++;
    at = end;
  };
  const template = (): void => {
    const end = templateEnd(source, at + 1);
    const opensSubstitution = source[end - 1] === "{";
    const text = source.slice(at + 1, opensSubstitution ? end - 2 : end - 1);
    take(opensSubstitution ? "template-part" : "template", end, text);
    if (opensSubstitution) substitutions.push(depth);
  };

  while (at < source.length) {
    const char = source.charAt(at);
    const rest = source.slice(at, at + 4);
    if (/\s/.test(char)) advance(at + 1);
    else if (rest.startsWith("//") || rest.startsWith("/*")) {
      const end = rest.startsWith("//") ? lineEnd(source, at) : find(source, "*/", at + 2) + 2;
      const firstLine = line;
      const text = source.slice(at, end);
      advance(end);
      comments.push({ text, firstLine, lastLine: line });
    } else if (char === '"' || char === "'") {
      const end = stringEnd(source, at + 1, char);
      take("string", end, source.slice(at + 1, end - 1));
    } else if (char === "`") template();
    else if (char === "}" && substitutions.at(-1) === depth) {
      substitutions.pop();
      template();
    } else if (char === "/" && !endsExpression(tokens.at(-1))) take("regex", regexEnd(source, at));
    else if (/[\p{ID_Start}$_#]/u.test(char)) take("word", wordEnd(source, at));
    else if (/[0-9]/.test(char)) take("number", wordEnd(source, at));
    else {
      if (char === "{") depth++;
      if (char === "}") depth--;
      const sign = SIGNS.find((each) => rest.startsWith(each)) ?? char;
      take("sign", at + sign.length);
    }
  }
  return { tokens, comments };
}

function find(source: string, text: string, from: number): number {
  const place = source.indexOf(text, from);
  if (place < 0) throw new SyntaxError(`Cannot scan the file: no ${JSON.stringify(text)} ends it`);
  return place;
}

function lineEnd(source: string, from: number): number {
  const place = source.indexOf("\n", from);
  return place < 0 ? source.length : place;
}

function stringEnd(source: string, from: number, quote: string): number {
  for (let place = from; place < source.length; place++) {
    if (source[place] === "\\") place++;
    else if (source[place] === quote) return place + 1;
  }
  throw new SyntaxError(`Cannot scan the file: a string does not end`);
}

/** End of a template's text: after its closing backtick, or after the `${` that opens a substitution. */
function templateEnd(source: string, from: number): number {
  for (let place = from; place < source.length; place++) {
    if (source[place] === "\\") place++;
    else if (source[place] === "`") return place + 1;
    else if (source.startsWith("${", place)) return place + 2;
  }
  throw new SyntaxError(`Cannot scan the file: a template does not end`);
}

function regexEnd(source: string, from: number): number {
  let isInClass = false;
  for (let place = from + 1; place < source.length; place++) {
    const char = source[place];
    if (char === "\\") place++;
    else if (char === "[") isInClass = true;
    else if (char === "]") isInClass = false;
    else if (char === "/" && !isInClass) return wordEnd(source, place + 1);
    else if (char === "\n") break;
  }
  throw new SyntaxError(`Cannot scan the file: a regular expression does not end`);
}

function wordEnd(source: string, from: number): number {
  let place = from;
  while (place < source.length && /[\p{ID_Continue}$#]/u.test(source.charAt(place))) place++;
  return Math.max(place, from);
}
