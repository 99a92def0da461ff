/** What `[applications.kms]` says: where the KMS is, how long things may take, how messages are put together. */

export interface KmsSettings {
  /** `ws://` or `wss://`. */
  readonly url: string;
  readonly pingIntervalMs: number;
  readonly requestTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly reconnectIntervalMs: number;
  /** Messages of one batch. */
  readonly batchSize: number;
  /** A batch that is not full is closed when the one before is this old. */
  readonly batchIntervalMs: number;
  /** Whether a batch of no messages is sent when there are none for that long. */
  readonly sendsEmptyBatches: boolean;
}

export const KMS_DEFAULTS: Omit<KmsSettings, "url"> = {
  pingIntervalMs: 30_000,
  requestTimeoutMs: 120_000,
  connectTimeoutMs: 60_000,
  reconnectIntervalMs: 5_000,
  batchSize: 64,
  batchIntervalMs: 300_000,
  sendsEmptyBatches: false,
};
