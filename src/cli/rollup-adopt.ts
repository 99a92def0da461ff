/**
 * `rollup adopt`: makes what a sender that is gone has left part of the record. Ends in 5 where some of it is to be tried
 * again, or does not fit.
 */
import { connectNats } from "../runtime/nats.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import { isAgentName } from "../event/wire.ts";
import { defineCommand } from "./command.ts";
import { CommandError, EXIT, usageError } from "./exit.ts";
import { natsAccessOf } from "./nats-access.ts";
import { flag } from "./option-type.ts";
import { NATS_OPTIONS, option, STORE_OPTIONS } from "./options.ts";
import { operatorName, withTable } from "./table-bucket.ts";
import { printRows } from "./table-text.ts";
import { dataFolderAt } from "./up/data-folder.ts";

/** How long to wait for the broker, in milliseconds. */
const CONNECT_LIMIT_MS = 10_000;
const COLUMNS = [
  ...["shard", "agent", "epoch", "accepted", "highest", "lastAt"],
  ...["outcome", "voids", "kept", "published", "ended"],
] as const;

export const rollupAdoptCommand = defineCommand({
  name: "rollup adopt",
  summary: "take into the record what senders that are gone have left behind a missing batch",
  examples: [
    ["probity rollup adopt --dry-run", "what waits for a batch that never came"],
    ["probity rollup adopt 5f0c2e7f9a3b1d48", "the sender is gone: what it left, at once"],
  ],
  arguments: [{
    name: "agent",
    text: "that is gone for good; without it, those that sent nothing of it for 24 h",
    isRequired: false,
  }],
  options: {
    own: {
      dryRun: option("dry_run", flag, {
        reach: "flag",
        default: "false",
        text: "only say what would be done",
      }),
    },
    nats: NATS_OPTIONS,
    store: STORE_OPTIONS,
  },
  run: ({ arguments: [agent], settings, global, log, output, signal }) => {
    const { own: { dryRun: isDryRun }, nats, store } = settings;
    if (agent !== undefined && !isAgentName(agent)) {
      throw usageError(`Cannot adopt from ${JSON.stringify(agent)}: it is no agent's name`);
    }
    const access = natsAccessOf(nats, { folder: dataFolderAt(global.data), role: "rollup" });
    return withTable({ settings: store, global, log }, async (context) => {
      const { adoptAll } = await import("../pipeline/adopt-all.ts");
      const connect = () =>
        connectNats({
          ...access,
          name: "probity rollup adopt",
          log,
          signal: AbortSignal.any([signal, timeLimit(CONNECT_LIMIT_MS)]),
        }).catch((cause: unknown) => {
          const message = `Cannot reach the broker at ${access.url}`;
          throw new CommandError(EXIT.unreachable, message, { cause });
        });
      const by = operatorName();
      const { epochs } = await adoptAll(context, { by, agent, isDryRun, connect, signal });
      if (epochs.length === 0) output.notice("nothing waits for a batch that is missing");
      await printRows(epochs.map((each) => ({ ...each })), { columns: COLUMNS, output });
      const isLeft = epochs.some(({ outcome, ended }) =>
        outcome === "unsettled" || outcome === "stuck" || ended !== undefined
      );
      return isLeft ? EXIT.incomplete : EXIT.ok;
    });
  },
});
