/** The route of people's SQL with what it runs on, closed with the service. */
import { join } from "node:path";
import { makeFolders } from "../../runtime/folders.ts";
import type { Log } from "../../runtime/log.ts";
import type { DataFiles } from "../data-files.ts";
import type { Executor } from "../executor.ts";
import type { ViewLease } from "../read-view.ts";
import type { KnownTallies } from "../metric/counted-kinds.ts";
import type { Route } from "../route.ts";
import { type SqlLimits, sqlRoute } from "../routes/sql.ts";
import type { Turns } from "../turns.ts";
import { createEnginePool } from "./engine/engine-pool.ts";
import { createSqlService } from "./run-sql.ts";

export interface OpenSqlOptions {
  readonly stack: AsyncDisposableStack;
  readonly files: DataFiles;
  readonly turns: Turns;
  readonly executor: Executor;
  readonly acquire: () => ViewLease;
  readonly tallies: KnownTallies;
  /** Scratch space that the service's own database may write to. */
  readonly folder: string;
  readonly limits: SqlLimits;
  readonly log: Log;
}

export function openSqlRoute(options: OpenSqlOptions): Route {
  const { stack, files, turns, executor, acquire, tallies, folder, limits, log } = options;
  const handoverDirectory = join(folder, "hot");
  makeFolders(handoverDirectory, 0o700);
  const engines = stack.use(
    createEnginePool({
      turns,
      directory: folder,
      readable: [files.directory, handoverDirectory],
      memoryLimitBytes: limits.memoryBytes,
      log,
    }),
  );
  const service = createSqlService({
    ...{ engines, files, executor, acquire, tallies, handoverDirectory },
  });
  return sqlRoute({ service, limits });
}
