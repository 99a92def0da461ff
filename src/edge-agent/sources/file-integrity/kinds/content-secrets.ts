/**
 * Secrets in any text file, found by what stands around them: values of keys named like passwords and tokens, user info
 * of URLs, forms of well-known tokens, password hashes, SSH keys and blocks of private keys.
 *
 * Invariants: every pattern runs in linear time over a line; a block of a private key that does not end hides all the
 * rest. This finds what is obviously secret, not every secret: files full of others belong under the kind `digest`.
 */
import { withoutKeys } from "./key-text.ts";
import { reducedBlocks } from "./key-block-text.ts";
import { createSecretCount, markerOf, type TagKey, withoutEdges } from "./secret-marker.ts";

/** A name ends like this when its value is a secret: `db_password`, `client-secret`, `apiKey`; not `PasswordAuthentication`. */
const SECRET_NAME = "(?:pass(?:word|wd|phrase|code)?|passwort|pwd|secret|token|credentials?|psk|" +
  "(?:api|access|private|secret|shared|auth|account|encryption|encrypt|signing|master|preshared|pre_shared|" +
  "storage|session|service)[_.-]?key|requirepass|masterauth|bindpw|rootpw|community)";

/** `name = value`, `"name": "value"`, with the value to the end of the line; without a sign, one word alone. */
const LINE_VALUE = new RegExp(
  "^(?<head>[ \\t]{0,256}(?:[-;#*]{1,3}[ \\t]{0,8})?(?:(?:export|set|setenv|Environment=)[ \\t]{0,8})?" +
    `["']?[\\w.-]{0,128}?${SECRET_NAME}["']?(?:[ \\t]{0,64}(?:=>|[:=]{1,2})[ \\t]{0,64}|` +
    "[ \\t]{1,64}(?=[^ \\t\\r]+[ \\t\\r]*$)))(?<value>[^ \\t\\r].*)$",
  "is",
);
/** The same inside a line: the value ends where an argument or a parameter does. */
const INNER_VALUE = new RegExp(
  `(?<head>(?<![\\w])[\\w.-]{0,64}?${SECRET_NAME}["']?[ \\t]?(?:=>|[:=]{1,2})[ \\t]?)` +
    `(?<value>"(?:[^"\\\\]|\\\\.){1,4096}"|'[^']{1,4096}'|[^\\s"'&;,<>|)\\]}\\x7f][^\\s"'&;,<>|)\\]}\\x7f]*)`,
  "gi",
);
/** `--password value`, `-token value`. */
const FLAG_VALUE = new RegExp(
  `(?<head>(?<![\\w-])--?[\\w.-]{0,64}?${SECRET_NAME}[ \\t]+)` +
    `(?<value>"[^"]{1,4096}"|'[^']{1,4096}'|[^\\s"'&;,<>|\\x7f-][^\\s"'&;|\\x7f]*)`,
  "gi",
);
/** `<password>value</password>`. */
const ELEMENT_VALUE = new RegExp(
  `(?<head><[\\w.:-]{0,64}?${SECRET_NAME}(?:[ \\t][^<>\\x7f]{0,256})?>)(?<value>[^<>\\x7f]{1,4096})`,
  "gi",
);
/** The password between the user and the host of a URL. */
const URL_VALUE =
  /(?<head>[a-z][a-z0-9+.-]{0,30}:\/\/[^\s/:@"'<>]{0,256}:)(?<value>[^\s/@"'<>\x7f]{1,1024})(?=@)/gi;
/** `Authorization: Bearer …`, `Basic …`. */
const HEADER_VALUE =
  /(?<head>\b(?:bearer|basic|digest|apikey)[ \t]+)(?<value>[A-Za-z0-9._~+/-]{16,4096}={0,2})/gi;

/** Texts that are secrets by their form alone. */
const TOKENS: readonly RegExp[] = [
  /\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|apr1|argon2(?:id|i|d)|pbkdf2[\w-]{0,20}|scrypt|P|H|S)\$[^\s:"'{}<>\x7f]{8,}/g,
  /\{(?:S?SHA(?:256|384|512)?|S?MD5|CRYPT|PBKDF2[\w-]{0,20}|ARGON2)\}[^\s"'<>\x7f]{8,}/gi,
  /\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|npm_|pypi-|dop_v1_|hvs\.|sk_live_|rk_live_)[\w-]{16,}/g,
  /(?<![\w-])sk-(?!ssh-|ecdsa-)[\w-]{20,}/g,
  /\bAIza[\w-]{35}/g,
  /\bAGE-SECRET-KEY-1[A-Z0-9]{20,}/gi,
  // Seeds of NATS keys.
  /\bS[ACNOUXP][A-Z2-7]{56}\b/g,
];

/** Values that tell nothing: switches, references, modules of PAM and their control words. */
const HARMLESS = new RegExp(
  "^(?:[\"']{2}|true|false|yes|no|on|off|none|null|nil|unset|disabled?|enabled?|prompt|ask|md5|" +
    "\\$\\{?[A-Za-z_]\\w*\\}?|[{[(][ \\t]*|\\||>-?|" +
    "(?:required|requisite|sufficient|optional|include|substack|\\[[^\\]]{0,200}\\])(?:[ \\t].*)?)[;,]?$",
  "i",
);

/** Tags of sudoers (`NOPASSWD: ALL`), which are named like passwords. */
const SUDO_TAG = /^(?:NO)?PASSWD[ \t]?:[ \t]?$/;

/** What already is a marker, alone, without what closes it. */
const REDUCED = /^["']?\x7f[^\x7f]*\x7f(?: SHA256:[A-Za-z0-9+/]{43})?$/;

/** Where a JSON Web Token may stand (RFC 7519), and how its first part begins. */
const DOTTED_RUN = /[\w.-]{21,}/g;
const TOKEN_HEAD = /(?<!\w)eyJ[\w-]{8}/;
/** Least length of a token's second part. */
const TOKEN_PART_LEAST = 8;

/** Longest line that is searched by name; of a longer one, each piece of this length is searched alone. */
const LINE_LENGTH_MAX = 65_536;

/** The text as it may be kept. Texts are binary strings. Throws {@link TooManySecrets}. */
export function withoutSecrets(text: string, key: TagKey): string {
  const plain = reducedBlocks(withoutEdges(text), key);
  const counted = createSecretCount();
  const reduced = (piece: string): string => counted(reducedPiece(piece, key));
  return plain.split("\n").map((line) => {
    if (line.length < 6) return line;
    if (line.length <= LINE_LENGTH_MAX) return reduced(line);
    const pieces: string[] = [];
    for (let at = 0; at < line.length; at += LINE_LENGTH_MAX) {
      pieces.push(reduced(line.slice(at, at + LINE_LENGTH_MAX)));
    }
    return pieces.join("");
  }).join("\n");
}

function reducedPiece(line: string, key: TagKey): string {
  const hidden = (text: string): string =>
    markerOf({ label: "redacted", place: "text", text }, key);
  const whole = LINE_VALUE.exec(line)?.groups;
  if (whole !== undefined) {
    const { head = "", value = "" } = whole;
    if (isSecretValue(value)) return head + hiddenValue(value, hidden);
  }
  let reduced = withoutKeys(line, key);
  for (const pattern of TOKENS) reduced = reduced.replace(pattern, hidden);
  reduced = reduced.replace(DOTTED_RUN, (run) => withoutWebTokens(run, hidden));
  for (const pattern of [INNER_VALUE, FLAG_VALUE, ELEMENT_VALUE, URL_VALUE, HEADER_VALUE]) {
    reduced = reduced.replace(
      pattern,
      (_all, head: string, value: string) =>
        head + (isSecretValue(value) && !SUDO_TAG.test(head) ? hiddenValue(value, hidden) : value),
    );
  }
  return reduced;
}

function isSecretValue(value: string): boolean {
  return !HARMLESS.test(value.trim()) && !REDUCED.test(value.slice(0, endOfInner(value)));
}

/** Quotes and what closes a list stay, so that the line keeps its form. */
function hiddenValue(value: string, hidden: (text: string) => string): string {
  const from = /^["']/.test(value) ? 1 : 0;
  const to = Math.max(from, endOfInner(value));
  if (from === to) return hidden(value);
  return `${value.slice(0, from)}${hidden(value.slice(from, to))}${value.slice(to)}`;
}

/** Where a quote, a comma or semicolon and blanks end a value. From its end: a pattern would try every run of blanks. */
function endOfInner(value: string): number {
  const before = (end: number, characters: string): number => {
    let at = end;
    while (at > 0 && characters.includes(value.charAt(at - 1))) at -= 1;
    return at;
  };
  const oneBefore = (end: number, characters: string): number =>
    end > 0 && characters.includes(value.charAt(end - 1)) ? end - 1 : end;
  return oneBefore(before(oneBefore(before(value.length, " \t\r"), ";,"), " \t"), "\"'");
}

/** Part by part, each of which is looked at once: as one pattern, each `eyJ` would be tried to the end of its part. */
function withoutWebTokens(run: string, hidden: (text: string) => string): string {
  if (!run.includes("eyJ")) return run;
  const parts = run.split(".");
  const kept: string[] = [];
  for (let at = 0; at < parts.length;) {
    const [part = "", second = ""] = parts.slice(at, at + 2);
    const from = at + 2 < parts.length && second.length >= TOKEN_PART_LEAST
      ? part.search(TOKEN_HEAD)
      : -1;
    if (from < 0) {
      kept.push(part);
      at += 1;
    } else {
      const token = [part.slice(from), ...parts.slice(at + 1, at + 3)].join(".");
      kept.push(part.slice(0, from) + hidden(token));
      at += 3;
    }
  }
  return kept.join(".");
}
