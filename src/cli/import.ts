/**
 * `import`: takes what other programs recorded into the log: CBOR sequences of crypto-auditing.
 *
 * Invariant: it succeeds only when the broker has all of it; what waits in the spool is sent by the next import.
 */
import { createReadStream, readFileSync } from "node:fs";
import { hostname } from "node:os";
import process from "node:process";
import { serviceOf } from "../event/crypto/group-events.ts";
import type { Producer } from "../producer/producer.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { CborFault } from "../event/crypto/cbor-items.ts";
import { defineCommand } from "./command.ts";
import { CommandError, EXIT, type ExitCode } from "./exit.ts";
import { createImportDeed, type ImportDeed } from "./import-deed.ts";
import { openImportLedger } from "./import-ledger.ts";
import { importSequence, type ImportSummary, OtherFile } from "./import-sequence.ts";
import { natsAccessOf } from "./nats-access.ts";
import { choiceOf, duration, integerBetween } from "./option-type.ts";
import { AGENT_OPTIONS, NATS_OPTIONS, option, optional } from "./options.ts";
import type { Output } from "./output.ts";
import { dataFolderAt } from "./up/data-folder.ts";

const IMPORT_OPTIONS = {
  format: option("format", choiceOf(["cborseq"]), {
    reach: "flag",
    default: "cborseq",
    text: "cborseq: a log of crypto-auditing, in any of its encodings",
  }),
  bootTime: optional("boot-time", integerBetween(0, 2 ** 40), {
    reach: "flag",
    text:
      "when its host was booted, in seconds since 1970; default: what the file says, else now's",
  }),
  waitMs: option("wait", duration, {
    reach: "flag",
    default: "60s",
    text: "how long to wait for the broker to take it",
  }),
} as const;

/** The spool keeps as much again before anything goes: files wait for the archive when so much is in it. */
const SPOOL_BYTES = 512 * 1024 * 1024;
const STEP_MS = 50;

export const importCommand = defineCommand({
  name: "import",
  summary: "take a log of another program into the record",
  examples: [
    ["probity import /var/log/crypto-auditing/audit.cborseq", "what crypto-auditing recorded"],
    ["ssh db-1 cat audit.cborseq | probity import - --agent-host db-1", "of another host"],
  ],
  arguments: [{
    name: "file",
    text: "the file, or - for standard input",
    isRequired: true,
    isFile: true,
  }],
  options: {
    own: IMPORT_OPTIONS,
    nats: NATS_OPTIONS,
    agent: { host: AGENT_OPTIONS.host, shard: AGENT_OPTIONS.shard },
  },
  run: async ({ arguments: [path = "-"], settings, global, output, log, signal }) => {
    const folder = dataFolderAt(global.data);
    const { openProducer } = await import("../producer/open-producer.ts");
    const times = createBatchClock();
    await using producer = await openProducer({
      directory: folder.spool("import"),
      host: settings.agent.host ?? hostname(),
      shard: settings.agent.shard,
      nats: natsAccessOf(settings.nats, { folder, role: "import" }),
      spoolBytesMax: 2 * SPOOL_BYTES,
      clock: times.clock,
      log,
    });
    const ledger = openImportLedger(folder.imports, producer.positions);
    const { bootTime, waitMs } = settings.own;
    const { operatorName } = await import("./table-bucket.ts");
    const deed = createImportDeed({
      producer,
      nowUs: systemClock.nowUs,
      onNow: () => times.set(undefined),
      by: operatorName(),
      path,
    });
    const summary = await told(
      { path, deed },
      () =>
        importSequence(path === "-" ? process.stdin : createReadStream(path), {
          producer,
          ledger,
          bootSeconds: () => bootTime ?? bootSecondsHere(),
          onTime: times.set,
          onBegin: (id) => deed.begin(serviceOf(id)),
          room: () =>
            waitWhile(() => producer.counters().spoolBytes > SPOOL_BYTES, { log, signal }),
          signal,
        }),
    );
    const isTaken = await published(producer, { waitMs, signal });
    return await tell(summary, { path, isTaken, bootTime, output });
  },
});

/** The batches of an import are of the time of its events: what is long ago would be taken for a clock that is wrong. */
function createBatchClock(): { readonly clock: Clock; set(timeUs: number | undefined): void } {
  let nowUs: number | undefined;
  return {
    clock: { ...systemClock, nowUs: () => nowUs ?? systemClock.nowUs() },
    set: (timeUs) => void (nowUs = timeUs),
  };
}

function bootSecondsHere(): number {
  const [, seconds] = /^btime (\d+)$/m.exec(readFileSync("/proc/stat", "utf8")) ?? [];
  return Number(seconds ?? 0);
}

async function told(
  { path, deed }: { readonly path: string; readonly deed: ImportDeed },
  run: () => Promise<ImportSummary>,
): Promise<ImportSummary> {
  try {
    const summary = await run();
    const { events, groups, known } = summary;
    await deed.end({ rows: events, groups, known });
    return summary;
  } catch (cause) {
    await deed.end({ error: cause instanceof Error ? cause.message : String(cause) });
    const isOurs = cause instanceof CborFault || cause instanceof OtherFile ||
      (cause instanceof Error && "code" in cause);
    if (!isOurs) throw cause;
    throw new CommandError(EXIT.failed, `Cannot import "${path}": ${cause.message}`, { cause });
  }
}

async function waitWhile(
  isFull: () => boolean,
  { log, signal }: { readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  if (!isFull()) return;
  log.info("waiting for the archive to take what was imported");
  while (isFull()) await systemClock.sleep(STEP_MS, signal);
}

async function published(
  producer: Pick<Producer, "unpublished">,
  { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  const endMs = systemClock.elapsedMs() + waitMs;
  while (producer.unpublished() > 0 && systemClock.elapsedMs() < endMs) {
    await systemClock.sleep(STEP_MS, signal);
  }
  return producer.unpublished() === 0;
}

async function tell(
  summary: ImportSummary,
  { path, isTaken, bootTime, output }: {
    readonly path: string;
    readonly isTaken: boolean;
    readonly bootTime: number | undefined;
    readonly output: Output;
  },
): Promise<ExitCode> {
  const { id, groups, events, known, unusual, leftBytes, hasBootTime } = summary;
  const service = id === undefined ? undefined : serviceOf(id);
  if (output.isForPeople) {
    const name = service === undefined ? "" : `: service ${service}`;
    await output.write(`Imported ${events} events of ${groups - known} groups${name}\n`);
  } else {
    await output.json({
      command: "import",
      path,
      service,
      groups,
      events,
      known,
      unusual,
      leftBytes,
    });
  }
  if (known > 0) output.notice(`${known} groups were imported before, and are not taken again`);
  if (leftBytes > 0) output.notice(`the last ${leftBytes} bytes are no whole group, and were left`);
  if (unusual > 0) {
    output.notice(
      `${unusual} groups have their members in another order: an export gives the usual`,
    );
  }
  if (!hasBootTime && bootTime === undefined && events > 0) {
    output.notice("the file does not say when its host was booted: this host's boot was taken");
  }
  if (isTaken) return EXIT.ok;
  output.notice("incomplete: the broker has not taken all of it; the next import sends the rest");
  return EXIT.incomplete;
}
