/**
 * Which environment variables an exec tells.
 *
 * Invariant: the kernel's program looks at the first four bytes of each variable only, so that most are passed over
 * without being copied; those that begin alike are sorted out here, by their whole names.
 */
import { endianness } from "node:os";

/** Variables that decide what code is run, or tell whose behalf it runs on. */
export const ENVIRONMENT_NAMES: readonly string[] = [
  "BASH_ENV",
  "DOTNET_STARTUP_HOOKS",
  "ENV",
  "GCONV_PATH",
  "GIT_SSH_COMMAND",
  "GLIBC_TUNABLES",
  "IFS",
  "JAVA_TOOL_OPTIONS",
  "LD_AUDIT",
  "LD_LIBRARY_PATH",
  "LD_PRELOAD",
  "NODE_OPTIONS",
  "PATH",
  "PERL5LIB",
  "PERL5OPT",
  "PROMPT_COMMAND",
  "PYTHONPATH",
  "PYTHONSTARTUP",
  "RUBYOPT",
  "SSH_CLIENT",
  "SSH_CONNECTION",
  "SSH_ORIGINAL_COMMAND",
  "SUDO_COMMAND",
  "SUDO_UID",
  "SUDO_USER",
];
/** Names in a list, at most. */
export const ENVIRONMENT_NAMES_MAX = 64;
/** What a name must look like: with its `=`, it has the four bytes that the kernel looks at. */
export const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]{2,127}$/;
/** `PROBITY_ENV_BITS`. */
const BITS = 4096;
const HASH = 0x9e3779b1;
const HASH_SHIFT = 20;

/** The kernel's side of a list of names: value of the map `environment`. */
export function environmentBits(names: readonly string[]): Uint8Array {
  const bits = new Uint8Array(BITS / 8);
  const bytes = Buffer.alloc(4);
  for (const name of names) {
    bytes.fill(0);
    bytes.write(`${name}=`, "latin1");
    const prefix = endianness() === "LE" ? bytes.readUInt32LE() : bytes.readUInt32BE();
    const bit = Math.imul(prefix, HASH) >>> HASH_SHIFT;
    bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  return bits;
}
