/** All commands, in the order of help. */
import type { Command } from "./command.ts";
import { createCompletionCommand } from "./completion.ts";
import { configCheckCommand } from "./config-check.ts";

export const COMMANDS: readonly Command[] = [
  configCheckCommand,
  createCompletionCommand(() => COMMANDS),
];
