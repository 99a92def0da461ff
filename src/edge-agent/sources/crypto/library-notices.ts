/**
 * What became of libraries, as `agent/config` events, and what was missed before their probes were attached, as losses.
 *
 * Invariants: the same word about a file is said once, until another is said of it; what waits to be told has a limit.
 */
import process from "node:process";
import { lineFields, type Severity } from "../../../event/event.ts";
import type { FurtherLine } from "../../line-decoder.ts";
import type { SourceLoss } from "../../source.ts";
import type { KnownLibrary } from "./known-libraries.ts";

/** Notices that wait, and files whose latest word is remembered. */
const NOTICES_MAX = 256;
const REMEMBERED_MAX = 4096;

export interface LibraryNotices {
  attached(library: KnownLibrary, faults: readonly string[]): void;
  detached(library: KnownLibrary): void;
  /** Of a file in the configuration, or of one that has probes. */
  fault(path: string, reason: string): void;
  /** Processes had the file mapped before its probes were attached. */
  late(library: KnownLibrary, span: { readonly fromUs: number; readonly toUs: number }): void;
  /** Processes had files mapped whose probes cannot be attached. */
  unattached(reason: string, span: { readonly fromUs: number; readonly toUs: number }): void;
  /** So many files were mapped by processes that ended before anybody could look at them. */
  missed(files: number, span: { readonly fromUs: number; readonly toUs: number }): void;
  lines(): readonly FurtherLine[];
  losses(): readonly SourceLoss[];
}

export function createLibraryNotices(nowUs: () => number): LibraryNotices {
  const said = new Map<string, string>();
  let lines: FurtherLine[] = [];
  let losses: SourceLoss[] = [];
  const tell = (
    path: string,
    { message, severity, outcome, detail }: {
      readonly message: string;
      readonly severity: Severity;
      readonly outcome: "success" | "failure";
      readonly detail: Readonly<Record<string, unknown>>;
    },
  ): void => {
    if (said.get(path) === message || lines.length >= NOTICES_MAX) return;
    if (said.size >= REMEMBERED_MAX) said.clear();
    said.set(path, message);
    const timeUs = nowUs();
    const event = {
      timeUs,
      topic: "agent/config",
      severity,
      outcome,
      pid: process.pid,
      message,
      path,
    };
    lines.push({
      timeUs,
      fields: lineFields({ ...event, detail: { source: "crypto", ...detail } }),
    });
  };
  /** What finds no room is told together. */
  const lose = (
    reason: string,
    { fromUs, toUs }: { readonly fromUs: number; readonly toUs: number },
  ): void => {
    const last = losses.length < NOTICES_MAX ? undefined : losses.pop();
    losses.push({
      class: "unattached",
      count: null,
      reason: last === undefined ? reason : "processes had files mapped before they were attached",
      fromUs: Math.min(fromUs, last?.fromUs ?? fromUs),
      toUs: Math.max(toUs, last?.toUs ?? toUs),
    });
  };
  return {
    attached({ path, origin, provider, sites }, faults) {
      tell(path, {
        message: `The probes of ${path} are attached: ${sites.length} places.`,
        severity: faults.length === 0 ? "info" : "medium",
        outcome: "success",
        detail: {
          provider,
          ...(origin === "" ? {} : { origin }),
          probes: sites.length,
          ...(faults.length === 0 ? {} : { reason: faults.join("; ") }),
        },
      });
    },
    detached({ path, provider }) {
      tell(path, {
        message: `The probes of ${path} are attached no more: no process has it mapped.`,
        severity: "info",
        outcome: "success",
        detail: { provider },
      });
    },
    fault(path, reason) {
      tell(path, {
        message: `What ${path} does is not told: ${reason}.`,
        severity: "medium",
        outcome: "failure",
        detail: { reason },
      });
    },
    late: ({ path }, span) =>
      lose(`processes had "${path}" mapped before its probes were attached`, span),
    unattached: lose,
    missed: (files, span) =>
      lose(
        files === 1
          ? "a file was mapped by a process that ended before it was looked at"
          : `${files} files were mapped by processes that ended before they were looked at`,
        span,
      ),
    lines() {
      const taken = lines;
      lines = [];
      return taken;
    },
    losses() {
      const taken = losses;
      losses = [];
      return taken;
    },
  };
}
