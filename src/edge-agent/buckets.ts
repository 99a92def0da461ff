/**
 * Token buckets as the programs keep them (`struct probity_bucket` in bpf/map-values.h), and what became of their runs: when
 * events of an executable or a cgroup began to go beyond the limit, and when that ended.
 *
 * Invariants: a run begins once and ends once; it ends by {@link QUIET_NS} without an event beyond the limit, or when its
 * bucket is gone. How many events were withheld is not told here but by the counters, so that no count is told twice.
 */
import { BUCKET, BUCKET_KEY, QUIET_NS, SCOPE } from "./record-layout.ts";

/** A token bucket that was empty at least once. */
export interface Bucket {
  readonly scope: "executable" | "cgroup";
  /** Place of the class in its family. */
  readonly place: number;
  /** Inode of the executable, or id of the cgroup. */
  readonly id: number;
  /** The executable's device as the kernel has it; 0 of a cgroup. */
  readonly device: number;
  /** Boot times of the first and the last event beyond the limit in the latest run, ns. */
  readonly fromNs: number;
  readonly lastNs: number;
  /** Events of that run beyond the limit, and how many of them were told as samples. */
  readonly beyond: number;
  readonly samples: number;
  /** The process that began it. */
  readonly pid: number;
  readonly startNs: number;
}

export interface ThrottleNotice {
  readonly phase: "begin" | "end";
  readonly bucket: Bucket;
}

export interface ThrottleWatch {
  /** Whether a run is under way, so that buckets must be looked at. */
  readonly isActive: boolean;
  /** What began and ended since the last call. */
  update(buckets: readonly Bucket[], nowNs: number): readonly ThrottleNotice[];
}

/** A bucket; undefined when it was never empty. */
export function decodeBucket(key: Uint8Array, value: Uint8Array): Bucket | undefined {
  const keyView = new DataView(key.buffer, key.byteOffset, key.byteLength);
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const fromNs = Number(view.getBigUint64(BUCKET.from_ns, true));
  if (fromNs === 0) return undefined;
  const isCgroup = keyView.getUint16(BUCKET_KEY.scope, true) === SCOPE.cgroup;
  return {
    scope: isCgroup ? "cgroup" : "executable",
    place: keyView.getUint16(BUCKET_KEY.class, true),
    id: Number(keyView.getBigUint64(BUCKET_KEY.id, true)),
    device: keyView.getUint32(BUCKET_KEY.device, true),
    fromNs,
    lastNs: Number(view.getBigUint64(BUCKET.last_ns, true)),
    beyond: Number(view.getBigUint64(BUCKET.beyond, true)),
    samples: Number(view.getBigUint64(BUCKET.samples, true)),
    pid: view.getUint32(BUCKET.pid, true),
    startNs: Number(view.getBigUint64(BUCKET.start_ns, true)),
  };
}

export function createThrottleWatch(): ThrottleWatch {
  const running = new Map<string, Bucket>();
  return {
    get isActive() {
      return running.size > 0;
    },
    update(buckets, nowNs) {
      const notices: ThrottleNotice[] = [];
      const seen = new Map(buckets.map((bucket) => [keyOf(bucket), bucket]));
      for (const [key, known] of running) {
        const now = seen.get(key);
        const isSame = now?.fromNs === known.fromNs;
        if (isSame && nowNs - now.lastNs <= QUIET_NS) running.set(key, now);
        else {
          running.delete(key);
          notices.push({ phase: "end", bucket: isSame ? now : known });
        }
      }
      for (const [key, bucket] of seen) {
        if (running.has(key) || nowNs - bucket.lastNs > QUIET_NS) continue;
        running.set(key, bucket);
        notices.push({ phase: "begin", bucket });
      }
      return notices;
    },
  };
}

function keyOf({ scope, place, id, device }: Bucket): string {
  return `${scope} ${place} ${id} ${device}`;
}
