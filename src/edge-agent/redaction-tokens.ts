/**
 * Texts that are secrets by their looks: tokens with the marks of those who issue them, private keys, and long random
 * ones. Pure; the time is linear in the text, whatever the text.
 *
 * What is taken for random: 20 to 256 characters of base64 or base64url with upper case, lower case and digits, that
 * change between the three in at least 36 % of places; or 32 to 256 of one case with digits, that change in
 * 20 %; both with at least 0.8 of the entropy that their length allows. Left alone, for they tell what happened: hex
 * digests and UUIDs, names in paths and files with an extension, public keys, digests that are named as such, and
 * base64 of printable text that holds no secret.
 */

/** A part of a text, from `start` to before `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export const RANDOM_CHARACTERS_MIN = 20;
export const RANDOM_CHARACTERS_MAX = 256;
const ONE_CASE_CHARACTERS_MIN = 32;
const MIXED_CHANGES_MIN = 0.36;
const ONE_CASE_CHANGES_MIN = 0.2;
const STEPS_MAX = 0.25;
const ENTROPY_SHARE_MIN = 0.8;

/**
 * Issuers' marks. Each alternative is a fixed beginning and one class with a least length, so that nothing is walked
 * through twice.
 */
const MARKED = new RegExp(
  "(?<![A-Za-z0-9])(?:" + [
    "gh[pousr]_[A-Za-z0-9]{20,}",
    "github_pat_[A-Za-z0-9_]{20,}",
    "gl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_-]{16,}",
    "(?:AKIA|ASIA)[A-Z0-9]{16}",
    "xox[a-z]-[A-Za-z0-9-]{10,}",
    "xapp-[A-Za-z0-9-]{10,}",
    "sk-[A-Za-z0-9_-]{20,}",
    "(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}",
    "whsec_[A-Za-z0-9+/=]{16,}",
    "npm_[A-Za-z0-9]{30,}",
    "prb_[A-Za-z0-9]{40,}",
    "pypi-[A-Za-z0-9_-]{20,}",
    "AIza[A-Za-z0-9_-]{30,}",
    "ya29\\.[A-Za-z0-9_-]{20,}",
    "hv[sb]\\.[A-Za-z0-9_-]{20,}",
    "do[opr]_v1_[a-f0-9]{32,}",
    "SG\\.[A-Za-z0-9_.-]{20,}",
    "shp(?:at|ss|ca|pa)_[a-fA-F0-9]{20,}",
    "dckr_pat_[A-Za-z0-9_-]{20,}",
    "AGE-SECRET-KEY-1[A-Z0-9]{20,}",
    "S[UAOCNX][A-Z2-7]{56}(?![A-Za-z0-9])",
  ].join("|") + ")",
  "g",
);
const PEM_BEGIN = "-----BEGIN ";
const PEM_MARK = "PRIVATE KEY-----";
/** Longest first line of a private key. */
const PEM_CHARACTERS_MAX = 64;
const WEBHOOK = /hooks\.slack\.com\/services\/([A-Za-z0-9_/]{8,})/g;
const DOTTED = /[A-Za-z0-9_.-]{20,}/g;
const RUN = /[A-Za-z0-9+/_-]{15,}/g;
/** Length of a mark up to its dot, at most. */
const MARK_CHARACTERS_MAX = 5;
const PUBLIC_KEY = /^AAAA(?:[BCE]3NzaC1|E2VjZHNh|GnNr|InNr)/;
const NAMED_DIGEST = /(?:sha(?:1|224|256|384|512)|md5|blake2b|blake3|buildid)[-:= ]$/i;
const EXTENSION = /^\.[a-z][a-z0-9]{0,4}(?![A-Za-z0-9_.-])/;
const PRINTABLE = /^[\t\n\r\x20-\x7e]+$/;

/** Whether any could be there: cheaper than {@link tokensIn}. */
export function mayHoldToken(text: string, isSecretText: (text: string) => boolean): boolean {
  if (text.includes(PEM_MARK) || text.includes("hooks.slack.com/") || text.includes("eyJ")) {
    return true;
  }
  for (const { 0: run, index } of text.matchAll(RUN)) {
    const end = index + run.length;
    // Every mark is in such a run, but for the few characters that some have before a dot.
    if (text.slice(Math.max(0, index - MARK_CHARACTERS_MAX), end).search(MARKED) >= 0) return true;
    const [span] = randomIn(text, { start: index, end }, isSecretText);
    if (span !== undefined) return true;
  }
  return false;
}

/** The secrets by their looks; `isSecretText` is asked for what a base64 text stands for. */
export function tokensIn(text: string, isSecretText: (text: string) => boolean): readonly Span[] {
  const spans = [...privateKeysIn(text), ...webTokensIn(text)];
  for (const { 0: token, index } of text.matchAll(MARKED)) {
    // `sk-` begins many words; a key has digits and is no word of lower case.
    if (token.startsWith("sk-") && !(/\d/.test(token) && /[A-Z]|\d[a-z]+\d/.test(token))) continue;
    spans.push({ start: index, end: index + token.length });
  }
  for (const { 0: all, 1: path = "", index } of text.matchAll(WEBHOOK)) {
    spans.push({ start: index + all.length - path.length, end: index + all.length });
  }
  for (const { 0: run, index } of text.matchAll(RUN)) {
    spans.push(...randomIn(text, { start: index, end: index + run.length }, isSecretText));
  }
  return spans;
}

/** What stands between the first and the last line of a private key in PEM; to the end of the text without a last. */
function privateKeysIn(text: string): readonly Span[] {
  const spans: Span[] = [];
  for (let mark = text.indexOf(PEM_MARK); mark >= 0;) {
    const start = mark + PEM_MARK.length;
    const before = text.slice(Math.max(0, start - PEM_CHARACTERS_MAX), mark);
    const last = before.includes(PEM_BEGIN) ? text.indexOf("-----END", start) : start;
    const end = last < 0 ? text.length : last;
    if (text.slice(start, end).trim() !== "") spans.push({ start, end });
    mark = text.indexOf(PEM_MARK, end);
  }
  return spans;
}

/** JSON Web Tokens (RFC 7519): base64url of `{"…`, a dot, and one or two more parts. */
function webTokensIn(text: string): readonly Span[] {
  const spans: Span[] = [];
  if (!text.includes("eyJ")) return spans;
  for (const { 0: run, index } of text.matchAll(DOTTED)) {
    const parts = run.split(".");
    let at = index;
    for (const [place, part] of parts.entries()) {
      const inner = part.search(/(?<![A-Za-z0-9])eyJ/);
      const payload = parts[place + 1] ?? "";
      if (inner >= 0 && payload.length >= 8) {
        const signature = parts[place + 2];
        const end = at + part.length + 1 + payload.length +
          (signature === undefined ? 0 : 1 + signature.length);
        spans.push({ start: at + inner, end });
      }
      at += part.length + 1;
    }
  }
  return spans;
}

function randomIn(
  text: string,
  run: Span,
  isSecretText: (text: string) => boolean,
): readonly Span[] {
  const { start, end } = run;
  const inner = text.slice(start, end);
  const isSecret = (from: number, to: number): boolean => {
    const part = text.slice(from, to);
    return looksRandom(part) && !isEvidence(text, { start: from, end: to }, isSecretText);
  };
  if (!inner.includes("/")) return isSecret(start, end) ? [padded(text, run)] : [];
  const before = text[start - 1] ?? "";
  const isPath = inner.startsWith("/") || (before !== "" && ".~$}".includes(before));
  const isUrl = isInUrl(text, start);
  if (!isPath && !isUrl) return isSecret(start, end) ? [padded(text, run)] : [];
  if (!isUrl) return [];
  const spans: Span[] = [];
  let at = start;
  for (const piece of inner.split("/")) {
    if (isSecret(at, at + piece.length)) spans.push({ start: at, end: at + piece.length });
    at += piece.length + 1;
  }
  return spans;
}

/** How far before a path its `://` is looked for. */
const URL_CHARACTERS_MAX = 256;

function isInUrl(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - URL_CHARACTERS_MAX), at + 2);
  const scheme = before.lastIndexOf("://");
  return scheme >= 0 && !/[\s"'\0]/.test(before.slice(scheme));
}

function padded(text: string, { start, end }: Span): Span {
  let until = end;
  while (until < end + 2 && text[until] === "=") until += 1;
  return { start, end: until };
}

/** What looks random and tells what happened. */
function isEvidence(
  text: string,
  { start, end }: Span,
  isSecretText: (text: string) => boolean,
): boolean {
  const part = text.slice(start, end);
  if (PUBLIC_KEY.test(part)) return true;
  if (NAMED_DIGEST.test(text.slice(Math.max(0, start - 9), start))) return true;
  if (/^(?:sha(?:1|256|384|512)|md5)-/.test(part)) return true;
  if (EXTENSION.test(text.slice(end, end + 8))) return true;
  const decoded = Buffer.from(part, "base64").toString("latin1").replaceAll("\0", "");
  return PRINTABLE.test(decoded) && !isSecretText(decoded);
}

function looksRandom(text: string): boolean {
  if (text.length < RANDOM_CHARACTERS_MIN || text.length > RANDOM_CHARACTERS_MAX) return false;
  if (/^[0-9a-f-]+$/i.test(text)) return false;
  const { lower, upper, digits, changes, steps } = changesOf(text);
  const pairs = text.length - 1;
  // An alphabet, as in `tr -d abcdefghij0123456789`.
  if (steps >= STEPS_MAX * pairs) return false;
  if (digits === 0 || lower + upper === 0) return false;
  if (lower > 0 && upper > 0) {
    return changes >= MIXED_CHANGES_MIN * pairs && isDiverse(text);
  }
  // Of one case, a name made of several words is no token: only a part without separators is.
  return text.split(/[-_+/]/).some((part) =>
    part.length >= ONE_CASE_CHARACTERS_MIN && !/^[0-9a-f]+$/i.test(part) &&
    changesOf(part).changes >= ONE_CASE_CHANGES_MIN * (part.length - 1) && isDiverse(part)
  );
}

/**
 * How many characters are of which kind, how often the kind changes from one to the next, and how often one is followed
 * by the next of its alphabet.
 */
function changesOf(
  text: string,
): Readonly<Record<"lower" | "upper" | "digits" | "changes" | "steps", number>> {
  const counts = [0, 0, 0, 0];
  let changes = 0;
  let steps = 0;
  let last = 3;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const kind = code >= 97 && code <= 122
      ? 0
      : code >= 65 && code <= 90
      ? 1
      : isDigit(code)
      ? 2
      : 3;
    counts[kind] = (counts[kind] ?? 0) + 1;
    if (kind !== last && kind !== 3 && last !== 3) changes += 1;
    if (at > 0 && code === text.charCodeAt(at - 1) + 1) steps += 1;
    last = kind;
  }
  const [lower = 0, upper = 0, digits = 0] = counts;
  return { lower, upper, digits, changes, steps };
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isDiverse(text: string): boolean {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) {
    const share = count / text.length;
    bits -= share * Math.log2(share);
  }
  return bits >= ENTROPY_SHARE_MIN * Math.log2(Math.min(text.length, 64));
}
