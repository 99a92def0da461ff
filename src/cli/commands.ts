/** All commands, in the order of help. */
import type { Command } from "./command.ts";
import { createCompletionCommand } from "./completion.ts";
import { configCheckCommand } from "./config-check.ts";
import { doctorCommand } from "./doctor.ts";
import { searchCommand } from "./search.ts";
import { sqlCommand } from "./sql.ts";
import { tailCommand } from "./tail.ts";

export const COMMANDS: readonly Command[] = [
  tailCommand,
  searchCommand,
  sqlCommand,
  doctorCommand,
  configCheckCommand,
  createCompletionCommand(() => COMMANDS),
];
