/**
 * The table as its log makes it, version by version: which files it consists of, that they are there, and that what
 * changes files changes no rows. What a reader of the table sees is compared with it.
 */
import type { ShardPosition, TableSnapshot } from "../../src/storage/table.ts";
import type { SimulatedBucket } from "./bucket.ts";
import type { LedgerRow } from "./ledger.ts";
import { demand, demandSame } from "./violation.ts";

export interface LogEntry {
  readonly version: number;
  readonly atUs: number;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** The shard that it moves, if any. */
  readonly position: Omit<ShardPosition, "digest" | "state"> | undefined;
}

interface Version {
  readonly files: ReadonlySet<string>;
  /** Version, incarnation and sequence by shard. */
  readonly shards: ReadonlyMap<string, string>;
}

const PREFIX = "table/";
/** How long a file stays that left the table: the least grace, less what two clocks may differ. */
const GRACE_US = 16 * 3_600_000_000;

export class TableWatch {
  readonly #bucket: SimulatedBucket;
  readonly #readRows: ((body: Uint8Array) => readonly LedgerRow[]) | undefined;
  readonly #versions: Version[] = [];
  readonly #everAdded = new Set<string>();
  readonly #removedAtUs = new Map<string, number>();
  /** Files that others took the place of. */
  replaced = 0;
  /** Snapshots that were compared. */
  views = 0;

  constructor(
    bucket: SimulatedBucket,
    readRows: ((body: Uint8Array) => readonly LedgerRow[]) | undefined,
  ) {
    this.#bucket = bucket;
    this.#readRows = readRows;
  }

  /** The keys of the files that are in the table now. */
  keys(): readonly string[] {
    return [...this.#versions.at(-1)?.files ?? []].map((path) => `${PREFIX}${path}`);
  }

  add({ version, added, removed, position, atUs }: LogEntry): void {
    const before = this.#versions.at(-1);
    const files = new Set(before?.files);
    for (const path of removed) {
      demand(files.delete(path), `version ${version} removes "${path}", which is not there`);
      this.#removedAtUs.set(path, atUs);
    }
    for (const path of added) {
      demand(!this.#everAdded.has(path), `version ${version} adds "${path}" again`);
      this.#everAdded.add(path);
      files.add(path);
    }
    if (position !== undefined) {
      demand(removed.length === 0, `version ${version} is a roll-up's and removes files`);
    } else this.#compareRows(added, removed);
    const shards = new Map(before?.shards);
    if (position !== undefined) shards.set(position.shard, textOf(position));
    this.#versions.push({ files, shards });
  }

  /** No object goes that the table needs, or needed lately. */
  deleted(key: string, nowUs: number): void {
    const path = key.slice(PREFIX.length);
    const isNeeded = this.#versions.at(-1)?.files.has(path) === true;
    demand(!isNeeded, `"${key}" was deleted, and the table needs it`);
    const unneededUs = nowUs - (this.#removedAtUs.get(path) ?? 0);
    demand(unneededUs >= GRACE_US, `"${key}" was deleted, and readers may still need it`);
  }

  /** What somebody read is what the log says of that version. */
  viewed({ version, files, shards }: TableSnapshot): void {
    if (version < 0) return;
    this.views += 1;
    const own = this.#versions[version];
    demand(own !== undefined, `version ${version} was read before it was written`);
    demandSame(`files of version ${version}`, [...files.keys()].sort(), [...own.files].sort());
    const seen = [...shards.values()].map((each) => `${each.shard} ${textOf(each)}`);
    const wanted = [...own.shards].map(([shard, text]) => `${shard} ${text}`);
    demandSame(`shards of version ${version}`, seen.sort(), wanted.sort());
  }

  #compareRows(added: readonly string[], removed: readonly string[]): void {
    const readRows = this.#readRows;
    if (added.length + removed.length === 0 || readRows === undefined) return;
    this.replaced += removed.length;
    const rowsOf = (paths: readonly string[]) =>
      paths.flatMap((path) => {
        const body = this.#bucket.at(`${PREFIX}${path}`)?.body;
        demand(body !== undefined, `"${path}" is part of the table, but not there`);
        return readRows(body);
      });
    demandSame("rows of files that replace others", rowsOf(added), rowsOf(removed));
  }
}

function textOf({ version, incarnation, sequence }: Omit<ShardPosition, "digest" | "state">) {
  return `${version} ${incarnation} ${sequence}`;
}
