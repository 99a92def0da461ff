/** Secrets of every form that account files, keys and configuration hold, for tables and for fuzzing. */
import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import fc from "fast-check";

export const KEY = Buffer.alloc(32, 7);

/** Body of each hash: what must be nowhere. */
export const HASHES: Readonly<Record<string, string>> = {
  yescrypt: "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
  sha512crypt:
    "$6$rounds=5000$saltsaltsalt$lQ5Z1JH0bU6pB0R3yVqFv6Xs2r9mNwYd8tKcA7fGhE4jLxPzOiUnWbSvMkTqRaDeCyHgXfIuJlQmZoBpVsN0w/",
  sha256crypt: "$5$rounds=80000$wnsT7Yr92oJoP28r$cKhJImk5mfuSKV9b3mumNzlbstFUplKtQXXMo4G6Ep5",
  bcrypt: "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
  md5crypt: "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
  descrypt: "rEK1ecacw.7.c",
  bsdicrypt: "_J9..K0AyUubDrfOgO4s",
  scrypt: "$7$CU..../....KHHK4QJ2DwRVY1Jq0bWrc.$V4l6bJPrwPVgkLIq95eB7HkJ3RScN9U0e9hsYqSmU4B",
};

/** Text of a key: its blob with the type's name before random bytes, as real ones have it. */
export function blobOf(type: string, sizeBytes = 64, bytes: Uint8Array = randomBytes(sizeBytes)) {
  const name = Buffer.from(type);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(name.length);
  const inner = Buffer.alloc(4);
  inner.writeUInt32BE(bytes.length);
  return Buffer.concat([size, name, inner, bytes]).toString("base64");
}

export function fingerprint(blob: string): string {
  const digest = createHash("sha256").update(Buffer.from(blob, "base64")).digest("base64");
  return `SHA256:${digest.replace(/=+$/, "")}`;
}

/** Keys as ssh-keygen makes them: public line, private text, and its own fingerprint. */
export function realKey(folder: string, type: "ed25519" | "ecdsa" | "rsa") {
  const file = `${folder}/${type}`;
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", "someone@host", "-f", file]);
  const [, printed = ""] = execFileSync("ssh-keygen", ["-l", "-f", file]).toString().split(" ");
  return { file, fingerprint: printed };
}

export function pem(): string {
  const { privateKey } = generateKeyPairSync("ed25519");
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** Random text with a good share of what gives meaning to lines. */
export const hostileText: fc.Arbitrary<string> = fc.array(
  fc.oneof(
    fc.constantFrom(
      ":",
      "\n",
      " ",
      "\t",
      "=",
      "#",
      ",",
      "\\",
      '"',
      "'",
      "$",
      "!",
      "*",
      "\0",
      "\r",
      "\x7f",
      "~",
      "root",
      "x",
      "ssh-ed25519",
      "ssh-rsa",
      "password",
      "[Service]",
      "ExecStart=",
      "ALL",
      "@include",
      "-----BEGIN OPENSSH PRIVATE KEY-----",
      "-----END OPENSSH PRIVATE KEY-----",
      "SHA256:",
      "AAAA",
      "User_Alias",
      "Defaults",
      "@reboot",
      "* * * * *",
      "http://a:b@c",
      "\\\n",
      "{",
      "}",
    ),
    fc.string({ maxLength: 8 }),
    fc.string({ unit: "binary", maxLength: 4 }),
  ),
  { maxLength: 60 },
).map((parts) => parts.join(""));

/** A fanotify report of a group of contents: metadata, one information record with fsid and handle. */
export function reportOf(mask: number, pid: number, handle: string): Buffer {
  const bytes = Buffer.alloc(28 + handle.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes[4] = 3;
  bytes.writeUInt16LE(24, 6);
  bytes.writeUInt32LE(mask, 8);
  bytes.writeInt32LE(pid, 20);
  bytes[24] = 1;
  bytes.writeUInt16LE(4 + handle.length, 26);
  bytes.write(handle, 28, "latin1");
  return bytes;
}
