/**
 * Another time for one process: libfaketime moves what its C library answers when it is asked for the time of day.
 * Clocks that count from a start are left alone, and so is what a process asks of the kernel without that library.
 */
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface FakeClock extends Disposable {
  /** Variables under which a process has this clock. */
  readonly environment: Readonly<Record<string, string>>;
  /** Moves it; seconds from the true time. */
  moveTo(offsetS: number): void;
}

const LIBRARIES = "/usr/lib";
const NAME = "faketime/libfaketimeMT.so.1";

/** Path of the library; undefined when Debian's package libfaketime is missing. */
export function findFakeTime(): string | undefined {
  const folders = existsSync(LIBRARIES) ? readdirSync(LIBRARIES) : [];
  return ["", ...folders].map((each) => join(LIBRARIES, each, NAME)).find(existsSync);
}

/** The library keeps two files of each process here, and those of one that was killed stay. */
const SHARED_MEMORY = "/dev/shm";
const SHARED_FILE = /^(?:sem\.)?faketime_(?:sem|shm)_(\d+)$/;

/**
 * A clock that shows the true time until it is moved; keeps a file in the folder. Disposing removes what processes that
 * are gone left in shared memory.
 */
export function openFakeClock(folder: string): FakeClock {
  const library = findFakeTime();
  if (library === undefined) throw new Error("Cannot fake a clock: apt-get install libfaketime");
  const file = join(folder, "clock");
  const moveTo = (offsetS: number): void => {
    writeFileSync(`${file}.new`, `${offsetS < 0 ? "" : "+"}${offsetS}\n`);
    renameSync(`${file}.new`, file);
  };
  moveTo(0);
  return {
    environment: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    },
    moveTo,
    [Symbol.dispose]() {
      for (const name of readdirSync(SHARED_MEMORY)) {
        const pid = SHARED_FILE.exec(name)?.[1];
        if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
          rmSync(join(SHARED_MEMORY, name), { force: true });
        }
      }
    },
  };
}
