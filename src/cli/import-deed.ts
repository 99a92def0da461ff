/**
 * Tells the record who takes another program's log into it: `audit/admin` events before the first of its events, and after
 * the last.
 *
 * Invariant: no imported event without a deed on disk before it; an import that is killed has begun and not ended.
 */
import type { AuditEvent } from "../event/event.ts";
import type { Producer } from "../producer/producer.ts";

export interface ImportDeedOptions {
  readonly producer: Pick<Producer, "emit" | "flush">;
  /** Of now, µs since 1970. */
  readonly nowUs: () => number;
  /** Makes batches be of now: those before are closed. */
  readonly onNow: () => void;
  /** Who does it. */
  readonly by: string;
  readonly path: string;
}

export interface ImportDeed {
  /** Resolves once it is on disk that the file is being imported under this service. */
  begin(service: string): Promise<void>;
  /** Tells how it ended, unless nothing began: figures, or what it failed of. */
  end(outcome: Readonly<Record<string, number>> | { readonly error: string }): Promise<void>;
}

export function createImportDeed(options: ImportDeedOptions): ImportDeed {
  const { producer, nowUs, onNow, by, path } = options;
  let begun: string | undefined;
  const tell = async (
    event: Pick<AuditEvent, "severity" | "outcome" | "message">,
    more: object,
  ) => {
    await producer.flush();
    onNow();
    producer.emit({
      timeUs: nowUs(),
      topic: "audit/admin",
      user: by,
      service: "probity-import",
      ...event,
      detail: { principal: by, action: "import", parameters: { path, service: begun }, ...more },
    });
    await producer.flush();
  };
  return {
    async begin(service) {
      begun = service;
      const message = `${by} began to import "${path}".`;
      await tell({ severity: "info", outcome: "success", message }, {});
    },
    async end(outcome) {
      if (begun === undefined) return;
      const isDone = !("error" in outcome);
      const message = isDone
        ? `${by} imported "${path}".`
        : `${by} began to import "${path}" and failed.`;
      await tell({
        severity: isDone ? "info" : "medium",
        outcome: isDone ? "success" : "failure",
        message,
      }, outcome);
    },
  };
}
