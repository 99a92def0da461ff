/** Figures of maintenance for Prometheus: what ran, when it last went well, and how large the table is. */
import type { Metrics } from "../../runtime/metrics.ts";
import type { TableSnapshot } from "../../storage/table.ts";
import { summarizeTable, type TableSummary } from "../../storage/table-summary.ts";

export interface MaintenanceMetrics {
  /** A task of the schedule ended. */
  ran(task: string, run: { readonly isDone: boolean; readonly seconds: number }): void;
}

export interface MaintenanceMetricsOptions {
  readonly metrics: Metrics;
  readonly nowUs: () => number;
  /** The version of the table that was last looked at. */
  readonly current: () => TableSnapshot;
}

const TASK = ["task"];

export function createMaintenanceMetrics(options: MaintenanceMetricsOptions): MaintenanceMetrics {
  const { metrics, nowUs, current } = options;
  const runs = metrics.counter("probity_maintenance_runs_total", {
    help: "Runs of a task that was due, by how they ended.",
    labels: [...TASK, "outcome"],
  });
  const seconds = metrics.counter("probity_maintenance_seconds_total", {
    help: "Time spent on a task.",
    labels: TASK,
  });
  const lastDone = metrics.gauge("probity_maintenance_last_done_timestamp_seconds", {
    help: "When this process last did a task whole, since the Unix epoch.",
    labels: TASK,
  });
  const summary = summaryOfLast(current);
  const sizes = {
    files: "Data files of the table.",
    rows: "Rows of the table.",
    bytes: "Bytes of the table's data files.",
  } as const;
  for (const figure of ["files", "rows", "bytes"] as const) {
    metrics.observed(`probity_table_${figure}`, { help: sizes[figure] }, () => summary()[figure]);
  }
  return {
    ran(task, { isDone, seconds: took }) {
      runs.add(1, { task, outcome: isDone ? "done" : "failed" });
      seconds.add(took, { task });
      if (isDone) lastDone.set(nowUs() / 1_000_000, { task });
    },
  };
}

/** Adds a version up once, however often it is asked for. */
function summaryOfLast(current: () => TableSnapshot): () => TableSummary {
  let last: { readonly snapshot: TableSnapshot; readonly summary: TableSummary } | undefined;
  return () => {
    const snapshot = current();
    if (last?.snapshot !== snapshot) last = { snapshot, summary: summarizeTable(snapshot) };
    return last.summary;
  };
}
