/**
 * `tree`: a process below its ancestors and above its descendants, as text on a terminal and one process a line
 * otherwise.
 *
 * Invariant: an answer that the service calls incomplete, or that is cut, ends in exit 5, whatever was printed.
 */
import { exactly } from "../client/record.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { text } from "./option-type.ts";
import { optional } from "./options.ts";
import { formatTree } from "./tree-text.ts";

const RANGE_OPTIONS = {
  from: optional("from", text, {
    reach: "flag",
    text: "begin, inclusive: RFC 3339, 15m, now-2h, today, yesterday; default: 24 h before --to",
  }),
  to: optional("to", text, { reach: "flag", text: "end, exclusive; default: now" }),
  host: optional("host", text, {
    reach: "flag",
    text: "only what this host tells; needed when several tell of the same process",
  }),
} as const;

export const treeCommand = defineCommand({
  name: "tree",
  summary: "a process with its ancestors and descendants, and what it did",
  examples: [
    ["probity tree 8975aece-8084-5727563", "a process of the last 24 hours, by its process_id"],
    ["probity tree 8975aece-8084-5727563 --from 7d --json", "of the last week, a process a line"],
  ],
  arguments: [{ name: "process_id", text: "the process, as events name it", isRequired: true }],
  options: { range: RANGE_OPTIONS },
  run: ({ arguments: [id = ""], global, settings, output, signal }) =>
    withClient(global, async (client) => {
      const { from, to, host } = settings.range;
      const tree = await client.process(id, {
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        ...(host === undefined ? {} : { host: exactly(host) }),
      }, { signal });
      const { process, ancestors, descendants } = tree;
      if (output.isForPeople) await output.write(formatTree(tree, output));
      else {
        for (const each of ancestors.toReversed()) {
          await output.json({ role: "ancestor", host: tree.host, ...each });
        }
        await output.json({ role: "process", host: tree.host, ...process });
        for (const each of descendants.processes) {
          await output.json({ role: "descendant", host: tree.host, ...each });
        }
      }
      if (descendants.cut) {
        const shown = descendants.processes.length;
        output.notice(`incomplete: ${shown} of ${descendants.total} descendants are shown`);
      }
      if (tree.ancestors_cut) output.notice("incomplete: there are further ancestors");
      if (!tree.isComplete) {
        output.notice(
          `incomplete: ${tree.missing ?? "a part of this range cannot be searched yet"}`,
        );
      }
      const isWhole = tree.isComplete && !descendants.cut && !tree.ancestors_cut;
      return isWhole ? EXIT.ok : EXIT.incomplete;
    }),
});
