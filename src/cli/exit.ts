/** Exit codes of the command line, and the errors that choose one. A message goes to standard error as it is. */

export const EXIT = {
  ok: 0,
  /** Something went wrong while doing what was asked. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** A server cannot be reached, or refuses. */
  unreachable: 3,
  /** Evidence does not match what was signed. */
  evidenceBroken: 4,
  /** The answer is right as far as it goes, but a part is missing. */
  incomplete: 5,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An error that names its exit code; `main.ts` prints its message without a stack. */
export class CommandError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options: ErrorOptions = {}) {
    super(message, options);
    this.name = "CommandError";
    this.exitCode = exitCode;
  }
}

/** Wrong usage or configuration: exit 2. */
export function usageError(message: string, options: ErrorOptions = {}): CommandError {
  return new CommandError(EXIT.usage, message, options);
}
