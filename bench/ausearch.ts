/** Questions to `ausearch` over a log in a file, in the words that people use; and how long each took. */
import { execFileSync, spawnSync } from "node:child_process";
import process from "node:process";

/** What ausearch prints: the records as they stand in the log, or with names and words for numbers (`-i`). */
export type AusearchForm = "default" | "interpreted";

export interface AusearchAnswer {
  /** Events found. */
  readonly events: number;
  /** From its start until all of it was read here, in milliseconds. */
  readonly ms: number;
  /** Processor time of it, in milliseconds. */
  readonly processorMs: number;
}

/** More than it prints of any question here. */
const OUTPUT_BYTES_MAX = 2 ** 30;
/** Its own way of saying that there is no such event. */
const NO_MATCHES = 1;

export function ausearch(
  path: string,
  { words, form }: { readonly words: readonly string[]; readonly form: AusearchForm },
): AusearchAnswer {
  const all = ["--input", path, ...words, ...(form === "interpreted" ? ["-i"] : [])];
  const started = performance.now();
  const { status, stdout, stderr, error } = spawnSync(
    "bash",
    ["-c", `TIMEFORMAT="%3U %3S"; time ausearch "$@"`, "ausearch", ...all],
    { maxBuffer: OUTPUT_BYTES_MAX, env: { ...process.env, LC_ALL: "C", TZ: "UTC" } },
  );
  const ms = performance.now() - started;
  if (error !== undefined) throw error;
  if (status !== 0 && status !== NO_MATCHES) {
    throw new Error(`Cannot ask ausearch: it ended in ${status}: ${stderr.toString()}`);
  }
  const seconds = stderr.toString().trim().split("\n").at(-1)?.split(" ").map(Number) ?? [];
  return {
    events: separators(stdout),
    ms,
    processorMs: seconds.reduce((sum, each) => sum + each, 0) * 1000,
  };
}

/** Its words for a range of time, whose end it takes as inclusive, in seconds. */
export function ausearchRange(from: string, to: string): string[] {
  return ["-ts", ...localTime(from, 0), "-te", ...localTime(to, -1)];
}

export function isInstalled(name: string): boolean {
  try {
    execFileSync(name, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

function localTime(time: string, seconds: number): string[] {
  const text = new Date(Date.parse(time) + seconds * 1000).toISOString();
  const [year, month, day] = text.slice(0, 10).split("-");
  return [`${month}/${day}/${year?.slice(2)}`, text.slice(11, 19)];
}

/** A line of dashes stands before each event. */
function separators(output: Buffer): number {
  let count = 0;
  for (let at = output.indexOf("----\n"); at >= 0; at = output.indexOf("----\n", at + 5)) {
    if (at === 0 || output[at - 1] === 10) count += 1;
  }
  return count;
}
