/** All commands, in the order of help. */
import { agentCommand } from "./agent.ts";
import type { Command } from "./command.ts";
import { CONTEXT_COMMANDS } from "./context.ts";
import { createCompletionCommand } from "./completion.ts";
import { configCheckCommand } from "./config-check.ts";
import { doctorCommand } from "./doctor.ts";
import { exportCommand } from "./export.ts";
import { hostCommand } from "./host.ts";
import { importCommand } from "./import.ts";
import { reportCommand } from "./report.ts";
import { rollupAdoptCommand } from "./rollup-adopt.ts";
import { rollupReplayCommand } from "./rollup-replay.ts";
import { rollupStatusCommand } from "./rollup-status.ts";
import { rollupCommand } from "./rollup.ts";
import { searchCommand } from "./search.ts";
import { serveCommand } from "./serve.ts";
import { SINK_COMMANDS } from "./sink.ts";
import { sqlCommand } from "./sql.ts";
import { SUBSCRIPTION_COMMANDS } from "./subscription.ts";
import { TABLE_CHANGE_COMMANDS } from "./table.ts";
import { TABLE_READ_COMMANDS } from "./table-read.ts";
import { tailCommand } from "./tail.ts";
import { TOKEN_COMMANDS } from "./token.ts";
import { treeCommand } from "./tree.ts";
import { upCommand } from "./up.ts";

export const COMMANDS: readonly Command[] = [
  upCommand,
  agentCommand,
  rollupCommand,
  rollupStatusCommand,
  rollupReplayCommand,
  rollupAdoptCommand,
  serveCommand,
  tailCommand,
  searchCommand,
  treeCommand,
  hostCommand,
  reportCommand,
  exportCommand,
  importCommand,
  sqlCommand,
  ...SUBSCRIPTION_COMMANDS,
  ...SINK_COMMANDS,
  ...TOKEN_COMMANDS,
  ...CONTEXT_COMMANDS,
  ...TABLE_READ_COMMANDS,
  ...TABLE_CHANGE_COMMANDS,
  doctorCommand,
  configCheckCommand,
  createCompletionCommand(() => COMMANDS),
];
