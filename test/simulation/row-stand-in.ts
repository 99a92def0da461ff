/**
 * Rows of a round without a database: each as one line of JSON, in files cut by day as the real ones are. It takes the
 * same input and keeps the same promises as `writeRoundRows`, so that everything around it is the real thing.
 */
import { createHash } from "node:crypto";
import { encodeHeaders } from "../../src/event/wire.ts";
import type { Round, RoundMessage } from "../../src/pipeline/round.ts";
import { RoundTooLargeError, type RowMaker } from "../../src/pipeline/round-rows.ts";
import type { Connection } from "../../src/storage/duckdb.ts";
import { dataFilePath } from "../../src/storage/layout.ts";
import type { LocalDataFile } from "../../src/storage/parquet.ts";
import { ownRowsOf, placeReadable, placeUnreadable } from "../../src/storage/placed-message.ts";
import { readSimulated, writeFileSync } from "./file-modules.ts";
import type { LedgerRow } from "./ledger.ts";
import { linesOfFrame } from "./opened-frames.ts";
import { stage } from "./stage.ts";

/** Writing takes up to so long, ms. */
const WRITE_MS = 60;
/** So often a round of several messages is said to be too large. */
const TOO_LARGE_SHARE = 0.02;

export const ROW_STAND_IN: RowMaker = {
  database: { connect: () => Promise.resolve(NO_CONNECTION) },
  async write(_connection, { round, signal }) {
    const { time, random } = stage();
    await time.sleep(random.next() * WRITE_MS, signal);
    if (round.messages.length > 1 && random.chance(TOO_LARGE_SHARE)) {
      throw new RoundTooLargeError("Cannot write a round's rows: as simulated");
    }
    const made = round.messages.map(rowsOf);
    const rows = made.flatMap(({ lines }) => lines);
    return {
      files: filesOf(round, rows),
      quarantined: made.flatMap(({ quarantined }) => quarantined),
      rows: rows.length,
      gapRows: made.reduce((sum, { gaps }) => sum + gaps, 0),
    };
  },
};

const refuse = (): never => {
  throw new Error("Cannot simulate a database: rows are made without one");
};
const NO_CONNECTION: Connection = {
  run: refuse,
  query: refuse,
  streamText: refuse,
  streamBytes: refuse,
  append: refuse,
  parse: refuse,
  describe: refuse,
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

function rowsOf(message: RoundMessage) {
  const { decided, payload } = message;
  const own = payload === undefined ? [] : linesOf(payload.path, ownRowsOf(decided));
  const found = own === undefined ? "its lines are not those that its header counts" : undefined;
  const reason = message.unreadable ?? found;
  const placed = reason === undefined ? placeReadable(decided) : placeUnreadable(decided, reason);
  const { incarnation, sequence, loggedAtUs, host, agent, epoch, batch } = placed.message;
  const gaps = placed.gapText.split("\n").filter((line) => line !== "");
  const texts = [...reason === undefined ? own ?? [] : [], ...gaps.map(parseLine)];
  const place = { incarnation, seq: sequence, logged_at: loggedAtUs, host, agent, epoch, batch };
  const { header, verdict } = decided;
  const note = {
    sequence,
    storedAtUs: loggedAtUs,
    agent: decided.agent,
    verdict,
    reason: found ?? "",
    headers: header === undefined ? {} : Object.fromEntries(encodeHeaders(header)),
  };
  const isFound = found !== undefined && payload !== undefined;
  return {
    lines: texts.map((line): LedgerRow => ({ ...line, ...place })),
    gaps: gaps.length,
    quarantined: isFound ? [{ path: payload.path, note }] : [],
  };
}

function filesOf(round: Round, rows: readonly LedgerRow[]): LocalDataFile[] {
  const days = Map.groupBy(rows, ({ time }) => String(time).slice(0, 10));
  return [...days].map(([eventDate, inDay]) => {
    const body = Buffer.from(inDay.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const sha256 = createHash("sha256").update(body).digest("hex");
    const path = `${round.folder}/rows-${eventDate}.json`;
    writeFileSync(path, body);
    const nothing = { minimum: {}, maximum: {}, nullCount: {} };
    const file = { sizeBytes: body.length, rows: inDay.length, eventDate, ...nothing, sha256 };
    return { path, file: { path: dataFilePath(round.range, eventDate, sha256), ...file } };
  });
}

function linesOf(path: string, count: number): readonly LedgerRow[] | undefined {
  let lines: readonly LedgerRow[];
  try {
    lines = linesOfFrame(readSimulated(path)).map(parseLine);
  } catch {
    return undefined; // whatever is wrong with it, it is unreadable
  }
  const isWhole = lines.length === count && lines.every(({ idx }, at) => idx === at);
  return isWhole ? lines : undefined;
}

function parseLine(line: string): LedgerRow {
  return JSON.parse(line);
}

/** The rows of a data file that the stand-in wrote. */
export function parseRows(body: Uint8Array): readonly LedgerRow[] {
  return new TextDecoder().decode(body).split("\n").filter((line) => line !== "").map(parseLine);
}
