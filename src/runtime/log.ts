/**
 * Log lines of a process: logfmt on standard error, one line each. Data never goes here, secrets neither.
 */

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = typeof LOG_LEVELS[number];
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A log whose lines carry further fields. */
  with(fields: LogFields): Log;
}

export interface LogOptions {
  /** Lines below this level are left out. */
  readonly level: LogLevel;
  readonly fields?: LogFields;
  readonly write?: (line: string) => void;
}

const ORDER: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export function createLog(options: LogOptions): Log {
  const { level, fields = {}, write = (line: string) => process.stderr.write(line) } = options;
  const emit = (at: LogLevel) => (message: string, more: LogFields = {}): void => {
    if (ORDER[at] < ORDER[level]) return;
    const all = { time: new Date().toISOString(), level: at, message, ...fields, ...more };
    write(`${Object.entries(all).flatMap(formatField).join(" ")}\n`);
  };
  return {
    debug: emit("debug"),
    info: emit("info"),
    warn: emit("warn"),
    error: emit("error"),
    with: (more) => createLog({ level, fields: { ...fields, ...more }, write }),
  };
}

/** Counts the lines of a log, those below its level too. */
export function countLines(log: Log): {
  readonly log: Log;
  readonly counts: Readonly<Record<LogLevel, number>>;
} {
  const counts = { debug: 0, info: 0, warn: 0, error: 0 };
  const counted = (inner: Log): Log => {
    const emit = (at: LogLevel) => (message: string, fields?: LogFields): void => {
      counts[at] += 1;
      inner[at](message, fields);
    };
    return {
      debug: emit("debug"),
      info: emit("info"),
      warn: emit("warn"),
      error: emit("error"),
      with: (more) => counted(inner.with(more)),
    };
  };
  return { log: counted(log), counts };
}

function formatField([name, value]: [string, unknown]): string[] {
  if (value === undefined) return [];
  const text = String(value);
  return [`${name}=${/^[^\s"=\\]+$/.test(text) ? text : JSON.stringify(text)}`];
}
