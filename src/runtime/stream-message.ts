/** A message of a stream as it is stored: what readers hand on, free of any client library's types. */
export interface StreamMessage {
  readonly sequence: number;
  /** When the broker stored it, µs since the Unix epoch. */
  readonly storedAtUs: number;
  readonly subject: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly payload: Uint8Array;
}
