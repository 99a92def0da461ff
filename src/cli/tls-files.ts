/**
 * Certificate and key of the server, from files that others renew: what may be used of them, and when they are read
 * again.
 *
 * Invariants: a key that everybody may read is not used; a pair is used only when both belong together, so that files
 * that are replaced one after the other, or half-written, change nothing until they are whole.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type { Clock } from "../runtime/clock.ts";
import { onHangup } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { usageError } from "./exit.ts";

/** Paths of files in PEM: a chain with the server's own certificate first, and its private key. */
export interface TlsPaths {
  readonly cert: string;
  readonly key: string;
}

export interface TlsPair {
  readonly cert: string;
  readonly key: string;
  /** When the certificate ends, in milliseconds since the Unix epoch. */
  readonly expiresMs: number;
}

export interface TlsFiles extends AsyncDisposable {
  /** The pair in use. */
  readonly current: TlsPair;
}

export interface TlsFilesOptions {
  readonly paths: TlsPaths;
  /** Called with every pair that follows the first. */
  readonly onChange: (pair: TlsPair) => void;
  readonly clock: Clock;
  readonly log: Log;
  /** How often the files are looked at; 5 s by default. */
  readonly lookMs?: number;
}

const LOOK_MS = 5_000;
/** Of the key: nothing for others, and nothing but reading for its group. */
const FORBIDDEN_MODE = 0o027;
const DAY_MS = 86_400_000;
/** So long before a certificate ends this is said, once a day. */
const WARN_MS = 14 * DAY_MS;

/** Reads the pair, and again when a file changes or at SIGHUP. Throws a usage error when it cannot be used at first. */
export function openTlsFiles(options: TlsFilesOptions): TlsFiles {
  const { paths, onChange, clock, log, lookMs = LOOK_MS } = options;
  let current = readTlsPair(paths);
  let seen = versionOf(paths);
  let fault = "";
  let warnedMs = -Infinity;
  const stop = new AbortController();

  const warn = (): void => {
    const nowMs = clock.nowUs() / 1_000;
    if (current.expiresMs - nowMs > WARN_MS || nowMs - warnedMs < DAY_MS) return;
    warnedMs = nowMs;
    log.warn("the certificate ends soon or has ended", {
      cert: paths.cert,
      expires: new Date(current.expiresMs).toISOString(),
    });
  };
  const read = (): void => {
    try {
      const version = versionOf(paths);
      const pair = readTlsPair(paths);
      if (pair.cert !== current.cert || pair.key !== current.key) {
        onChange(pair);
        current = pair;
        log.info("uses another certificate", { expires: new Date(pair.expiresMs).toISOString() });
      }
      seen = version;
      fault = "";
    } catch (error) {
      // It is tried again at each look: files may be replaced one after the other.
      const message = error instanceof Error ? error.message : String(error);
      if (message !== fault) log.warn("keeps its certificate", { reason: message });
      fault = message;
    }
  };
  const look = (): void => {
    if (fault !== "" || versionOf(paths) !== seen) read();
    warn();
  };
  warn();
  const hangup = onHangup(read);
  const looking = (async () => {
    while (!stop.signal.aborted) {
      await Promise.allSettled([clock.sleep(lookMs, stop.signal)]);
      if (!stop.signal.aborted) look();
    }
  })();
  return {
    get current() {
      return current;
    },
    async [Symbol.asyncDispose]() {
      hangup[Symbol.dispose]();
      stop.abort();
      await looking;
    },
  };
}

/** Throws a usage error that names the file and what is wrong with it. */
export function readTlsPair({ cert, key }: TlsPaths): TlsPair {
  const mode = attempt(key, () => statSync(key).mode & 0o777);
  if ((mode & FORBIDDEN_MODE) !== 0) {
    throw usageError(
      `Cannot use key "${key}": its mode is 0${mode.toString(8)}, and 0640 is the most it may be`,
    );
  }
  const keyText = attempt(key, () => readFileSync(key, "utf8"));
  const certText = attempt(cert, () => readFileSync(cert, "utf8"));
  const privateKey = attempt(key, () => createPrivateKey(keyText));
  const certificate = attempt(cert, () => new X509Certificate(certText));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw usageError(`Cannot use key "${key}": it is not that of certificate "${cert}"`);
  }
  return { cert: certText, key: keyText, expiresMs: Date.parse(certificate.validTo) };
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw usageError(`Cannot use file "${path}" for TLS: ${codeOf(cause) ?? "no PEM"}`, { cause });
  }
}

/** What changes when one of the files does; links are followed. Why one cannot be looked at is a version, too. */
function versionOf({ cert, key }: TlsPaths): string {
  return [cert, key].map((path) => {
    try {
      const { ino, size, mtimeMs, ctimeMs } = statSync(path);
      return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
    } catch (error) {
      return codeOf(error) ?? String(error);
    }
  }).join(" ");
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
