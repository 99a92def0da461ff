/**
 * What every kind of sink does: it takes batches of events, in order, and answers when it has them for good.
 *
 * Invariant: a delivery that resolves is durable at the other side as far as that side can say so; whatever else
 * happens, it throws, and the same events come again with the same ids.
 */

import type { TlsFiles } from "./tls.ts";

export interface SinkEvent {
  /** The key by which a receiver knows what it has already. */
  readonly id: string;
  readonly topic: string;
  readonly time: string;
  readonly host: string;
  readonly severity: string;
  /** The event as JSON, one line. */
  readonly json: string;
}

export interface SinkTarget extends AsyncDisposable {
  /** Takes all of the events, or throws; what it took in part comes again. */
  deliver(events: readonly SinkEvent[], signal: AbortSignal): Promise<void>;
}

/** The other side is there and does not want these events: to offer them again and again will not do. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
}

/** The other side asks to be left alone for a while. */
export class LaterError extends Error {
  override readonly name = "LaterError";
  readonly waitMs: number;

  constructor(message: string, waitMs: number) {
    super(message);
    this.waitMs = waitMs;
  }
}

/** Where events go, by kind. */
export type TargetSettings =
  | { readonly type: "stdout" }
  | {
    readonly type: "file";
    readonly path: string;
    /** It is rotated before it would be larger, in bytes. */
    readonly rotateBytes: number;
    /** Rotated files that are kept. */
    readonly kept: number;
  }
  | {
    readonly type: "webhook";
    readonly url: string;
    readonly secretFile: string | undefined;
    /** One request for many events, or one each. */
    readonly mode: "batch" | "single";
    /** Whether plain HTTP to other machines is allowed. */
    readonly isInsecure: boolean;
  }
  | {
    readonly type: "postgres";
    readonly url: string;
    readonly passwordFile: string | undefined;
    readonly table: string;
    readonly isInsecure: boolean;
  } & TlsFiles
  | {
    readonly type: "amqp";
    readonly url: string;
    readonly passwordFile: string | undefined;
    readonly exchange: string;
    readonly routingKey: string | undefined;
    readonly isInsecure: boolean;
  } & TlsFiles
  | {
    readonly type: "nats";
    readonly url: string;
    readonly subject: string;
    readonly credentialsFile: string | undefined;
  }
  | {
    readonly type: "syslog";
    /** `tcp://`, `udp://` or `tls://`. */
    readonly url: string;
  } & TlsFiles;

export type SinkType = TargetSettings["type"];

export interface SinkSettings {
  readonly name: string;
  /** Topics it may see, each with all below it. */
  readonly topics: readonly string[] | "all";
  /** Conditions by column, as requests have them. */
  readonly filters: Readonly<Record<string, readonly string[]>>;
  /** Where a new one begins: a time, an age or an event's id; at the present without it. */
  readonly since: string | undefined;
  /** Events in one delivery. */
  readonly eventsMax: number;
  /** An event that was refused so often is a dead letter. */
  readonly attemptsMax: number;
  readonly target: TargetSettings;
}
