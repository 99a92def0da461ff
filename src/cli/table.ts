/**
 * `table compact|retain|vacuum|hold`: keeps the table in order at once, whatever the schedule says. Each is recorded, and
 * the roll-up tells the record as an `audit/admin` event.
 *
 * Invariant: with `--dry-run` nothing is written.
 */
import { isRegistryName, REGISTRY_NAME_LENGTH_MAX } from "../storage/registry.ts";
import { type Command, defineCommand } from "./command.ts";
import { EXIT, usageError } from "./exit.ts";
import { keepRulesOf } from "./keep-rules.ts";
import { flag, text, time } from "./option-type.ts";
import { MAINTENANCE_OPTIONS, option, optional, repeated, STORE_OPTIONS } from "./options.ts";
import { operatorName, withTable } from "./table-bucket.ts";
import { printHolds, printRows } from "./table-text.ts";

const DRY_RUN = {
  dryRun: option("dry_run", flag, {
    reach: "flag",
    default: "false",
    text: "only say what would be done",
  }),
} as const;

const compactCommand = defineCommand({
  name: "table compact",
  summary: "make large, sorted files of small ones, with proof that the rows are the same",
  examples: [["probity table compact --dry-run", "which files would become one"]],
  options: { own: DRY_RUN, store: STORE_OPTIONS },
  run: ({ settings: { own, store }, global, log, output, signal }) =>
    withTable({ settings: store, global, log, isWriting: !own.dryRun }, async (context) => {
      if (own.dryRun) {
        const { findCompactions } = await import("../pipeline/maintenance/compaction.ts");
        const groups = await findCompactions(context, { signal });
        const sum = (numbers: readonly number[]) => numbers.reduce((all, each) => all + each, 0);
        await printRows(
          groups.map(({ eventDate, files }) => ({
            date: eventDate,
            files: files.length,
            rows: sum(files.map(({ rows }) => rows)),
            bytes: sum(files.map(({ sizeBytes }) => sizeBytes)),
          })),
          { columns: ["date", "files", "rows", "bytes"], output },
        );
        return EXIT.ok;
      }
      const { compactAsAsked } = await import("../pipeline/maintenance/deeds.ts");
      const done = await compactAsAsked(context, { by: operatorName(), signal });
      await output.json(done);
      return done.damaged.length > 0 ? EXIT.evidenceBroken : EXIT.ok;
    }),
});

const retainCommand = defineCommand({
  name: "table retain",
  summary: "remove rows past the time that [maintenance] keep gives them",
  examples: [["probity table retain --config probity.toml --dry-run", "which rows would go"]],
  options: { own: DRY_RUN, store: STORE_OPTIONS },
  run: ({ settings: { own, store }, structures, global, log, output, signal }) => {
    const rules = keepRulesOf(structures.keep);
    if (rules.length === 0) {
      throw usageError(
        'Cannot remove rows: no --config FILE with [maintenance] keep = {"**" = "400d"} or the like',
      );
    }
    return withTable({ settings: store, global, log, isWriting: !own.dryRun }, async (context) => {
      if (own.dryRun) {
        const { findExpired } = await import("../pipeline/maintenance/retention.ts");
        await printRows(
          (await findExpired(context, { rules, signal })).map((each) => ({
            path: each.file.path,
            rows: each.rows,
            of: each.file.rows,
            rules: each.patterns.join(" "),
            held: each.isHeld,
          })),
          { columns: ["path", "rows", "of", "rules", "held"], output },
        );
        return EXIT.ok;
      }
      const { retainAsAsked } = await import("../pipeline/maintenance/deeds.ts");
      const { settled: _, ...done } = await retainAsAsked(context, {
        by: operatorName(),
        rules,
        signal,
      });
      await output.json(done);
      return done.damaged.length > 0 ? EXIT.evidenceBroken : EXIT.ok;
    });
  },
});

const vacuumCommand = defineCommand({
  name: "table vacuum",
  summary: "delete objects that the table has not needed for the grace",
  examples: [["probity table vacuum --dry-run", "what would be deleted"]],
  options: {
    own: DRY_RUN,
    store: STORE_OPTIONS,
    maintenance: { grace: MAINTENANCE_OPTIONS.graceMs },
  },
  run: ({ settings: { own, store, maintenance }, global, log, output, signal }) =>
    withTable({ settings: store, global, log, isWriting: !own.dryRun }, async (context) => {
      const { findGarbage } = await import("../pipeline/maintenance/vacuum.ts");
      const graceMs = maintenance.grace;
      if (own.dryRun) {
        await printRows(
          (await findGarbage(context, { graceMs, signal })).map((each) => ({
            kind: each.kind,
            bytes: each.sizeBytes,
            key: each.key,
          })),
          { columns: ["kind", "bytes", "key"], output },
        );
        return EXIT.ok;
      }
      const { vacuumAsAsked } = await import("../pipeline/maintenance/deeds.ts");
      await output.json(await vacuumAsAsked(context, { by: operatorName(), graceMs, signal }));
      return EXIT.ok;
    }),
});

const holdCommand = defineCommand({
  name: "table hold",
  summary: "keep rows as they are, whatever their age: list holds, set one, or release it",
  arguments: [{ name: "name", text: "of the hold; without it all are listed", isRequired: false }],
  examples: [
    ["probity table hold", "all holds"],
    [
      "probity table hold case-7 --reason 'court order' --host 'web-*' --from 2026-03-01",
      "a new one",
    ],
    ["probity table hold case-7 --release", "no more"],
  ],
  options: {
    own: {
      ...DRY_RUN,
      reason: optional("reason", text, { reach: "flag", text: "why; sets a new hold" }),
      hosts: repeated("host", text, { text: "host, or with * at the end all that begin so" }),
      fromMs: optional("from", time, { reach: "flag", text: "events from this time on" }),
      toMs: optional("to", time, { reach: "flag", text: "events before this time" }),
      release: option("release", flag, {
        reach: "flag",
        default: "false",
        text: "release the hold",
      }),
    },
    store: STORE_OPTIONS,
  },
  run: ({ arguments: [name], settings: { own, store }, global, log, output }) => {
    const { reason, hosts, fromMs, toMs } = own;
    if (name !== undefined && !isRegistryName(name)) {
      throw usageError(
        `Cannot use "${name}" as a name: accepted: 1 to ${REGISTRY_NAME_LENGTH_MAX} of letters, ` +
          `digits, ".", "_" and "-"`,
      );
    }
    if (name === undefined && (reason !== undefined || own.release)) {
      throw usageError("Cannot set or release a hold without its name");
    }
    if (own.release && reason !== undefined) {
      throw usageError("Cannot set and release a hold at once");
    }
    if (fromMs !== undefined && toMs !== undefined && fromMs >= toMs) {
      throw usageError("Cannot hold: --from is not before --to");
    }
    const isWriting = !own.dryRun && (reason !== undefined || own.release);
    return withTable({ settings: store, global, log, isWriting }, async (context) => {
      const { isFileHeld, releaseHold, setHold } = await import("../storage/hold.ts");
      const deed = { by: operatorName(), name: name ?? "" };
      if (reason !== undefined) {
        const hold = { reason, hosts, fromMs, toMs };
        if (!own.dryRun && !await setHold(context, { ...deed, hold })) {
          throw new Error(`Cannot set hold "${name}": one of that name stands`);
        }
        const { files } = await context.table.refresh();
        const held = [...files.values()].filter((file) => isFileHeld(file, [hold]));
        await output.json({
          name,
          files: held.length,
          rows: held.reduce((sum, { rows }) => sum + rows, 0),
        });
        return EXIT.ok;
      }
      if (own.release) {
        if (own.dryRun) {
          const standing = await context.holds.get(deed.name);
          await output.json({ name, stands: standing !== undefined });
        } else if (!await releaseHold(context, deed)) {
          throw new Error(`Cannot release hold "${name}": there is none`);
        }
        return EXIT.ok;
      }
      const all = await context.holds.list();
      await printHolds(all.filter((each) => name === undefined || each.name === name), output);
      return EXIT.ok;
    });
  },
});

export const TABLE_CHANGE_COMMANDS: readonly Command[] = [
  compactCommand,
  retainCommand,
  vacuumCommand,
  holdCommand,
];
