/**
 * Processes that run people's SQL, each with one statement at a time, started when they are needed and as many as there
 * are turns. One that has ended, by its own statement's excess or by a kill, is replaced by the next who needs it.
 */
import { join } from "node:path";
import type { Log } from "../../../runtime/log.ts";
import type { Asker } from "../../connection-pool.ts";
import { ProblemError } from "../../problem.ts";
import type { Turn, Turns } from "../../turns.ts";
import { type EngineProcess, openEngineProcess } from "./engine-process.ts";

export interface EngineLease extends Disposable {
  readonly engine: EngineProcess;
  /** Aborted when the process has to be given back for another principal's statement. */
  readonly lost: AbortSignal;
}

export interface EnginePool extends AsyncDisposable {
  /** A process of one's own until it is disposed of. Throws {@link ProblemError} 429 or 503 when too many wait. */
  acquire(asker: Asker): Promise<EngineLease>;
}

export interface EnginePoolOptions {
  readonly turns: Turns;
  /** Folder for scratch space; each process has one of its own in it. */
  readonly directory: string;
  readonly readable: readonly string[];
  readonly memoryLimitBytes: number;
  readonly log: Log;
}

const THREADS = 2;
/** What one process may spill to disk. */
const SPILL_LIMIT_BYTES = 2 * 1024 * 1024 * 1024;

export function createEnginePool(options: EnginePoolOptions): EnginePool {
  const { turns, directory, readable, memoryLimitBytes, log } = options;
  const idle: EngineProcess[] = [];
  const all = new Set<EngineProcess>();
  const releases = new Set<Promise<void>>();
  let opened = 0;
  let isClosed = false;

  const open = async (): Promise<EngineProcess> => {
    const engine = await openEngineProcess({
      ...{ memoryLimitBytes, readable, threads: THREADS },
      tempLimitBytes: SPILL_LIMIT_BYTES,
      directory: join(directory, `sql-${++opened}`),
      onFault: (what) => log.warn("a process for SQL ended", { what }),
    });
    all.add(engine);
    if (isClosed) await forget(engine);
    return engine;
  };
  const forget = async (engine: EngineProcess): Promise<void> => {
    all.delete(engine);
    await engine[Symbol.asyncDispose]();
  };
  const lend = async (): Promise<EngineProcess> => {
    for (let engine = idle.pop(); engine !== undefined; engine = idle.pop()) {
      if (!engine.hasEnded) return engine;
      await forget(engine);
    }
    return await open();
  };
  /** What was cancelled may run on for a moment, and keeps its turn. */
  const release = async (engine: EngineProcess, turn: Turn): Promise<void> => {
    await engine.settled();
    if (engine.hasEnded || isClosed) await forget(engine);
    else idle.push(engine);
    turn[Symbol.dispose]();
  };
  return {
    async acquire({ principal, signal }) {
      if (isClosed) throw new ProblemError(503, "The service is stopping");
      const turn = await turns.take(principal.name, signal);
      try {
        const engine = await lend();
        return {
          engine,
          lost: turn.lost,
          [Symbol.dispose]() {
            const released = release(engine, turn);
            releases.add(released);
            void released.finally(() => releases.delete(released));
          },
        };
      } catch (error) {
        turn[Symbol.dispose]();
        throw error;
      }
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      await Promise.all([...all].map((each) => each[Symbol.asyncDispose]()));
      await Promise.allSettled(releases);
    },
  };
}
