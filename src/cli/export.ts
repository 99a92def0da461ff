/**
 * `export`: all events of a range of time for other programs, the oldest first.
 *
 * Invariant: an answer that the service calls incomplete ends in exit 5, whatever was printed.
 */
import { COLUMN_OPTIONS, conditionsOf } from "./column-options.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT, usageError } from "./exit.ts";
import { createFormat, formatConditions, FORMATS } from "./event-format.ts";
import { CBOR_VARIANTS } from "../event/crypto/group.ts";
import { sequenceConditions, writeSequence } from "./export-sequence.ts";
import { choiceOf, text } from "./option-type.ts";
import { option, optional } from "./options.ts";

const EXPORT_OPTIONS = {
  from: optional("from", text, {
    reach: "flag",
    text: "begin, inclusive: RFC 3339, 15m, now-2h, today, yesterday; default: 24 h before --to",
  }),
  to: optional("to", text, { reach: "flag", text: "end, exclusive; default: now" }),
  format: option("format", choiceOf([...FORMATS, "cborseq"]), {
    reach: "flag",
    default: "ndjson",
    text: "ndjson; bpfink: changes of watched files as the lines that bpfink writes; " +
      "cborseq: uses of cryptography as crypto-auditing's log",
  }),
  variant: option("variant", choiceOf(CBOR_VARIANTS), {
    reach: "flag",
    default: "normal",
    text: "encoding of cborseq: normal, packed or minimal",
  }),
} as const;

export const exportCommand = defineCommand({
  name: "export",
  summary: "all events of a range for other programs; every column is a flag",
  examples: [
    ["probity export --from yesterday --to today > day.ndjson", "a day's events"],
    [
      "probity export --format bpfink --from 30d",
      "changes of files, for what reads bpfink's lines",
    ],
    [
      "probity export --format cborseq --host db-1 > audit.cborseq",
      "uses of cryptography, for crypto-auditing's programs",
    ],
  ],
  options: { range: EXPORT_OPTIONS, columns: COLUMN_OPTIONS },
  run: ({ global, settings, output, signal }) =>
    withClient(global, async (client) => {
      const { from, to, format, variant } = settings.range;
      const conditions = conditionsOf(settings.columns);
      if (format === "cborseq" && output.isForPeople) {
        throw usageError("Cannot write a sequence of CBOR to a terminal: send it to a file");
      }
      const { events, isComplete, missing } = await client.stream({
        ...(format === "cborseq"
          ? sequenceConditions(conditions)
          : formatConditions(conditions, format)),
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        order: "asc",
      }, { signal });
      if (format === "cborseq") {
        await writeSequence(events, { variant, conditions, output });
      } else {
        const lineOf = await createFormat(format);
        for await (const event of events) {
          const line = lineOf(event);
          if (line !== undefined) await output.json(line);
        }
      }
      if (isComplete) return EXIT.ok;
      output.notice(`incomplete: ${missing ?? "a part of this range cannot be searched yet"}`);
      return EXIT.incomplete;
    }),
});
