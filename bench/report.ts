/** One JSON line per run: what was measured, and with what: runtime, commit, machine. */
import { execFileSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";

/** Prints the line. Figures are numbers with their unit in their name. */
export function printReport(bench: string, figures: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ bench, ...figures, ...environment() })}\n`);
}

function environment(): Readonly<Record<string, string | number>> {
  const { deno, bun, node } = process.versions;
  return {
    runtime: deno !== undefined
      ? `deno ${deno}`
      : bun !== undefined
      ? `bun ${bun}`
      : `node ${node}`,
    commit: commit(),
    machine: `${cpus()[0]?.model.trim() ?? "unknown"} × ${cpus().length}`,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    measured_at: new Date().toISOString(),
  };
}

/** Short commit id, with `+` when the folder has changes; empty outside a checkout. */
function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain") === "" ? "" : "+");
  } catch {
    return "";
  }
}
