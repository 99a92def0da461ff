/**
 * Events as CloudEvents 1.0 to a web address, signed by the scheme of Standard Webhooks: HMAC-SHA-256 over
 * `<webhook-id>.<webhook-timestamp>.<body>`.
 *
 * Invariants: a redirect is never followed, since it would carry events to where nobody said; plain HTTP stays on this
 * machine unless the settings allow more.
 */
import { createHmac } from "node:crypto";
import { timeLimit } from "../../runtime/time-limit.ts";
import { faultOfWebhook } from "./address.ts";
import { readSecretFile } from "./secret-file.ts";
import {
  LaterError,
  RefusedError,
  type SinkEvent,
  type SinkTarget,
  type TargetSettings,
} from "./target.ts";

type WebhookSettings = Omit<Extract<TargetSettings, { readonly type: "webhook" }>, "type">;

/**
 * Of 4xx, statuses of a server that may take the same request another time: it is busy, or it or the settings are wrong
 * about who may send what where, which says nothing about the events.
 */
const PASSING = new Set([401, 403, 404, 408, 410, 425, 429]);
const ASKS_TO_WAIT = new Set([429, 503]);
/** One attempt, in milliseconds. */
const ATTEMPT_LIMIT_MS = 30_000;

export async function openWebhookTarget(
  settings: WebhookSettings,
  { attemptLimitMs = ATTEMPT_LIMIT_MS }: { readonly attemptLimitMs?: number } = {},
): Promise<SinkTarget> {
  const fault = faultOfWebhook(settings);
  if (fault !== undefined) {
    throw new Error(`Cannot use the address of a webhook: expected ${fault}`);
  }
  const { url, secretFile, mode } = settings;
  const key = secretFile === undefined ? undefined : keyOf(await readSecretFile(secretFile));
  const send = async (id: string, body: string, signal: AbortSignal): Promise<void> => {
    const type = mode === "batch"
      ? "application/cloudevents-batch+json"
      : "application/cloudevents+json";
    const response = await fetch(url, {
      method: "POST",
      redirect: "manual",
      headers: {
        "Content-Type": `${type}; charset=utf-8`,
        "User-Agent": "probity",
        ...signatureOf({ id, body, key }),
      },
      body,
      signal: AbortSignal.any([signal, timeLimit(attemptLimitMs)]),
    }).catch(throwWithReason);
    await response.body?.cancel();
    throwUnlessTaken(response);
  };
  return {
    async deliver(events, signal) {
      const [first, last] = [events[0], events.at(-1)];
      if (first === undefined || last === undefined) return;
      if (mode === "batch") {
        const id = first === last ? first.id : `${first.id}_${last.id}`;
        await send(id, `[${events.map(cloudEvent).join(",")}]`, signal);
      } else for (const event of events) await send(event.id, cloudEvent(event), signal);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Headers of Standard Webhooks; without a key the signature is left out. */
export function signatureOf(
  { id, body, key, nowMs = Date.now() }: {
    readonly id: string;
    readonly body: string;
    readonly key: Uint8Array | undefined;
    readonly nowMs?: number;
  },
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(nowMs / 1_000));
  const named = { "webhook-id": id, "webhook-timestamp": timestamp };
  if (key === undefined) return named;
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
  return { ...named, "webhook-signature": `v1,${mac}` };
}

/** `whsec_` and base64, as the scheme has it; any other text is the key itself. */
export function keyOf(secret: string): Uint8Array {
  const [, base64] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret) ?? [];
  return base64 === undefined ? Buffer.from(secret) : Buffer.from(base64, "base64");
}

/** CloudEvents 1.0, JSON format: `source` and `id` together name the event. */
function cloudEvent({ id, topic, time, host, json }: SinkEvent): string {
  const attributes = JSON.stringify({
    specversion: "1.0",
    id,
    source: `/hosts/${encodeURIComponent(host)}`,
    type: `probity.${topic.replaceAll("/", ".")}`,
    time,
    datacontenttype: "application/json",
  });
  return `${attributes.slice(0, -1)},"data":${json}}`;
}

/** Of what fetch says "fetch failed", the reason is the innermost cause, such as "connect ECONNREFUSED 127.0.0.1:443". */
function throwWithReason(error: unknown): never {
  if (!(error instanceof Error)) throw error;
  const inner = innermost(error);
  if (inner === error) throw error;
  throw new Error(`Cannot reach the server: ${inner.message}`, { cause: error });
}

function innermost(error: Error): Error {
  // Several addresses of a name were tried: the first says as much as all.
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : error.cause;
  return inner instanceof Error ? innermost(inner) : error;
}

function throwUnlessTaken({ ok, status, headers }: Response): void {
  if (ok) return;
  const message = `the server answered ${status === 0 ? "with a redirect" : status}`;
  if (ASKS_TO_WAIT.has(status)) throw new LaterError(message, retryAfterMs(headers));
  // A server that fails with 5xx may fail for any event: an outage must not make dead letters of all of them.
  if (status >= 400 && status < 500 && !PASSING.has(status)) throw new RefusedError(message);
  throw new Error(message);
}

/** Seconds or a date, RFC 9110, section 10.2.3; 0 without it. */
function retryAfterMs(headers: Headers): number {
  const text = headers.get("Retry-After") ?? "";
  if (/^[0-9]{1,9}$/.test(text)) return Number(text) * 1_000;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? 0 : Math.max(0, atMs - Date.now());
}
