/**
 * Rules of style about the text of one file. Each takes a file and returns what it finds, so that each can be shown to
 * fail on a small bad sample.
 */
import type { SourceFile } from "./repository.ts";
import { endsExpression, type Token } from "./tokens.ts";

/** Where and what: `path:line: text`. */
export type Violation = string;
export type Rule = (file: SourceFile) => readonly Violation[];

export const LINES_MAX = 400;

const GENERIC_NAMES = /^(utils?|helpers?|common|shared|misc|managers?|services?)$/;
/** Files whose runtime or tool asks for a default export. */
const DEFAULT_EXPORTS = /^(vitest\.config\.ts|infra\/functions\/query\.ts)$/;
/** A cast states its reason in a comment that begins so: on its line, on the line above, or in the module comment. */
const CAST_REASON = /^(\/\/|\/\*\*?)\s*as: \S|\n \* as: \S/;

export const fileSize: Rule = ({ path, text }) => {
  const lines = text.split("\n").length - 1;
  return lines > LINES_MAX ? [`${path}: ${lines} lines, at most ${LINES_MAX}`] : [];
};

export const specificNames: Rule = ({ path }) =>
  path.split(/[\/.-]/).filter((word) => GENERIC_NAMES.test(word))
    .map((word) => `${path}: "${word}" says nothing; name what it is about`);

export const moduleComment: Rule = ({ path, text }) =>
  text.replace(/^#!.*\n/, "").startsWith("/**") ? [] : [`${path}:1: no module comment`];

export const noDefaultExport: Rule = (file) =>
  DEFAULT_EXPORTS.test(file.path) ? [] : report(
    file,
    "a default export",
    ({ text }, next) => text === "export" && is(next, "default"),
  );

export const noBarrel: Rule = (file) => {
  const all = report(file, "export *", ({ text }, next) => text === "export" && is(next, "*"));
  const { tokens } = file.scan;
  const reexports = tokens.filter((token, at) =>
    isWord(token, "export") && is(tokens[at + 1], "{") &&
    tokens.slice(at).some(isFromOf(tokens, at))
  );
  const defines = tokens.some(({ kind, text }) =>
    kind === "word" && /^(function|const|class|interface|let)$/.test(text)
  );
  return reexports.length > 0 && !defines ? [...all, `${file.path}: a barrel`] : all;
};

export const erasableSyntax: Rule = (file) => [
  ...report(
    file,
    "an enum",
    ({ text }, next, after) => text === "enum" && next?.kind === "word" && is(after, "{"),
  ),
  ...report(
    file,
    "a namespace",
    ({ text }, next, after) =>
      /^(namespace|module)$/.test(text) && next?.kind === "word" && is(after, "{"),
  ),
  ...report(
    file,
    "a decorator",
    ({ kind, text }, next) => kind === "sign" && text === "@" && next?.kind === "word",
  ),
  ...parameterProperties(file),
];

export const noInheritance: Rule = (file) => {
  const { tokens } = file.scan;
  return tokens.flatMap((token, at) => {
    if (!isWord(token, "class")) return [];
    const body = tokens.findIndex((each, place) => place > at && is(each, "{"));
    let generics = 0;
    const heritage = tokens.slice(at, body).findIndex((each) => {
      if (is(each, "<")) generics++;
      if (is(each, ">")) generics--;
      return generics === 0 && isWord(each, "extends");
    });
    if (heritage < 0 || is(tokens[at + heritage + 1], "Error")) return [];
    return [place(file, token, "inherits from something other than Error")];
  });
};

export const noEmptyCatch: Rule = (file) => {
  const { tokens } = file.scan;
  return tokens.flatMap((token, at) => {
    if (!isWord(token, "catch")) return [];
    const texts = tokens.slice(at, at + 9).map(({ text }) => text).join(" ");
    const isEmpty = /^catch (\( \w+ \) )?\{ \}/.test(texts) ||
      /^catch \( (\( \w* ?\)|\w+) => (\{ \}|undefined|void 0)/.test(texts);
    return isEmpty ? [place(file, token, "swallows an error")] : [];
  });
};

export const noAny: Rule = (file) =>
  report(
    file,
    "any",
    ({ kind, text }, next, _after, before) =>
      kind === "word" && text === "any" && !is(before, ".") && !is(before, "?.") && !is(next, ":"),
  );

export const noNonNull: Rule = (file) =>
  report(
    file,
    "a non-null assertion",
    (token, next, _after, before) =>
      is(token, "!") && token.kind === "sign" && endsExpression(before) &&
      before?.line === token.line && !/^[\w"'`]/.test(startOf(next)),
  );

/** `as const`, renaming imports and keys of mapped types are no casts. */
export const castsHaveReasons: Rule = (file) => {
  const [opening] = file.scan.comments;
  if (opening !== undefined && CAST_REASON.test(opening.text)) return [];
  const reasoned = new Set(
    file.scan.comments.filter(({ text }) => CAST_REASON.test(text))
      .flatMap(({ firstLine, lastLine }) => [firstLine, lastLine + 1]),
  );
  const listed = wordsOfLists(file);
  return report(
    file,
    "a cast without a reason",
    (token, next, _after, before) =>
      isWord(token, "as") && endsExpression(before) && !listed.has(token) &&
      !is(next, "const") && !is(next, ",") && !reasoned.has(token.line),
  );
};

export const noRuntimeGlobals: Rule = (file) =>
  report(
    file,
    "a global of one runtime",
    ({ kind, text }, next, _after, before) =>
      kind === "word" && /^(Deno|Bun)$/.test(text) && is(next, ".") && !is(before, "."),
  );

/** See `src/runtime/time-limit.ts`. */
export const noHoldingTimeouts: Rule = (file) =>
  report(
    file,
    "AbortSignal.timeout, which keeps Deno from ending",
    (token, next, after) =>
      isWord(token, "AbortSignal") && is(next, ".") && isWord(after, "timeout"),
  );

const UNFINISHED = new RegExp(`\\b(${["FIX" + "ME", "XX" + "X"].join("|")})\\b`);

export const nothingUnfinished: Rule = ({ path, text }) =>
  text.split("\n").flatMap((line, at) =>
    UNFINISHED.test(line) ? [`${path}:${at + 1}: says that it is unfinished`] : []
  );

function parameterProperties(file: SourceFile): Violation[] {
  const { tokens } = file.scan;
  return tokens.flatMap((token, at) => {
    if (!isWord(token, "constructor") || !is(tokens[at + 1], "(")) return [];
    const parameters = tokens.slice(at + 2, closing(tokens, at + 1));
    const hasModifier = parameters.some((each, index) =>
      /^(public|private|protected|readonly)$/.test(each.text) &&
      (index === 0 || is(parameters[index - 1], ",")) && parameters[index + 1]?.kind === "word"
    );
    return hasModifier ? [place(file, token, "a parameter property")] : [];
  });
}

/** Words inside the braces of an import or export, of `import * as x`, and of the key of a mapped type. */
function wordsOfLists({ scan: { tokens } }: SourceFile): ReadonlySet<Token> {
  const listed = new Set<Token>();
  tokens.forEach((token, at) => {
    if (is(token, "[") && isWord(tokens[at + 2], "in")) {
      for (const each of tokens.slice(at, closing(tokens, at))) listed.add(each);
    }
    if (!isWord(token, "import") && !isWord(token, "export")) return;
    const open = is(tokens[at + 1], "type") ? at + 2 : at + 1;
    if (is(tokens[open], "*")) listed.add(tokens[open + 1] ?? token);
    if (!is(tokens[open], "{")) return;
    for (const each of tokens.slice(open, closing(tokens, open))) listed.add(each);
  });
  return listed;
}

function isFromOf(tokens: readonly Token[], at: number): (token: Token) => boolean {
  const end = closing(tokens, at + 1);
  return (token) => token === tokens[end + 1] && isWord(token, "from");
}

/** Index of the bracket that closes the one at `open`. */
function closing(tokens: readonly Token[], open: number): number {
  let depth = 0;
  for (let at = open; at < tokens.length; at++) {
    const { kind, text } = tokens[at] ?? { kind: "sign", text: "" };
    if (kind !== "sign") continue;
    if (/^[([{]$/.test(text)) depth++;
    if (/^[)\]}]$/.test(text) && --depth === 0) return at;
  }
  return tokens.length;
}

type Test = (token: Token, next?: Token, after?: Token, before?: Token) => boolean;

function report(file: SourceFile, what: string, matches: Test): Violation[] {
  const { tokens } = file.scan;
  return tokens
    .filter((token, at) => matches(token, tokens[at + 1], tokens[at + 2], tokens[at - 1]))
    .filter(({ kind }) => kind === "word" || kind === "sign")
    .map((token) => place(file, token, what));
}

function place({ path }: SourceFile, { line }: Token, what: string): Violation {
  return `${path}:${line}: ${what}`;
}

function startOf(token: Token | undefined): string {
  return token === undefined
    ? ""
    : token.kind === "word"
    ? token.text
    : token.kind === "sign"
    ? ""
    : '"';
}

function is(token: Token | undefined, text: string): boolean {
  return token !== undefined && token.text === text &&
    (token.kind === "word" || token.kind === "sign");
}

function isWord(token: Token | undefined, text: string): boolean {
  return token?.kind === "word" && token.text === text;
}
