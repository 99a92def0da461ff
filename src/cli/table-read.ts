/** `table status|history|files`: what the table in the bucket is made of. Reads the log of the table, and no data file. */
import { dataFileKey, LAST_CHECKPOINT_KEY } from "../storage/layout.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { DataFile } from "../storage/table.ts";
import { type Command, defineCommand } from "./command.ts";
import { EXIT } from "./exit.ts";
import { flag, integerBetween, time } from "./option-type.ts";
import { option, optional, STORE_OPTIONS } from "./options.ts";
import { withTable } from "./table-bucket.ts";
import { printRows, timeText } from "./table-text.ts";

const statusCommand = defineCommand({
  name: "table status",
  summary: "version, files, rows and sizes of the table, and how far each shard is",
  options: { store: STORE_OPTIONS },
  run: ({ settings: { store }, global, log, output }) =>
    withTable({ settings: store, global, log }, async (context) => {
      const { pointedVersion } = await import("../storage/delta-checkpoint-write.ts");
      const { COMPACTION_SIZES } = await import("../pipeline/maintenance/plan-compaction.ts");
      const { summarizeTable } = await import("../storage/table-summary.ts");
      const snapshot = context.table.current();
      const pointer = await context.store.get(LAST_CHECKPOINT_KEY);
      const small = [...snapshot.files.values()].filter(({ sizeBytes }) =>
        sizeBytes < COMPACTION_SIZES.smallFileBytes
      );
      const { version, shards, ...summary } = summarizeTable(snapshot);
      const status = {
        url: context.store.url,
        version,
        checkpoint: pointer === undefined ? undefined : pointedVersion(pointer.body),
        small_files: small.length,
        ...summary,
        removed_files: context.table.removed().size,
        holds: (await context.holds.list()).length,
        shards,
      };
      if (!output.isForPeople) {
        await output.json(status);
        return EXIT.ok;
      }
      const { shards: positions, ...figures } = status;
      for (const [name, value] of Object.entries(figures)) {
        if (value === undefined) continue;
        await output.write(
          `${output.paint("dim", name.replaceAll("_", " ").padEnd(13))}  ${value}\n`,
        );
      }
      await output.write("\n");
      await printRows(positions, {
        columns: ["shard", "incarnation", "sequence", "version"],
        output,
      });
      return EXIT.ok;
    }),
});

const historyCommand = defineCommand({
  name: "table history",
  summary: "what each of the last versions of the table did, newest first",
  options: {
    own: {
      limit: option("limit", integerBetween(1, 1_000_000), {
        reach: "flag",
        default: "20",
        text: "at most so many versions",
      }),
    },
    store: STORE_OPTIONS,
  },
  run: ({ settings: { own, store }, global, log, output, signal }) =>
    withTable({ settings: store, global, log }, async (context) => {
      const { readHistory } = await import("../storage/delta-history.ts");
      const upTo = context.table.current().version;
      const versions = await readHistory(context.store, { upTo, count: own.limit, signal });
      await printRows(
        versions.map((each) => ({
          version: each.version,
          time: timeText(each.timeMs),
          operation: each.operation,
          shard: each.shard,
          files_added: each.filesAdded,
          files_removed: each.filesRemoved,
          rows_added: each.rowsAdded,
          bytes_added: each.bytesAdded,
          ...(each.changesSchema ? { schema: "changed" } : {}),
        })),
        {
          columns: [
            ...["version", "time", "operation", "shard", "files_added", "files_removed"],
            ...["rows_added", "bytes_added"],
          ],
          output,
        },
      );
      return EXIT.ok;
    }),
});

const filesCommand = defineCommand({
  name: "table files",
  summary: "the data files of the table's newest version",
  examples: [
    ["probity table files", "with rows, sizes and times"],
    ["probity table files --addresses --from 2026-03-01", "only where they are, one a line"],
  ],
  options: {
    own: {
      addresses: option("addresses", flag, {
        reach: "flag",
        default: "false",
        text: "print paths or s3:// addresses alone, one a line",
      }),
      fromMs: optional("from", time, {
        reach: "flag",
        text: "only files with events of this time or later",
      }),
      toMs: optional("to", time, {
        reach: "flag",
        text: "only files with events before this time",
      }),
    },
    store: STORE_OPTIONS,
  },
  run: ({ settings: { own, store }, global, log, output }) =>
    withTable({ settings: store, global, log }, async (context) => {
      const { fromMs = -Infinity, toMs = Infinity } = own;
      const files = [...context.table.current().files.values()].filter((file) =>
        boundOf(file.maximum, Infinity) >= fromMs && boundOf(file.minimum, -Infinity) < toMs
      ).toSorted((a, b) => a.path < b.path ? -1 : 1);
      if (own.addresses) {
        for (const file of files) await output.write(`${addressOf(context.store, file)}\n`);
        return EXIT.ok;
      }
      await printRows(
        files.map((file) => ({
          path: file.path,
          rows: file.rows,
          bytes: file.sizeBytes,
          from: String(file.minimum["time"] ?? ""),
          to: String(file.maximum["time"] ?? ""),
          ...(output.isForPeople ? {} : {
            date: file.eventDate,
            sha256: file.sha256,
            address: addressOf(context.store, file),
          }),
        })),
        { columns: ["path", "rows", "bytes", "from", "to"], output },
      );
      return EXIT.ok;
    }),
});

export const TABLE_READ_COMMANDS: readonly Command[] = [
  statusCommand,
  historyCommand,
  filesCommand,
];

/** A path where the bucket is a folder, else the address that S3 clients take. */
function addressOf(store: ObjectStore, { path }: DataFile): string {
  const key = dataFileKey(path);
  return store.localPath(key) ?? `${store.url.replace(/\/$/, "")}/${key}`;
}

function boundOf(bounds: DataFile["minimum"], unknown: number): number {
  const bound = bounds["time"];
  const ms = typeof bound === "string" ? Date.parse(bound) : NaN;
  return Number.isNaN(ms) ? unknown : ms;
}
