/**
 * The whole pipeline as real processes under one sequence of disasters: agents, broker, roll-up workers and an S3
 * gateway are killed again and again (SIGKILL); once each, the broker's storage is deleted, the gateway answers 503 for
 * a while, an agent's disk is full for a while, and its clock jumps back, forth and home. A generator makes numbered
 * events in the kernel all the while, and each agent records each of them; compaction, retention and vacuum go on with
 * days of a few seconds. Afterwards the table is read, by its log and Parquet files alone.
 *
 * The order of disasters comes from a seed; when exactly each hits a process is up to the machine.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  BUCKET_URL,
  type ChaosParts,
  disastersOf,
  FLEETING_TOPIC,
  type Killer,
  killersOf,
  openChaosParts,
} from "./chaos-parts.ts";
import {
  type ChaosTable,
  type LogFigures,
  MissingFileError,
  openChaosTable,
  type RowFigures,
  type RowOptions,
} from "./chaos-table.ts";
import { openStoreAt } from "./real-stores.ts";
import { createSeededRandom, type SeededRandom } from "./seeded-random.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export interface ChaosOptions {
  /** How long disasters go on. */
  readonly seconds: number;
  readonly seed: number;
  /** Numbered events a second. */
  readonly perSecond: number;
  /** Least and greatest time between two kills, in milliseconds; 1 to 3 s by default. */
  readonly killEveryMs?: readonly [number, number];
  /** How long a day is to maintenance, in milliseconds; 5 s by default. */
  readonly dayMs?: number;
  /** Time between two rounds of a roll-up, in milliseconds; 1 s by default. */
  readonly intervalMs?: number;
  /** Folder for what the processes say; nowhere by default. */
  readonly logs?: string | undefined;
  /** Told of every disaster. */
  readonly onDisaster?: (text: string) => void;
}

export interface ChaosReport extends LogFigures, RowFigures {
  readonly seed: number;
  readonly seconds: number;
  /** Numbered events that were made, times the agents that recorded them. */
  readonly events: number;
  readonly kills: Readonly<Record<string, number>>;
  readonly disasters: readonly string[];
  /** Last words of processes that ended by themselves. */
  readonly failures: readonly string[];
  readonly settledMs: number;
}

const GENERATOR = resolve(import.meta.dirname, "open-numbered-files.ts");
/** Once nothing is broken any more, the table has everything, or stands still for so long. */
const STANDSTILL_MS = 120_000;
const LOOK_EVERY_MS = 2_000;
const DAY_MS = 5_000;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seconds, seed, perSecond, onDisaster, logs } = options;
  const { killEveryMs = [1_000, 3_000], dayMs = DAY_MS, intervalMs = 1_000 } = options;
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await openTemporaryFolder("chaos"));
  const parts = await openChaosParts(stack, { folder: folder.path, dayMs, intervalMs, logs });
  const store = stack.use(await openStoreAt(BUCKET_URL, parts.gateway.endpoint));
  const table = stack.use(await openChaosTable(store));
  await begun(table);

  const target = join(folder.path, "numbered");
  await mkdir(target);
  const numbers = seconds * perSecond;
  const generated = generate({ target, numbers, perSecond });
  const disasters: string[] = [];
  const kills = await ruin(parts, {
    seconds,
    killEveryMs,
    random: createSeededRandom(seed),
    tell(text) {
      disasters.push(text);
      onDisaster?.(text);
    },
  });
  await generated;

  const startedMs = performance.now();
  const events = numbers * parts.agents.length;
  // Rows of the last day but one have been past their time for a day.
  const cutoffMs = Math.floor(Date.now() / dayMs - 1) * dayMs;
  const figures = await settled(table, { target, fleeting: FLEETING_TOPIC, cutoffMs, events });
  return {
    seed,
    seconds,
    events,
    ...figures,
    kills,
    disasters,
    failures: [...parts.agents, ...parts.workers, parts.rival].flatMap(({ failures }) => failures),
    settledMs: Math.round(performance.now() - startedMs),
  };
}

async function generate(
  { target, numbers, perSecond }: {
    readonly target: string;
    readonly numbers: number;
    readonly perSecond: number;
  },
): Promise<void> {
  const args = [GENERATOR, target, "0", String(numbers), String(perSecond)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`The generator ended with ${code}`);
}

interface Ruin {
  readonly seconds: number;
  readonly killEveryMs: readonly [number, number];
  readonly random: SeededRandom;
  readonly tell: (text: string) => void;
}

/** Kills parts at random and lets each disaster happen once, at its share of the time. Everything works when it ends. */
async function ruin(
  parts: ChaosParts,
  { seconds, killEveryMs, random, tell }: Ruin,
): Promise<Readonly<Record<string, number>>> {
  const kills: Record<string, number> = {};
  const killers = killersOf(parts);
  const turns: Killer[] = [];
  const ahead = disastersOf(parts, seconds).map(([share, text, run]) => ({
    atMs: share * seconds * 1_000,
    text,
    run,
  }));
  const startedMs = performance.now();
  for (;;) {
    const passedMs = performance.now() - startedMs;
    if (passedMs > seconds * 1_000 && ahead.length === 0) return kills;
    const [due] = ahead;
    if (due !== undefined && due.atMs <= passedMs) {
      ahead.shift();
      tell(`${Math.round(passedMs / 1_000)} s: ${due.text}`);
      await due.run();
      continue;
    }
    // Everyone's turn comes, in another order each time.
    if (turns.length === 0) turns.push(...killers);
    const [turn] = turns.splice(random.between(0, turns.length - 1), 1);
    if (turn === undefined) continue;
    const [name, kill] = turn;
    tell(`${Math.round(passedMs / 1_000)} s: SIGKILL to ${name}`);
    await kill();
    kills[name] = (kills[name] ?? 0) + 1;
    await delay(random.between(...killEveryMs));
  }
}

type Figures = LogFigures & RowFigures;

/** What the table holds once it has everything, or once nothing is added to that any more. */
async function settled(
  table: ChaosTable,
  options: RowOptions & { readonly events: number },
): Promise<Figures> {
  let best = "";
  let bestAtMs = performance.now();
  for (;;) {
    const startedMs = performance.now();
    const figures = await look(table, options);
    if (figures !== undefined) {
      if (isSettled(figures, options.events)) return figures;
      const progress = JSON.stringify(waitedFor(figures));
      if (progress !== best) bestAtMs = startedMs;
      best = progress;
      if (startedMs > bestAtMs + STANDSTILL_MS) return figures;
    } else if (startedMs > bestAtMs + STANDSTILL_MS) {
      throw new Error(
        `Cannot read the table: files of it have been missing for ${STANDSTILL_MS} ms`,
      );
    }
    await delay(Math.max(LOOK_EVERY_MS, performance.now() - startedMs));
  }
}

/** All that the end waits for, and that is no more than it has to be. */
function waitedFor(figures: Figures) {
  const { found, rowsOverdue, compactions, retentions, filesVacuumed, deedsTold } = figures;
  return {
    found,
    rowsOverdue,
    isCompacted: compactions >= 3,
    isRetained: retentions > 0,
    isVacuumed: filesVacuumed > 0,
    isTold: ["compact", "retain", "vacuum"].every((kind) => `table ${kind}` in deedsTold),
  };
}

function isSettled(figures: Figures, events: number): boolean {
  const { found, rowsOverdue, ...done } = waitedFor(figures);
  return found >= events && rowsOverdue === 0 && Object.values(done).every(Boolean);
}

/** Undefined when a file was vacuumed between the reading of the log and its own. */
async function look(table: ChaosTable, options: RowOptions): Promise<Figures | undefined> {
  await table.refresh();
  try {
    const rows = await table.rows(options);
    return { ...await table.log(), ...rows };
  } catch (error) {
    if (error instanceof MissingFileError) return undefined;
    throw error;
  }
}

async function begun(table: ChaosTable): Promise<void> {
  for (const untilMs = performance.now() + STANDSTILL_MS; performance.now() < untilMs;) {
    if (await table.refresh()) return;
    await delay(LOOK_EVERY_MS);
  }
  throw new Error(`Cannot see a first commit within ${STANDSTILL_MS} ms`);
}
