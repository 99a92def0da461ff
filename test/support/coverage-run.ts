/**
 * What the sources of an agent tell of every operation that the exerciser knows, on every filesystem and in every way:
 * all sources run in this process, the exerciser is a process of its own, and each of its files has a name that says
 * which operation it is for.
 */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createSocket } from "node:dgram";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openSources, type Sources } from "../../src/edge-agent/sources.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type MountedFilesystem, mountExt4, mountOverlay, mountTmpfs, mountXfs } from "./mounts.ts";
import { openPinFolder, openTestSource, runAttached, testLog } from "./ring-sources.ts";
import { type Line, runSource, type SourceRun } from "./source-run.ts";

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL("exerciser/exerciser.c", import.meta.url));
const RING_BYTES = 8 * 1024 * 1024;
const WAIT_MS = 30_000;
/** Families whose programs see calls in the i386 way when they are told to, and the one that names processes first. */
const COMPAT_FAMILIES = ["process", "control", "file"] as const;
/** How long it may take until a source knows of all that it is to look at. */
const LATE_MS = 500;
/** A link to a file younger than this is told as the file's creation (BIRTH_SLACK_US of the filesystem source). */
const AGE_MS = 5_200;

export const FILESYSTEMS = ["ext4", "xfs", "tmpfs", "overlay"] as const;
/** As the exerciser names them. */
export const WAYS = ["call", "inline", "worker", "polled", "gate"] as const;
export type Way = typeof WAYS[number];

/** Of each operation on a file, the topics that tell it; of watched files, file/change does, too. */
export const FILE_OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  create: ["file/create"],
  write: ["file/write"],
  open_direct: ["file/write"],
  open_write_close: ["file/write"],
  mmap: ["file/write"],
  splice: ["file/write"],
  sendfile: ["file/write"],
  copy_file_range: ["file/write"],
  truncate: ["file/write"],
  ftruncate: ["file/write"],
  fallocate: ["file/write"],
  rename: ["file/rename"],
  rename_over: ["file/rename"],
  rename_exchange: ["file/rename"],
  link: ["file/link"],
  tmpfile_link: ["file/create", "file/link"],
  symlink: ["file/create"],
  unlink: ["file/delete"],
  mkdir: ["file/create"],
  rmdir: ["file/delete"],
  chmod: ["file/attribute"],
  chown: ["file/attribute"],
  setxattr: ["file/attribute"],
};

export const PROCESS_OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  memfd_exec: ["process/exec"],
  setuid: ["process/setuid"],
  setns: ["process/setuid"],
  ptrace: ["process/ptrace"],
  listen: ["network/listen"],
  connect: ["network/connect"],
  accept: ["network/accept"],
  close: ["network/close"],
  udp_bind: ["network/listen"],
  udp_send: ["network/connect"],
};

/** Files that are there before the exerciser begins. */
const PREPARED = Object.keys(FILE_OPERATIONS)
  .filter((name) => !["create", "tmpfile_link", "symlink", "mkdir", "rmdir"].includes(name))
  .flatMap((name) => {
    if (name === "rename" || name === "link") return [`${name}-from`];
    return name.startsWith("rename_") ? [name, `${name}-from`] : [name];
  }).concat("source");

/** What came of one operation. */
export interface Finding {
  /** Result of the call: 0, a negative errno, or undefined where the way cannot do it. */
  readonly result: number | undefined;
  /** Topics of the events with the right process; in the order of the contract, each once. */
  readonly topics: readonly string[];
  /** Events of it that name another process, or none. */
  readonly wrong: readonly Line[];
}

export interface Findings {
  readonly files: ReadonlyMap<string, Finding>;
  readonly processes: ReadonlyMap<string, Finding>;
}

export interface Coverage extends Findings {
  /** The same with `[agent] compat`; what differs is the way `gate`. */
  readonly compat: Findings;
}

export const fileKey = (filesystem: string, way: Way, operation: string): string =>
  `${filesystem} ${way} ${operation}`;
export const processKey = (way: Way, operation: string): string => `${way} ${operation}`;

/** A run of the exerciser. */
interface Exercise {
  readonly pid: number;
  readonly port: number;
  readonly results: ReadonlyMap<string, number | undefined>;
}

/** Runs everything; takes some seconds. */
export async function runCoverage(): Promise<Coverage> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-coverage-")));
  using stack = new DisposableStack();
  stack.defer(() => rmSync(folder, { recursive: true }));
  const pins = stack.use(openPinFolder());
  const program = join(folder, "exerciser");
  const overlay = mountOverlay();
  const mounted: ReadonlyMap<string, MountedFilesystem> = new Map([
    ["ext4", stack.use(mountExt4())],
    ["xfs", stack.use(mountXfs())],
    ["tmpfs", stack.use(mountTmpfs())],
    ["overlay", stack.use(overlay)],
  ]);
  for (const [type, { path }] of mounted) for (const way of WAYS) prepare(path, `${type}-${way}-`);
  const preparedMs = performance.now();
  execFileSync("clang-19", ["-O1", "-Wall", "-Werror", "-o", program, SOURCE]);
  // Of an overlay, what is written lies in its upper layer: there it is watched.
  const watched = [...mounted].map(([type, { path }]) => type === "overlay" ? overlay.upper : path);
  const data = join(folder, "data");
  mkdirSync(data);
  await using sources = openSources({
    dataDirectory: data,
    positions: {},
    pinDirectory: pins.path,
    ringBytes: {
      process: RING_BYTES,
      network: RING_BYTES,
      file: RING_BYTES,
      integrity: RING_BYTES,
    },
    files: [{ paths: watched.map((path) => `${path}/**`), kind: "digest" }],
    clock: systemClock,
    log: testLog,
  });
  const statuses = await sources.probe();
  for (const [name, status] of statuses) {
    if (status.state === "off") throw new Error(`Cannot run source "${name}": ${status.reason}`);
  }
  const compatPins = stack.use(openPinFolder());
  const compat = COMPAT_FAMILIES.map((family) =>
    openTestSource({ family, pins: compatPins, compat: true, ringBytes: RING_BYTES })
  );
  await using _compat = disposing(compat);
  const compatRuns: SourceRun[] = [];
  for (const source of compat) compatRuns.push(await runAttached(source, compatPins));
  const runs = sources.all.map((source) => runSource(source));
  try {
    await mark(runs, folder);
    await settled(sources);
    await delay(Math.max(0, preparedMs + AGE_MS - performance.now()));
    const exercises = new Map<string, Exercise>();
    for (const way of WAYS) {
      for (const [type, { path }] of mounted) {
        exercises.set(
          `${type} ${way}`,
          await exercise(program, ["files", way, path, `${type}-${way}-`]),
        );
      }
      exercises.set(way, await exercise(program, ["processes", way, folder, `${way}-`]));
    }
    await mark(runs, folder);
    await delay(LATE_MS);
    await settled(sources);
    const lines = runs.flatMap((each) => each.lines);
    const compatLines = compatRuns.flatMap((each) => each.lines);
    const withCompat = findingsOf(exercises, [...lines, ...compatLines]);
    return { ...findingsOf(exercises, lines), compat: withCompat };
  } finally {
    for (const each of [...runs, ...compatRuns]) await each.stop();
  }
}

function disposing(all: readonly AsyncDisposable[]): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      for (const each of all) await each[Symbol.asyncDispose]();
    },
  };
}

function prepare(folder: string, prefix: string): void {
  for (const name of PREPARED) {
    writeFileSync(join(folder, prefix + name), name === "source" ? "other text\n" : "before\n");
  }
  mkdirSync(join(folder, `${prefix}rmdir`));
}

async function exercise(program: string, words: readonly string[]): Promise<Exercise> {
  const { stdout } = await run(program, words, { timeout: WAIT_MS });
  const said = new Map(
    stdout.trim().split("\n").map((line): [string, string] => {
      const [name = "", value = ""] = line.split(" ");
      return [name, value];
    }),
  );
  const results = [...said].map(([name, value]): [string, number | undefined] => [
    name,
    value === "-" ? undefined : Number(value),
  ]);
  return {
    pid: Number(said.get("pid")),
    port: Number(said.get("port") ?? 0),
    results: new Map(results),
  };
}

/** Resolves when every watched file was looked at. */
async function settled({ all }: Sources): Promise<void> {
  const endMs = performance.now() + WAIT_MS;
  const isSettled = (): boolean =>
    all.some((source) => "isSettled" in source && source.isSettled === true);
  while (!isSettled()) {
    if (performance.now() > endMs) throw new Error("Cannot wait for watched files: not settled");
    await delay(20);
  }
}

let marks = 0;
/** Resolves when everything that happened before was told, by every source. */
async function mark(runs: readonly SourceRun[], folder: string): Promise<void> {
  const path = join(folder, `mark-${marks += 1}`);
  const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const isTold = (want: (line: Line) => boolean): boolean =>
    runs.some(({ lines }) => lines.some(want));
  const endMs = performance.now() + WAIT_MS;
  // Again and again: at first the sources are only starting.
  for (let round = 0; performance.now() < endMs; round += 1) {
    const [file, made] = [`${path}-${round}`, `${path}-folder-${round}`];
    writeFileSync(file, "");
    mkdirSync(made);
    await run("/bin/true", [file]);
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    const { localPort } = socket;
    socket.destroy();
    const datagrams = createSocket("udp4").bind(0, "127.0.0.1");
    await once(datagrams, "listening");
    const { port: boundPort } = datagrams.address();
    datagrams.close();
    const checks: ((line: Line) => boolean)[] = [
      (line) => line["path"] === file && line.detail?.["how"] === "open",
      (line) => line["path"] === made,
      (line) => line.topic === "process/exec" && String(line["cmdline"]).includes(file),
      (line) => line.topic === "network/connect" && line["src_port"] === localPort,
      (line) => line.topic === "network/listen" && line["src_port"] === boundPort,
    ];
    for (let waits = 0; waits < 20; waits += 1) {
      if (checks.every(isTold)) return void server.close();
      await delay(25);
    }
  }
  server.close();
  throw new Error("Cannot find marks: the sources do not tell them");
}

function findingsOf(exercises: ReadonlyMap<string, Exercise>, lines: readonly Line[]): Findings {
  const files = new Map<string, Finding>();
  const processes = new Map<string, Finding>();
  const byName = Map.groupBy(lines, ({ path }) => operationIn(path));
  const byOldName = Map.groupBy(lines, (line) => operationIn(line["old_path"]));
  for (const way of WAYS) {
    for (const type of FILESYSTEMS) {
      const { pid, results } = exerciseIn(exercises, `${type} ${way}`);
      for (const [operation, topics] of Object.entries(FILE_OPERATIONS)) {
        const name = `${type}-${way}-${operation}`;
        const found = [...byName.get(name) ?? [], ...byOldName.get(name) ?? []]
          .filter(({ topic }) => topics.includes(topic) || topic === "file/change")
          .filter((line) => line["pid"] !== process.pid);
        files.set(fileKey(type, way, operation), findingOf(results.get(operation), found, pid));
      }
    }
    const { pid, port, results } = exerciseIn(exercises, way);
    for (const [operation, topics] of Object.entries(PROCESS_OPERATIONS)) {
      const found = lines.filter((line) => {
        if (!topics.includes(line.topic)) return false;
        if (line.topic === "process/setuid" && line.detail["how"] !== operation) return false;
        if (!line.topic.startsWith("network/")) return line["pid"] === pid || line["ppid"] === pid;
        if ((line["protocol"] === "udp") !== operation.startsWith("udp_")) return false;
        return line[line.topic === "network/listen" ? "src_port" : "dst_port"] === port;
      });
      processes.set(processKey(way, operation), findingOf(results.get(operation), found, pid));
    }
  }
  return { files, processes };
}

function exerciseIn(exercises: ReadonlyMap<string, Exercise>, name: string): Exercise {
  const found = exercises.get(name);
  if (found === undefined) throw new Error(`Cannot find what "${name}" did`);
  return found;
}

/** The name that says which operation a path is for. */
function operationIn(path: unknown): string {
  return String(path ?? "").split("/").at(-1)?.replace(/-from$/, "") ?? "";
}

function findingOf(result: number | undefined, found: readonly Line[], pid: number): Finding {
  const isRight = (line: Line): boolean =>
    (line["pid"] === pid || line["ppid"] === pid) &&
    (line.topic === "process/exec" || String(line["exe"]).endsWith("/exerciser"));
  const topics = new Set(found.filter(isRight).map(({ topic }) => topic));
  return { result, topics: [...topics].toSorted(), wrong: found.filter((line) => !isRight(line)) };
}
