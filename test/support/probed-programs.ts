/** Programs and libraries with probes, compiled from test/fixtures/crypto/probes.c, and sources that read them. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Source } from "../../src/edge-agent/source.ts";
import {
  type CryptoSourceOptions,
  openCryptoSource,
} from "../../src/edge-agent/sources/crypto/crypto-source.ts";
import { CRYPTO_PROVIDER } from "../../src/edge-agent/sources/crypto/crypto-settings.ts";
import { requireCapability } from "./require.ts";
import { type PinFolder, testContext, testLog } from "./ring-sources.ts";

const SOURCE = fileURLToPath(new URL("../fixtures/crypto/probes.c", import.meta.url));
const HANDSHAKES = fileURLToPath(new URL("../fixtures/crypto/handshakes.c", import.meta.url));
const HOSTILE = fileURLToPath(new URL("../fixtures/crypto/hostile.c", import.meta.url));

/** Whether programs with probes can be compiled here. */
export const hasProbes = requireCapability(
  "usdt",
  spawnSync("which", ["gcc"]).status === 0 && existsSync(sdtHeader()),
  "no gcc, or no sys/sdt.h: apt-get install gcc systemtap-sdt-dev",
);

function sdtHeader(): string {
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  const [own = ""] = [`/usr/include/${machine}-linux-gnu/sys/sdt.h`].filter(existsSync);
  return own === "" ? "/usr/include/sys/sdt.h" : own;
}

export interface Compiled {
  readonly program: string;
  readonly library: string;
}

/** The program, and the same as a library, with a build id each. */
export function compileProbes(folder: string, flags: readonly string[] = []): Compiled {
  const [program, library] = [join(folder, "probed"), join(folder, "libprobed.so")];
  const common = ["-O2", "-Wall", "-Werror", "-Wl,--build-id", ...flags, SOURCE];
  execFileSync("gcc", [...common, "-o", program, "-ldl"]);
  execFileSync("gcc", [...common, "-shared", "-fPIC", "-DLIBRARY", "-o", library]);
  return { program, library };
}

/** The program that does what no library does (test/fixtures/crypto/hostile.c). */
export function compileHostile(folder: string): string {
  const program = join(folder, "hostile");
  execFileSync("gcc", ["-O2", "-Wall", "-Werror", HOSTILE, "-o", program, "-lpthread"]);
  return program;
}

/** The program that tells handshakes by its words (test/fixtures/crypto/handshakes.c), with a build id. */
export function compileHandshakes(program: string): void {
  const flags = ["-O2", "-Wall", "-Werror", "-Wl,--build-id", "-o", program];
  execFileSync("gcc", [...flags, HANDSHAKES]);
}

/** A library of 32 bits with a probe, which needs no C library. */
export function compileNarrow(folder: string): string {
  const library = join(folder, "narrow.so");
  const probe = `DTRACE_PROBE3(crypto_auditing, word_data, 1, "test::narrow", 2);`;
  const input = `#include <sys/sdt.h>\nvoid tell(void) { ${probe} }\n`;
  const flags = [
    ...["-m32", "-nostdlib", "-shared", "-fPIC", "-I", dirname(dirname(sdtHeader()))],
    ...["-o", library],
  ];
  execFileSync("gcc", ["-O2", "-x", "c", "-", ...flags], { input });
  return library;
}

/** Build id as readelf tells it. */
export function buildIdOf(path: string): string {
  const text = execFileSync("readelf", ["-n", path], { encoding: "utf8" });
  return /Build ID: ([0-9a-f]+)/.exec(text)?.[1] ?? "";
}

export interface Running extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Lets a program go on that waits. */
  go(): void;
  ended(): Promise<void>;
}

/** Runs it; without holding up this process, in which sources may run. */
export function runProbed(command: string, ...words: readonly string[]): Running {
  const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
  const closed = once(child, "close");
  return {
    pid: child.pid ?? 0,
    child,
    go: () => void child.stdin?.write("\n"),
    async ended() {
      const [code] = await closed;
      if (code !== 0) throw new Error(`Cannot run ${command} ${words.join(" ")}: it gave ${code}`);
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await closed;
    },
  };
}

export function openTestCrypto(
  options:
    & Pick<CryptoSourceOptions, "dataDirectory">
    & { readonly pins: PinFolder }
    & Partial<CryptoSourceOptions>
    & { readonly libraries?: readonly string[]; readonly discover?: boolean },
): Source {
  const { pins, libraries = [], discover = false, ...rest } = options;
  return openCryptoSource({
    context: testContext(),
    log: testLog,
    pinFolder: pins.path,
    settings: { libraries, discover, provider: CRYPTO_PROVIDER },
    ...rest,
  });
}
