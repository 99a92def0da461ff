/**
 * Asks systemd's journal by journalctl, bounded in time and bytes.
 *
 * Invariants: an answer is whole lines; what is longer than its bound is read on in the next question, after the last
 * entry that was given; journalctl runs with the agent's rights and an environment of its own.
 */
import { spawn } from "node:child_process";
import { clearTimeout, setTimeout } from "node:timers";

export class JournalError extends Error {
  override readonly name = "JournalError";
}

export interface JournalAnswer {
  readonly lines: readonly string[];
  /** Whether it was cut at its bound. */
  readonly hasMore: boolean;
}

/** Program and first words. */
export type Journalctl = readonly [string, ...string[]];

/** An entry has some 300 bytes, so that these are fewer events than one collection may have. */
const ANSWER_BYTES_MAX = 1024 * 1024;
const ANSWER_LIMIT_MS = 20_000;
const ERROR_BYTES_MAX = 2048;
const ENVIRONMENT = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", SYSTEMD_COLORS: "0" };

/** Throws {@link JournalError} when there is no answer. */
export async function askJournal(
  [program, ...first]: Journalctl,
  words: readonly string[],
  signal: AbortSignal,
): Promise<JournalAnswer> {
  signal.throwIfAborted();
  const child = spawn(program, [...first, "--output=json", "--quiet", "--no-pager", ...words], {
    cwd: "/",
    env: ENVIRONMENT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const end = new Promise<number | Error | null>((resolve) => {
    child.once("error", resolve);
    child.once("close", resolve);
  });
  const stop = (): void => {
    child.kill("SIGKILL");
    // What it started may hold its output open.
    child.stdout.destroy();
    child.stderr.destroy();
  };
  signal.addEventListener("abort", stop, { once: true });
  const timer = setTimeout(stop, ANSWER_LIMIT_MS);
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(0, ERROR_BYTES_MAX);
  });
  try {
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    child.stdout.on("data", (chunk: Uint8Array) => {
      if (sizeBytes < ANSWER_BYTES_MAX) chunks.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes >= ANSWER_BYTES_MAX) stop();
    });
    const code = await end;
    signal.throwIfAborted();
    const lines = Buffer.concat(chunks).toString("utf8").split("\n");
    // Half a line, or nothing.
    lines.pop();
    const isCut = code === null && lines.length > 0;
    if (code !== 0 && !isCut) throw new JournalError(messageOf(code, errors));
    return { lines, hasMore: isCut };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

function messageOf(code: number | Error | null, errors: string): string {
  const said = errors.trim().split("\n")[0] ?? "";
  const isMissing = code instanceof Error && "code" in code && code.code === "ENOENT";
  const why = isMissing
    ? "there is no journalctl"
    : code instanceof Error
    ? code.message
    : code === null
    ? "no whole entry came in time"
    : said === ""
    ? `journalctl ended with ${code}`
    : said;
  return `Cannot read the journal: ${why}`;
}
