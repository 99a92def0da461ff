/**
 * What an agent could see on this machine, found out by trying, with nothing left behind: programs on trial, a pin folder
 * of its own, and no ring of a running agent touched.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { BPF_FOLDER } from "./bpf-filesystem.ts";
import { isKernelPath, removeKernelFolder } from "./kernel-files.ts";
import type { SourceStatus } from "./source.ts";
import type { CollectorSettings } from "./sources/collectors/open-collectors.ts";
import { type CryptoSettings, NO_CRYPTO } from "./sources/crypto/crypto-settings.ts";
import { openSources, type SourceName } from "./sources.ts";

export interface ProbedSource {
  readonly name: string;
  readonly status: SourceStatus;
}

export interface ProbeSourcesOptions {
  /** As the agent would have them. */
  readonly collectors?: CollectorSettings;
  /** Sources that stay off by configuration. */
  readonly disabledSources?: readonly SourceName[];
  /** Libraries of the configuration; whether probes work here is asked without any, too. */
  readonly crypto?: CryptoSettings;
  readonly log: Log;
}

/** Proves every source. A running agent sees the proofs as what they are: a few events of this process. */
export async function probeSources(options: ProbeSourcesOptions): Promise<readonly ProbedSource[]> {
  const pinDirectory = `${BPF_FOLDER}/probity-doctor-${process.pid}`;
  const dataDirectory = mkdtempSync(join(tmpdir(), "probity-doctor-"));
  try {
    await using sources = openSources({
      ...options,
      crypto: { ...NO_CRYPTO, ...options.crypto, discover: true },
      dataDirectory,
      positions: {},
      pinDirectory,
      clock: systemClock,
    });
    return [...await sources.probe()].map(([name, status]) => ({ name, status }));
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
    if (isKernelPath(pinDirectory)) removeKernelFolder(pinDirectory);
  }
}
