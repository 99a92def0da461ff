/**
 * Wall time of a boot time: records carry CLOCK_BOOTTIME, events UTC.
 *
 * Invariants: the offset is measured anew at most once a second, when asked to; it moves only when it is off by more
 * than its own noise, so that neighbours keep their order. A record takes the offset of the moment it is decoded.
 */
import { CLOCK_BOOTTIME, CLOCK_REALTIME, type Libbpf } from "./libbpf.ts";

const MEASURE_EVERY_NS = 1_000_000_000n;
const NOISE_US = 20;
const SAMPLES = 3;

export interface BootClock {
  /** Boot time now, ns. */
  nowNs(): bigint;
  /** Measures the offset when the last measurement is older than a second. */
  refresh(): void;
  /** Microseconds since the Unix epoch of a boot time in nanoseconds, given as its two 32-bit words. */
  wallUs(lowWord: number, highWord: number): number;
}

export function createBootClock(libbpf: Pick<Libbpf, "clock_gettime">): BootClock {
  let offsetUs = measureOffsetUs(libbpf);
  let measuredNs = libbpf.clock_gettime(CLOCK_BOOTTIME);
  return {
    nowNs: () => libbpf.clock_gettime(CLOCK_BOOTTIME),
    refresh: () => {
      const nowNs = libbpf.clock_gettime(CLOCK_BOOTTIME);
      if (nowNs - measuredNs < MEASURE_EVERY_NS) return;
      measuredNs = nowNs;
      const newUs = measureOffsetUs(libbpf);
      if (Math.abs(newUs - offsetUs) > NOISE_US) offsetUs = newUs;
    },
    wallUs: (low, high) => Math.floor((high * 4294967296 + low) / 1000) + offsetUs,
  };
}

/** Microseconds from boot time to wall time: the closest of a few pairs of readings. */
function measureOffsetUs(libbpf: Pick<Libbpf, "clock_gettime">): number {
  let best = { widthNs: 1n << 62n, offsetNs: 0n };
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const before = libbpf.clock_gettime(CLOCK_BOOTTIME);
    const wall = libbpf.clock_gettime(CLOCK_REALTIME);
    const after = libbpf.clock_gettime(CLOCK_BOOTTIME);
    const widthNs = after - before;
    if (widthNs < best.widthNs) best = { widthNs, offsetNs: wall - before - widthNs / 2n };
  }
  return Number(best.offsetNs / 1000n);
}
