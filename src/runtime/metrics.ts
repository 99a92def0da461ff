/**
 * Figures of a process for Prometheus. The only file that knows the library which formats them.
 * Names follow Prometheus' own rules: base units last (`_seconds`, `_bytes`), counters end in `_total`.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export type Labels = Readonly<Record<string, string>>;

export interface MetricOptions {
  /** What it counts, in one sentence. */
  readonly help: string;
  /** Names of the labels its values carry. */
  readonly labels?: readonly string[];
}

export interface HistogramOptions extends MetricOptions {
  /** Upper bounds of the buckets, ascending. */
  readonly buckets: readonly number[];
}

export interface CounterMetric {
  /** Adds `amount`, which is at least 0. */
  add(amount: number, labels?: Labels): void;
}

export interface GaugeMetric {
  set(value: number, labels?: Labels): void;
}

export interface HistogramMetric {
  observe(value: number, labels?: Labels): void;
}

/** One set of figures; a name may be given only once. */
export interface Metrics {
  counter(name: string, options: MetricOptions): CounterMetric;
  gauge(name: string, options: MetricOptions): GaugeMetric;
  histogram(name: string, options: HistogramOptions): HistogramMetric;
  /** Reads `value` anew at every scrape; for totals that are kept elsewhere, give a name ending in `_total`. */
  observed(name: string, options: MetricOptions, value: () => number | Promise<number>): void;
  /** As {@link Metrics.observed}, with one value for each set of labels there is at the time. */
  observedEach(
    name: string,
    options: MetricOptions,
    values: () => Iterable<readonly [labels: Labels, value: number]>,
  ): void;
  /** Text in the exposition format, and its media type. */
  text(): Promise<string>;
  readonly contentType: string;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const settings = (name: string, { help, labels = [] }: MetricOptions) => ({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
  });
  return {
    counter(name, options) {
      const counter = new Counter(settings(name, options));
      return { add: (amount, labels = {}) => counter.inc(labels, amount) };
    },
    gauge(name, options) {
      const gauge = new Gauge(settings(name, options));
      return { set: (value, labels = {}) => gauge.set(labels, value) };
    },
    histogram(name, options) {
      const histogram = new Histogram({
        ...settings(name, options),
        buckets: [...options.buckets],
      });
      return { observe: (value, labels = {}) => histogram.observe(labels, value) };
    },
    observed(name, options, value) {
      if (name.endsWith("_total")) {
        new Counter({
          ...settings(name, options),
          async collect() {
            const present = await value();
            this.reset();
            this.inc(present);
          },
        });
        return;
      }
      new Gauge({
        ...settings(name, options),
        async collect() {
          this.set(await value());
        },
      });
    },
    observedEach(name, options, values) {
      if (name.endsWith("_total")) {
        new Counter({
          ...settings(name, options),
          collect() {
            this.reset();
            for (const [labels, value] of values()) this.inc(labels, value);
          },
        });
        return;
      }
      new Gauge({
        ...settings(name, options),
        collect() {
          this.reset();
          for (const [labels, value] of values()) this.set(labels, value);
        },
      });
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
