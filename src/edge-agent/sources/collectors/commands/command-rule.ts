/** A command of `[[collectors]]`, with every setting. */
export interface CommandRule {
  /** {@link COLLECTOR_NAME}. */
  readonly name: string;
  /** The program, found in {@link COMMAND_PATH} unless it has a slash, and its arguments. */
  readonly command: readonly string[];
  /** Five cron fields. */
  readonly schedule: string;
  /** IANA's name; the host's own when undefined. */
  readonly timezone: string | undefined;
  readonly timeoutMs: number;
  /** Topic of its events, and of topics that they name themselves: those are below it. */
  readonly topic: string;
  /** Who it runs as; undefined: the agent's account. Another one takes an agent that runs as root. */
  readonly user: string | undefined;
  /** Of each of its processes (RLIMIT_DATA). */
  readonly memoryBytes: number;
  /** Of its standard output in one run. */
  readonly outputBytes: number;
  /** All that is in its environment, beside {@link COMMAND_PATH}, `LANG`, `HOME` and what names the run. */
  readonly environment: Readonly<Record<string, string>>;
}

export const COLLECTOR_NAME = /^[a-z0-9][a-z0-9_.-]{0,63}$/;
export const COMMAND_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
export const COMMANDS_MAX = 100;
export const TIMEOUT_MS = 30_000;
export const MEMORY_BYTES = 256 * 1024 * 1024;
export const OUTPUT_BYTES = 1024 * 1024;
/** Least and most of what a rule may say. */
export const TIMEOUT_MS_MAX = 24 * 3_600_000;
export const MEMORY_BYTES_MIN = 4 * 1024 * 1024;
export const OUTPUT_BYTES_MAX = 1024 * 1024 * 1024;
