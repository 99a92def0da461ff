/**
 * The seam to the kernel's inode hook: what it must be told, and what it tells.
 */
import type { SourceLoss } from "../../source.ts";
import type { FileRecord } from "./file-record.ts";
import type { Writer } from "./pending-looks.ts";

/** A watched inode was made dirty. */
export interface InodeHit {
  /** `major:minor` of the superblock. */
  readonly device: string;
  readonly inode: number;
  readonly writer: Writer;
}

/** Which inodes the kernel looks out for. */
export type HookedFile = Pick<FileRecord, "device" | "inode" | "generation" | "type">;

export interface InodeHook extends Disposable {
  watch(file: HookedFile): void;
  unwatch(file: HookedFile): void;
  /** Whether nothing was hit since the last call of `read`; cheap. */
  isQuiet(): boolean;
  /** What was hit since the last call. */
  read(): readonly InodeHit[];
  /** What was read before the last call is told of by now, or found by comparison; what was read since, next time. */
  settle(): void;
  losses(): readonly SourceLoss[];
}
