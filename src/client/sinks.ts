/** Sinks: where the service sends events on. How far each is, what it refused, and a way past what it cannot take. */
import { type Connection, jsonOf, request, type RequestOptions } from "./request.ts";

/** As the service shows it; times are RFC 3339. */
export interface SinkInfo {
  readonly name: string;
  readonly type: string;
  /** All when empty. */
  readonly topics: readonly string[];
  readonly filters: Readonly<Record<string, readonly string[]>>;
  /** `stopped`: no process feeds it now; `waiting`: none has yet. */
  readonly state: "waiting" | "running" | "failing" | "stopped";
  /** Why its last attempt failed. */
  readonly reason?: string;
  readonly last_id?: string;
  readonly created?: string;
  readonly lag: { readonly messages: number; readonly seconds: number };
  readonly delivered: number;
  readonly retries: number;
  readonly dead: number;
  /** The newest that it met, the last one last. */
  readonly gaps: readonly SinkGapInfo[];
}

/** Events that were gone before the sink came to them. */
export interface SinkGapInfo {
  /** Id of the first that may be gone, or the time that the sink was to begin with. */
  readonly from: string;
  /** What may be gone was logged before; null when that is not known. */
  readonly before: string | null;
  readonly count: null;
  readonly reason: string;
  readonly time: string;
  /** Whether the sink's other side has been told. */
  readonly told: boolean;
}

/** An event that a sink refused for good; it is still in the record. */
export interface DeadLetterInfo {
  readonly id: string;
  readonly time: string;
  readonly reason: string;
}

export interface SinkClient {
  list(options?: RequestOptions): Promise<readonly SinkInfo[]>;
  get(name: string, options?: RequestOptions): Promise<SinkInfo>;
  /** To the present, or a time, an age or an event id; how many events were left out, null when not known. */
  skip(
    name: string,
    target?: { readonly to?: string },
    options?: RequestOptions,
  ): Promise<{ readonly skipped: number | null; readonly sink: SinkInfo }>;
  deadLetters(name: string, options?: RequestOptions): Promise<readonly DeadLetterInfo[]>;
  /** Forgets them; the sink that waited for room goes on. */
  clearDeadLetters(name: string, options?: RequestOptions): Promise<void>;
}

export function createSinks(connection: Connection): SinkClient {
  const ask = async (path: string, options: RequestOptions) =>
    fieldsOf(await jsonOf(await request(connection, path, options)));
  return {
    async list(options = {}) {
      const { sinks } = await ask("v1/sinks", options);
      return Array.isArray(sinks) ? sinks.map(infoOf) : [];
    },
    async get(name, options = {}) {
      return infoOf(await ask(pathOf(name), options));
    },
    async skip(name, target = {}, options = {}) {
      const more = { ...options, method: "POST", parameters: { ...target } } as const;
      const response = await request(connection, `${pathOf(name)}/skip`, more);
      const { skipped, sink } = fieldsOf(await jsonOf(response));
      return { skipped: typeof skipped === "number" ? skipped : null, sink: infoOf(sink) };
    },
    async deadLetters(name, options = {}) {
      const { dead_letters: letters } = await ask(`${pathOf(name)}/dead-letters`, options);
      return Array.isArray(letters) ? letters.map(letterOf) : [];
    },
    async clearDeadLetters(name, options = {}) {
      await request(connection, `${pathOf(name)}/dead-letters`, { ...options, method: "DELETE" });
    },
  };
}

function pathOf(name: string): string {
  return `v1/sinks/${encodeURIComponent(name)}`;
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function infoOf(value: unknown): SinkInfo {
  const fields = fieldsOf(value);
  const { name, state, gaps = [] } = fields;
  const info: unknown = { ...fields, gaps };
  // as: what has a name and a state is taken for what the service describes in its OpenAPI
  if (typeof name === "string" && typeof state === "string") return info as SinkInfo;
  throw new TypeError("Cannot read a sink: the answer is none");
}

function letterOf(value: unknown): DeadLetterInfo {
  const { id, time, reason } = fieldsOf(value);
  return { id: String(id), time: String(time), reason: String(reason) };
}
