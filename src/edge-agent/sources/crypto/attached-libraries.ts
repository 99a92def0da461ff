/**
 * Libraries whose probes are attached to the pinned programs, with the numbers of their sites.
 *
 * Invariants: a library is attached whole or not at all, and once; a site's number is told to the kernel's program before
 * anything can hit it, and used again only when nothing can any more. What an earlier agent attached goes on.
 */
import { createHash } from "node:crypto";
import { attachProbe } from "../../attach-probe.ts";
import { SITE_BYTES, SITES_MAX } from "../../crypto-layout.ts";
import { listKernelFolder, removeKernelFile } from "../../kernel-files.ts";
import type { Libbpf } from "../../libbpf.ts";
import { errnoText, type Libc } from "../../libc.ts";
import { createMapWriter } from "../../map-gate.ts";
import { writeValue } from "../../map-values.ts";
import { isOfProbes, PROBE_LINK_PREFIX } from "../../program-object.ts";
import { ElfError } from "./elf-file.ts";
import type { KnownLibraries, KnownLibrary } from "./known-libraries.ts";
import { type LibraryFile, libraryFile } from "./open-library.ts";
import { readProbeFile } from "./probe-notes.ts";
import { encodeSite, type ProbeSite, sitesOf } from "./probe-sites.ts";

/** Libraries that are attached at the same time. */
export const LIBRARIES_MAX = 512;
/** Places of probes in one library. */
export const LIBRARY_SITES_MAX = 1024;
/**
 * Of both, what files that the configuration does not name by their path may take: whoever may run a program makes as
 * many as they like, and those of the configuration are to find room even then.
 */
export const OTHERS_SHARE = 3 / 4;

const CROWDED =
  `files that the configuration does not name have ${OTHERS_SHARE * LIBRARIES_MAX} places for ` +
  `themselves, with ${OTHERS_SHARE * SITES_MAX} probes, and no more`;

export interface AttachedLibraries extends Disposable {
  /** Attaches the probes of an open file, unless they are. */
  attach(fd: number, path: string, options?: AttachOptions): AttachOutcome;
  /** Which libraries the configuration's paths lead to: the room of all others is limited. */
  reserve(numbers: ReadonlySet<number>): void;
  detach(number: number): void;
  attached(): readonly KnownLibrary[];
}

export interface AttachOptions {
  /** Of a proof: another than the configuration's. */
  readonly provider?: string;
  /** Whether it may take the room that is kept from others. */
  readonly isReserved?: boolean;
}

export type AttachOutcome =
  /** `faults`: probes of it that are not attached, and why; `isReplaced`: it was attached as it was before a change. */
  | {
    readonly state: "attached";
    readonly library: KnownLibrary;
    readonly faults: readonly string[];
    readonly isReplaced: boolean;
  }
  | { readonly state: "known"; readonly library: KnownLibrary }
  /** It has no probes of the provider. */
  | { readonly state: "none" }
  /** `unreadable`: it is no file that could have probes. */
  | { readonly state: "fault" | "unreadable"; readonly reason: string };

export interface AttachedLibrariesOptions {
  readonly libbpf: Libbpf;
  readonly libc: Libc;
  /** Folder of the programs' pins. */
  readonly folder: string;
  /** Links of libraries of another provider are removed. */
  readonly provider: string;
  readonly known: KnownLibraries;
}

/** Takes over what is pinned; links that nobody knows are removed. */
export function openAttachedLibraries(options: AttachedLibrariesOptions): AttachedLibraries {
  const { libbpf, libc, folder, provider, known } = options;
  const names = listKernelFolder(folder) ?? [];
  const program = names.find((name) => name.startsWith("prog_") && isOfProbes(name));
  const sitesFd = libbpf.bpf_obj_get(`${folder}/map_sites`);
  if (program === undefined || sitesFd < 0) {
    throw new Error(`Cannot attach probes: the programs in "${folder}" are not whole`);
  }
  const writer = createMapWriter(libbpf);
  const linkOf = (site: number): string => `${folder}/${PROBE_LINK_PREFIX}${site}`;
  const writeSite = (site: number, value: Uint8Array): void =>
    writeValue(writer, sitesFd, { key: site, value });
  const ofFolder = (): KnownLibrary[] =>
    known.all().filter((each) => each.folder === folder && each.sites.length > 0);
  const isFree = (site: number): boolean => !taken.has(site);
  let reserved: ReadonlySet<number> = new Set();
  const release = (sites: readonly number[]): void => {
    const pinned = new Set(listKernelFolder(folder));
    for (const site of sites) {
      if (pinned.has(`${PROBE_LINK_PREFIX}${site}`)) removeKernelFile(linkOf(site));
      writeSite(site, new Uint8Array(SITE_BYTES));
      taken.delete(site);
    }
  };
  const detach = (number: number): void => {
    const found = known.get(number);
    if (found === undefined || found.folder !== folder) return;
    release(found.sites);
    known.forgetSites(number);
  };

  const links = new Set(names.filter((name) => name.startsWith(PROBE_LINK_PREFIX)));
  for (const { number, sites, provider: held } of ofFolder()) {
    const isWhole = held === provider &&
      sites.every((site) => links.has(`${PROBE_LINK_PREFIX}${site}`));
    if (!isWhole) known.forgetSites(number);
  }
  const taken = new Set(ofFolder().flatMap(({ sites }) => sites));
  /** The latest number that was given. */
  let lastSite = 0;
  for (const link of links) {
    if (!taken.has(Number(link.slice(PROBE_LINK_PREFIX.length)))) {
      removeKernelFile(`${folder}/${link}`);
    }
  }

  /** Why it cannot be attached whole; undefined when it is. */
  const link = (
    fd: number,
    library: KnownLibrary,
    sites: readonly ProbeSite[],
    file: LibraryFile,
  ) => {
    for (const [place, site] of sites.entries()) {
      const number = library.sites[place] ?? 0;
      writeSite(number, encodeSite(site, { file: library.number, group: groupOf(site, file) }));
      const status = attachProbe(libbpf, {
        program: `${folder}/${program}`,
        link: linkOf(number),
        fileFd: fd,
        offset: site.offset,
        semaphore: site.semaphore,
        cookie: number,
      });
      if (status < 0) return `a probe cannot be attached: ${errnoText(status)}`;
    }
    return undefined;
  };

  const attachSites = (
    fd: number,
    { path, file, origin, sites, provider, isReserved }: {
      readonly path: string;
      readonly provider: string;
      readonly isReserved: boolean;
      readonly file: LibraryFile;
      readonly origin: string;
      readonly sites: readonly ProbeSite[];
    },
  ): { readonly library: KnownLibrary; readonly isReplaced: boolean } | string => {
    let isReplaced = false;
    if (sites.length > LIBRARY_SITES_MAX) {
      return `it has more than ${LIBRARY_SITES_MAX} probes`;
    }
    if (ofFolder().length >= LIBRARIES_MAX) {
      return `${LIBRARIES_MAX} libraries are attached, which is all there may be`;
    }
    // A file that was changed in place: the kernel keeps its places by inode.
    for (const { number, identity } of ofFolder()) {
      if (!identity.startsWith(`${file.device} ${file.inode} `)) continue;
      detach(number);
      isReplaced = true;
    }
    const others = ofFolder().filter(({ number }) => !reserved.has(number));
    const refused = isReserved ? undefined : roomFault(sites.length, others);
    if (refused !== undefined) return refused;
    const numbers = freeSites(sites.length, { isFree, after: lastSite });
    if (numbers === undefined) return `${SITES_MAX} probes are attached, which is all there may be`;
    for (const number of numbers) taken.add(number);
    lastSite = numbers.at(-1) ?? lastSite;
    const noted = { identity: file.identity, path, origin, provider, folder, sites: numbers };
    const library = known.note(noted);
    const fault = link(fd, library, sites, file);
    if (fault === undefined) return { library, isReplaced };
    release(numbers);
    known.forgetSites(library.number);
    return fault;
  };

  return {
    attach(fd, path, { provider: ofProvider = provider, isReserved = false } = {}) {
      const file = libraryFile(libc, fd);
      if (file === undefined) return { state: "unreadable", reason: "it is no regular file" };
      const held = known.find(file.identity);
      if (held?.folder === folder && held.sites.length > 0) {
        return { state: "known", library: held };
      }
      const found = lookAt(file, ofProvider);
      if ("state" in found) return found;
      const { origin, sites, faults } = found;
      if (sites.length === 0) {
        return faults.length === 0
          ? { state: "none" }
          : { state: "fault", reason: faults.join("; ") };
      }
      const of = { path, file, origin, sites, provider: ofProvider, isReserved };
      const done = attachSites(fd, of);
      if (typeof done === "string") return { state: "fault", reason: done };
      return { state: "attached", ...done, faults };
    },
    detach,
    reserve: (numbers) => void (reserved = numbers),
    attached: ofFolder,
    [Symbol.dispose]() {
      writer[Symbol.dispose]();
      libbpf.close(sitesFd);
    },
  };
}

/** What a file has of a provider's probes. */
export function lookAt(
  file: LibraryFile,
  provider: string,
):
  | {
    readonly origin: string;
    readonly sites: readonly ProbeSite[];
    readonly faults: readonly string[];
  }
  | Exclude<AttachOutcome, { state: "attached" | "known" }> {
  try {
    const found = readProbeFile(file);
    if (found === undefined) return { state: "none" };
    return { origin: Buffer.from(found.buildId).toString("hex"), ...sitesOf(found, provider) };
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    return { state: "unreadable", reason: error.message };
  }
}

/**
 * Free numbers, 0 stands for none: those that were not used for longest, since the kernel ends a link some time after its
 * pin is gone, and what hits it until then must find nothing under its number.
 */
export function freeSites(
  count: number,
  { isFree, after }: { readonly isFree: (site: number) => boolean; readonly after: number },
): readonly number[] | undefined {
  const found: number[] = [];
  for (let step = 0; step < SITES_MAX - 1 && found.length < count; step += 1) {
    const site = 1 + (after + step) % (SITES_MAX - 1);
    if (isFree(site)) found.push(site);
  }
  return found.length === count ? found : undefined;
}

/** Why a file of so many probes finds no room beside others that the configuration does not name; undefined when it does. */
export function roomFault(
  sites: number,
  others: readonly Pick<KnownLibrary, "sites">[],
): string | undefined {
  const held = others.reduce((sum, each) => sum + each.sites.length, 0);
  const isCrowded = others.length >= LIBRARIES_MAX * OTHERS_SHARE ||
    held + sites > SITES_MAX * OTHERS_SHARE;
  return isCrowded ? CROWDED : undefined;
}

/** Of files that may be one under several inodes: overlays show the inode's number of the file below, most of them. */
function groupOf({ offset }: ProbeSite, { isOverlay, inode, sizeBytes }: LibraryFile): number {
  if (!isOverlay) return 0;
  const digest = createHash("sha256").update(`${inode} ${sizeBytes} ${offset}`).digest();
  return (digest.readUInt32LE(0) | 1) >>> 0;
}
