/**
 * The filesystem source: entries created, renamed, linked and removed, by name, on every real filesystem, through
 * fanotify. There is no ring: what happened while no agent ran is not known, and the agent says so.
 *
 * Invariants: reading never blocks the event loop; every report ends as a line, as filtered, or as a loss. Times are
 * those of reading, at most {@link TICK_MS} late while the agent keeps up, because fanotify gives none.
 */
import { setImmediate as turn } from "node:timers/promises";
import { lineFields } from "../../../event/event.ts";
import type { Clock } from "../../../runtime/clock.ts";
import { withColumns } from "../../actor-columns.ts";
import type { CreatedFiles } from "../../created-files.ts";
import { type Libc, loadLibc } from "../../libc.ts";
import { LOOK_STEP_MS, waitUntilDue } from "../../look-out.ts";
import { createEventFilters, type EventFilters } from "../../event-filter.ts";
import { NOTHING_SURE, type ProcessCertainty } from "../../process-certainty.ts";
import type { ProcessLookup } from "../../process-lookup.ts";
import type { FilterRule } from "../../rules.ts";
import type { Source, SourceChunk, SourceLoss } from "../../source.ts";
import { describe, type Observation } from "./describe.ts";
import { FAN_CREATE, FAN_DELETE, FAN_Q_OVERFLOW } from "./fanotify-event.ts";
import { type FanotifyGroup, openFanotifyGroup } from "./fanotify-group.ts";
import { createHeldEvents } from "./held-events.ts";
import { createObserver, type Observer } from "./observer.ts";
import { isUnder } from "./directory-tree.ts";
import type { NameFeed } from "./name-feed.ts";
import { probeFanotify, proveByFolder } from "./probe.ts";
import { WAITING_EVENTS_MAX } from "./waiting-events.ts";

/** How long an idle source sleeps between two looks at the queue. */
export const TICK_MS = LOOK_STEP_MS;
/** A new mount is watched from its first moments on if it is noticed so soon. */
export const MOUNT_NOTICE_MS = 1000;
/** At most this many different losses between two askings. */
const LOSSES_MAX = 32;
/** How long reports are looked up in one go before the event loop gets its turn. */
const SLICE_MS = 10;

export interface FilesystemSourceOptions {
  readonly processes: ProcessLookup;
  /** For filters that ask who did it; they hold for nobody by default. */
  readonly certainty?: ProcessCertainty;
  readonly createdFiles: CreatedFiles;
  /** Told of every name, for who watches single files. */
  readonly names?: Pick<NameFeed, "told" | "lost">;
  /** What own processes do below it is left out. */
  readonly dataDirectory: string;
  /** What is not told; nothing by default. */
  readonly filters?: readonly FilterRule[];
  readonly clock: Clock;
}

export function createFilesystemSource(options: FilesystemSourceOptions): Source {
  const { clock } = options;
  let filters = createEventFilters({ filters: options.filters ?? [], clock });
  const counters = { attempted: 0, submitted: 0, ringFull: 0, filtered: 0 };
  let losses: SourceLoss[] = [];
  let group: FanotifyGroup | undefined;

  const close = (): void => {
    group?.[Symbol.dispose]();
    group = undefined;
  };
  const lost = (loss: SourceLoss): void => {
    const isKnown = losses.some((each) => each.reason === loss.reason);
    if (!isKnown && losses.length < LOSSES_MAX) losses.push(loss);
  };

  return {
    name: "filesystem",
    lane: "bulk",
    probe: () => probeFanotify(clock),
    prove: proveByFolder,
    async *start(signal) {
      const libc = loadLibc();
      const opened = openFanotifyGroup(libc);
      if ("reason" in opened) throw new Error(`Cannot watch filesystems: ${opened.reason}`);
      group = opened;
      lost(ABSENT);
      const reading = createReading(libc, opened, {
        ...options,
        filtersNow: () => filters,
        counters,
        lost,
      });
      try {
        while (!signal.aborted) {
          const chunk = reading.round();
          if (chunk.fields.length > 0) yield chunk;
          if (reading.isBehind) await turn();
          else await waitUntilDue(clock, { isDue: () => !reading.isQuiet() }, signal);
        }
        yield reading.rest();
      } finally {
        reading.release();
        close();
      }
    },
    release: () => undefined,
    losses() {
      const told = losses;
      losses = [];
      return told;
    },
    reconfigure({ rules }) {
      filters = createEventFilters({ filters: rules.filters, clock });
      return Promise.resolve();
    },
    counters: () => ({ ...counters, throttled: 0, readFault: 0, truncated: 0 }),
    [Symbol.asyncDispose]() {
      close();
      return Promise.resolve();
    },
  };
}

const MOUNTED_UNSEEN: SourceLoss = {
  class: "unwatched",
  count: null,
  reason: "filesystems were mounted while the agent was too busy to watch them from the beginning",
};

const OVERFLOW: SourceLoss = {
  class: "overflow",
  count: null,
  reason: "the fanotify queue was full: names created, renamed or removed are missing",
};

const ABSENT: SourceLoss = {
  class: "absent",
  count: null,
  reason: "no agent was there to see names created, renamed or removed",
};

type ReadingOptions = FilesystemSourceOptions & {
  readonly filtersNow: () => EventFilters;
  readonly counters: { attempted: number; submitted: number; filtered: number; ringFull: number };
  readonly lost: (loss: SourceLoss) => void;
};

/** The work of one run: read, look up, hold, tell. */
function createReading(libc: Libc, group: FanotifyGroup, options: ReadingOptions) {
  const { processes, createdFiles, names, clock, counters, lost } = options;
  const { certainty = NOTHING_SURE } = options;
  const held = createHeldEvents(createdFiles, clock);
  let emptyAtUs = clock.nowUs();
  /** The same as boot time, ns. */
  let emptyAtNs = certainty.nowNs();
  /** Whether reports were read that what is known of processes may be older than. */
  let isBehindReports = false;
  // Names changed while nobody read.
  names?.lost(emptyAtUs, emptyAtUs);

  const pump = (): void => {
    while (observer.waiting < WAITING_EVENTS_MAX) {
      const askedAtUs = clock.nowUs();
      const askedAtNs = certainty.nowNs();
      const events = group.read();
      if (events.length === 0) {
        emptyAtUs = askedAtUs;
        emptyAtNs = askedAtNs;
        return;
      }
      isBehindReports = true;
      for (const event of events) {
        if ((event.mask & FAN_Q_OVERFLOW) !== 0) {
          counters.attempted += 1;
          counters.ringFull += 1;
          lost(OVERFLOW);
          names?.lost(emptyAtUs, askedAtUs);
          observer.forgetPaths();
        } else {
          const notBefore = { notBeforeUs: emptyAtUs, notBeforeNs: emptyAtNs };
          observer.push({ ...event, readAtUs: askedAtUs, ...notBefore });
        }
      }
    }
  };
  const observer: Observer = createObserver({
    libc,
    filesystemOf: (fsid) => group.filesystemOf(fsid),
    pump,
  });
  const dataDirectory = observer.pathOf(options.dataDirectory);

  const isOwn = (seen: Observation, pid: number): boolean =>
    dataDirectory !== undefined && isUnder(seen.path.path, dataDirectory) &&
    (seen.newPath === undefined || isUnder(seen.newPath.path, dataDirectory)) &&
    processes.isOwn(pid);
  const chunkOf = (ready: ReturnType<typeof held.rest>): SourceChunk => {
    const fields: string[] = [];
    const timesUs: number[] = [];
    for (const { event, isSilenced } of ready) {
      const seen = isSilenced ? { ...event.seen, mask: event.seen.mask & ~FAN_CREATE } : event.seen;
      const told = describe(seen, event.actor).filter(({ topic }) =>
        !options.filtersNow().take({
          topic,
          isBelow: (folder) => isUnder(seen.path.path, Buffer.from(folder).toString("latin1")),
          doer: event.doer,
        })
      );
      counters.submitted += told.length;
      counters.filtered += reportsIn(event.seen.mask) - told.length;
      for (const each of told) {
        fields.push(withColumns(lineFields(each), event.actor.columns));
        timesUs.push(each.timeUs);
      }
    }
    return { fields, timesUs, position: undefined };
  };
  let lookedAtMs = clock.elapsedMs();
  const followMounts = (): void => {
    const sinceMs = clock.elapsedMs() - lookedAtMs;
    lookedAtMs = clock.elapsedMs();
    const change = group.refresh();
    if (change === undefined) return;
    observer.forgetPaths();
    for (const { type, point, reason } of change.refused) {
      lost({
        class: "unwatched",
        count: null,
        reason: `${type} ${point} is not watched: ${reason}`,
      });
    }
    if (sinceMs > MOUNT_NOTICE_MS) lost(MOUNTED_UNSEEN);
  };
  /** Looking up paths reads more reports: who did these is known only after them. */
  const catchUp = (): void => {
    if (isBehindReports) processes.catchUp();
    isBehindReports = false;
  };
  /** Looks up waiting reports until none is left or the time is up. */
  const lookUp = (untilMs: number): void => {
    isBehindReports ||= observer.waiting > 0;
    for (let next = observer.next(); next !== undefined; next = observer.next()) {
      const { event: { pid, target, notBeforeNs }, seen } = next;
      counters.attempted += reportsIn(seen.mask);
      catchUp();
      if (isOwn(seen, pid)) counters.filtered += reportsIn(seen.mask);
      else {
        const actor = processes.actorOf(pid);
        names?.told({ pid, actor, seen, target });
        const doer = options.filtersNow().askForDoers ? certainty.since(pid, notBeforeNs) : {};
        held.push({ pid, actor, seen, doer });
      }
      if (performance.now() >= untilMs) break;
    }
    observer.release();
  };

  return {
    round(): SourceChunk {
      followMounts();
      pump();
      lookUp(performance.now() + SLICE_MS);
      return chunkOf(held.ready());
    },
    /** What the queue held at the end, without waiting for anyone. */
    rest(): SourceChunk {
      pump();
      lookUp(Number.POSITIVE_INFINITY);
      return chunkOf(held.rest());
    },
    get isBehind() {
      return observer.waiting > 0;
    },
    /** Whether a round would find nothing to do: then this was one. */
    isQuiet(): boolean {
      if (observer.waiting > 0 || held.length > 0) return false;
      const askedAtUs = clock.nowUs();
      const askedAtNs = certainty.nowNs();
      if (!group.isQuiet()) return false;
      emptyAtUs = askedAtUs;
      emptyAtNs = askedAtNs;
      lookedAtMs = clock.elapsedMs();
      return true;
    },
    release: () => observer.release(),
  };
}

/** A merged report counts as what it merges. */
function reportsIn(mask: number): number {
  return (mask & FAN_CREATE) !== 0 && (mask & FAN_DELETE) !== 0 ? 2 : 1;
}
