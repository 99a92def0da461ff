/**
 * Which names announce a secret: `--db-password`, `PGPASSWORD`, `api_key`, `X-Auth-Token`. Pure.
 *
 * Invariant: {@link mentionsSecretName} is true for every text that holds a name of which {@link isSecretName} is true,
 * so that texts without any need no closer look.
 */

/** Parts of a name that announce a secret when they stand alone in it. */
const SECRET_PARTS: ReadonlySet<string> = new Set([
  "apikey",
  "authorization",
  "bearer",
  "cookie",
  "credential",
  "credentials",
  "jwt",
  "otp",
  "pass",
  "passcode",
  "passin",
  "passkey",
  "passout",
  "passphrase",
  "passwd",
  "password",
  "passwords",
  "psk",
  "pw",
  "pwd",
  "secret",
  "secrets",
  "token",
]);
/** Endings that announce one in a part that is written in one piece, as in `PGPASSWORD`. */
const SECRET_ENDINGS =
  /(?:pass(?:word|wd|phrase|code)?|pwd|pw|secret|token|(?:api|access|auth|private|secret|master|shared|account|encryption|signing|storage)key|credentials?|cookie)$/;
/** Parts that end like a secret and announce none. */
const HARMLESS_PARTS: ReadonlySet<string> = new Set([
  "askpass",
  "bypass",
  "compass",
  "encompass",
  "overpass",
  "surpass",
  "trespass",
  "underpass",
]);
/** Before `key`, these make it a secret one. */
const KEY_KINDS: ReadonlySet<string> = new Set([
  "access",
  "account",
  "api",
  "auth",
  "encryption",
  "master",
  "private",
  "secret",
  "shared",
  "signing",
  "storage",
]);
/** After the secret part: the value is about the secret, or where it is kept. */
const ABOUT_PARTS: ReadonlySet<string> = new Set([
  "age",
  "algorithm",
  "arn",
  "class",
  "command",
  "cmd",
  "count",
  "dir",
  "directory",
  "endpoint",
  "env",
  "expiry",
  "fd",
  "file",
  "files",
  "helper",
  "hint",
  "id",
  "jar",
  "length",
  "lifetime",
  "limit",
  "location",
  "max",
  "min",
  "mode",
  "name",
  "names",
  "path",
  "policy",
  "prompt",
  "provider",
  "ref",
  "server",
  "size",
  "stdin",
  "store",
  "timeout",
  "ttl",
  "type",
  "uri",
  "url",
  "version",
]);
/** The working directory, as shells name it. */
const FOLDERS: ReadonlySet<string> = new Set(["PWD", "OLDPWD"]);

const MENTION = new RegExp(
  "pass|pwd?|secret|token|credential|authoriz|bearer|cookie|jwt|otp|psk|" +
    "(?:api|access|account|auth|encryption|master|private|shared|signing|storage)[-_.]?key|" +
    "[?&]sig(?:nature)?=|amz-signature|pin(?:-value)?[= \\0]",
  "i",
);

/** Whether a closer look is worth it. */
export function mentionsSecretName(text: string): boolean {
  return MENTION.test(text);
}

/** The same words one after the other: for each, the name around it is asked. */
export function secretMentions(): RegExp {
  return new RegExp(MENTION.source, "gi");
}

/** Names that are secrets as such, whatever their parts. */
const SECRET_NAMES = /^(?:sig|signature|x-amz-signature|pin|so-pin|pin-value)$/i;

/** Whether what a name is given is a secret. Names are short: of a long one only the end is looked at. */
export function isSecretName(name: string): boolean {
  if (FOLDERS.has(name)) return false;
  const short = name.slice(-NAME_CHARACTERS_MAX);
  if (SECRET_NAMES.test(short)) return true;
  const parts = partsOf(short);
  let isSecret = false;
  for (const [place, part] of parts.entries()) {
    if (isSecret && ABOUT_PARTS.has(part)) return false;
    isSecret ||= isSecretPart(part) ||
      (part === "key" && KEY_KINDS.has(parts[place - 1] ?? ""));
  }
  return isSecret;
}

/** Characters of a name that are looked at. */
export const NAME_CHARACTERS_MAX = 64;

function isSecretPart(part: string): boolean {
  return SECRET_PARTS.has(part) || (SECRET_ENDINGS.test(part) && !HARMLESS_PARTS.has(part));
}

/** `--db-passwordFile` is `db`, `password`, `file`. */
function partsOf(name: string): readonly string[] {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase().split(/[^a-z0-9]+/)
    .filter((part) => part !== "");
}
