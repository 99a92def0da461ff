/**
 * The source of what cryptographic libraries tell by probes: the ring of their records, and which libraries are attached.
 *
 * Invariants: libraries of the configuration are attached before the first record is read; what cannot be attached is told
 * by the status and as an event. The key of context ids is made anew with the source.
 */
import { PROOF_KEY } from "../../../event/crypto/record.ts";
import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import process from "node:process";
import { type Clock, systemClock } from "../../../runtime/clock.ts";
import { makePinFolder } from "../../bpf-filesystem.ts";
import type { Libbpf } from "../../libbpf.ts";
import { errnoText, type Libc, loadLibc, O_NONBLOCK, O_RDONLY } from "../../libc.ts";
import type { PinnedPrograms } from "../../pinned-programs.ts";
import { removePins } from "../../pinned-programs.ts";
import type { ProgramObject } from "../../program-object.ts";
import type { HookStatus, Source, SourceChunk, SourceReconfiguration } from "../../source.ts";
import { detailOf, type ProofAction, type RingFamily } from "../ring-family.ts";
import { openRingSource, PIN_FOLDER, type RingSourceOptions } from "../ring-source.ts";
import { type AttachedLibraries, lookAt, openAttachedLibraries } from "./attached-libraries.ts";
import { createContextIds, KEY_BYTES } from "./context-ids.ts";
import { createCryptoDecoder } from "./crypto-lines.ts";
import { type CryptoSettings, LIBRARY_HOOK } from "./crypto-settings.ts";
import { type KnownLibraries, openKnownLibraries } from "./known-libraries.ts";
import { createLibraryNotices } from "./library-notices.ts";
import { createLibraryWatch, faultOf, type LibraryWatch } from "./library-watch.ts";
import { libraryFile } from "./open-library.ts";
import { openProofLibrary } from "./proof-library.ts";

/** Size of the ring when none is given, in bytes. */
export const CRYPTO_RING_BYTES = 4 * 1024 * 1024;
/** How often it is looked where the configuration's paths lead, and what processes have mapped. */
const CONFIGURED_INTERVAL_MS = 5_000;
const SCAN_INTERVAL_MS = 60_000;
/** How often it is looked whether the programs are in use. */
const OPENING_MS = 20;
const LIBRARIES_FILE = "crypto-libraries.json";
/** Provider of proofs: nobody else's libraries have it. */
const PROOF_PROVIDER = "probity_proof";
const PROOF_TOPIC = "crypto/probity/proof";

export interface CryptoSourceOptions extends Omit<RingSourceOptions, "family" | "cryptoFamily"> {
  readonly settings: CryptoSettings;
  readonly dataDirectory: string;
  /** 16 bytes; random by default. */
  readonly contextKey?: Uint8Array;
}

/** Opens nothing in the kernel yet. */
export function openCryptoSource(options: CryptoSourceOptions): Source {
  const { context, log, clock = systemClock, pinFolder = PIN_FOLDER } = options;
  let { settings } = options;
  const libc = loadLibc();
  const known = openKnownLibraries(join(options.dataDirectory, LIBRARIES_FILE));
  const notices = createLibraryNotices(() => clock.nowUs());
  let open: { readonly attached: AttachedLibraries; readonly watch: LibraryWatch } | undefined;
  const close = (): void => {
    open?.attached[Symbol.dispose]();
    open = undefined;
  };
  const tryStep = (): void => {
    try {
      open?.watch.step();
    } catch (error) {
      log.error("a library could not be looked at", { error: String(error) });
    }
  };
  const ids = createContextIds(options.contextKey ?? randomBytes(KEY_BYTES));
  const family: RingFamily = {
    name: "crypto",
    lane: "bulk",
    // A proof pins its programs to attach them.
    tellsOnce: true,
    prepare: () => Promise.resolve(),
    createDecoder: (decoderContext) =>
      createCryptoDecoder(decoderContext, {
        ids,
        fileOf: (number) => known.get(number),
        onMapped: (file) => open?.watch.mapped(file),
        further() {
          tryStep();
          return notices.lines();
        },
        losses: () => notices.losses(),
      }),
    opened(programs: PinnedPrograms) {
      const { libbpf } = context;
      if (libbpf === undefined) return;
      close();
      const { provider } = settings;
      const attached = openAttachedLibraries({
        libbpf,
        libc,
        folder: programs.folder,
        provider,
        known,
      });
      const watch = createLibraryWatch({ attached, libc, notices, nowUs: () => clock.nowUs() });
      open = { attached, watch };
      watch.configure(settings);
      watch.attachConfigured();
    },
    prove: (libbpf, object) =>
      Promise.resolve(prove({ libbpf, libc, pinFolder, object, attached: open?.attached })),
  };
  const ring = openRingSource({
    ...options,
    family: "crypto",
    cryptoFamily: family,
    ringBytes: options.ringBytes ?? CRYPTO_RING_BYTES,
  });
  let scannedMs = -Infinity;
  /** Looks at processes now and then, until the signal is aborted. */
  const watchProcesses = async (signal: AbortSignal): Promise<void> => {
    scannedMs = -Infinity;
    while (!signal.aborted) {
      try {
        open?.watch.attachConfigured();
        if (open !== undefined && clock.elapsedMs() - scannedMs >= SCAN_INTERVAL_MS) {
          scannedMs = clock.elapsedMs();
          await open.watch.scan(signal);
        }
      } catch (error) {
        log.error("libraries could not be looked for", { error: String(error) });
      }
      await sleepOrAbort(clock, open === undefined ? OPENING_MS : CONFIGURED_INTERVAL_MS, signal);
    }
  };
  return {
    name: ring.name,
    lane: ring.lane,
    isInherited: () => ring.isInherited?.() ?? false,
    async probe() {
      const status = await ring.probe();
      if (status.state === "off") return status;
      return { ...status, hooks: [...status.hooks ?? [], ...configuredHooks(libc, settings)] };
    },
    async *start(signal: AbortSignal): AsyncGenerator<SourceChunk> {
      const ended = new AbortController();
      const watching = watchProcesses(AbortSignal.any([signal, ended.signal]));
      try {
        yield* ring.start(signal);
      } finally {
        ended.abort();
        await watching;
        close();
      }
    },
    release: (position) => ring.release(position),
    losses: () => ring.losses(),
    counters: () => ring.counters(),
    prove: () => ring.prove?.() ?? Promise.resolve(undefined),
    throttling: () => ring.throttling?.() ?? [],
    async reconfigure(next: SourceReconfiguration) {
      await ring.reconfigure?.(next);
      if (next.crypto === undefined) return;
      settings = { ...next.crypto, provider: settings.provider };
      open?.watch.configure(settings);
      scannedMs = -Infinity;
    },
    async [Symbol.asyncDispose]() {
      await ring[Symbol.asyncDispose]();
      close();
    },
  };
}

/** What of the configuration cannot be attached, found out by looking. */
function configuredHooks(
  libc: Libc,
  { libraries, provider }: CryptoSettings,
): readonly HookStatus[] {
  return libraries.map((path): HookStatus => {
    const name = `${LIBRARY_HOOK}${path}`;
    const fd = libc.open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return { name, state: "off", reason: `it cannot be opened: ${errnoText(fd)}` };
    try {
      const file = libraryFile(libc, fd);
      if (file === undefined) return { name, state: "off", reason: "it is no regular file" };
      const found = lookAt(file, provider);
      const reason = "state" in found
        ? faultOf(found, provider)
        : found.sites.length > 0
        ? undefined
        : found.faults[0] ?? faultOf({ state: "none" }, provider);
      return reason === undefined ? { name, state: "on" } : { name, state: "off", reason };
    } finally {
      libc.close(fd);
    }
  });
}

interface ProofOptions {
  readonly libbpf: Libbpf;
  readonly libc: Libc;
  readonly pinFolder: string;
  /** Programs on trial; without them those that are in use. */
  readonly object: Pick<ProgramObject, "mapFd" | "pin"> | undefined;
  readonly attached: AttachedLibraries | undefined;
}

/** Executes a probe of its own. */
function prove({ libbpf, libc, pinFolder, object, attached }: ProofOptions): ProofAction {
  using made = new DisposableStack();
  const library = made.use(openProofLibrary(libbpf, libc, PROOF_PROVIDER));
  const target = object === undefined
    ? attached
    : made.use(attachedOnTrial({ libbpf, libc, pinFolder, object, attached }));
  if (target === undefined) throw new Error("Cannot prove probes: no programs are in use");
  const outcome = target.attach(library.fd, library.path, {
    provider: PROOF_PROVIDER,
    isReserved: true,
  });
  if (!("library" in outcome)) {
    const reason = outcome.state === "none" ? "its probe was not found" : outcome.reason;
    throw new Error(`Cannot attach the library of a proof: ${reason}`);
  }
  made.defer(() => target.detach(outcome.library.number));
  const value = randomInt(2 ** 47);
  library.hit({ first: value, text: PROOF_KEY, last: value });
  const kept = made.move();
  return {
    hook: "usdt",
    check(line) {
      if (line["topic"] !== PROOF_TOPIC || detailOf(line)["value"] !== value) return "other";
      return line["pid"] === process.pid ? "proven" : { wrong: "pid is another" };
    },
    [Symbol.asyncDispose]() {
      kept[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

/** Programs on trial can be attached once they are pinned. */
function attachedOnTrial(
  { libbpf, libc, pinFolder, object }: ProofOptions,
): AttachedLibraries {
  const folder = `${pinFolder}/crypto-trial-${process.pid}`;
  const known: KnownLibraries = openKnownLibraries(undefined);
  makePinFolder(pinFolder);
  removePins(folder);
  makePinFolder(folder);
  object?.pin(folder);
  const attached = openAttachedLibraries({
    libbpf,
    libc,
    folder,
    provider: PROOF_PROVIDER,
    known,
  });
  return {
    ...attached,
    [Symbol.dispose]() {
      attached[Symbol.dispose]();
      removePins(folder);
    },
  };
}

async function sleepOrAbort(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
