/**
 * A busy machine to capture beside `capture-events.ts`, for the sizes of events: archives unpacked, moved and removed, a
 * repository cloned, C compiled, small files written and renamed, connections made and accepted, by several users. Real
 * programs do all of it, in a folder of their own that is removed afterwards. Needs root, tar, git, make and a C
 * compiler. Argument: how often the whole is done (1 by default; about 35,000 file and 25,000 network events each time).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, cp, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("..", import.meta.url));
/** Ids of users that every Debian has: daemon, www-data, backup, nobody. */
const USERS = [1, 33, 34, 65534] as const;
const CONNECTIONS = 3_000;
const SOURCES = 40;
const WRITES = 2_000;

function start(command: string, args: readonly string[], id = 0, cwd = "/"): ChildProcess {
  return spawn(command, args, { cwd, uid: id, gid: id, stdio: ["ignore", "pipe", "inherit"] });
}

async function run(command: string, args: readonly string[], id = 0, cwd = "/"): Promise<void> {
  const child = start(command, args, id, cwd);
  child.stdout?.resume();
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`Cannot run "${command}": it ended with ${code}`);
}

/** An archive of small files is unpacked, as a package manager does, moved into place, and removed. */
async function unpack(archive: string, folder: string, id: number): Promise<void> {
  await run("tar", ["-xf", archive, "-C", folder], id);
  await run("mv", [join(folder, "node_modules"), join(folder, "installed")], id);
  await run("rm", ["-rf", join(folder, "installed")], id);
}

async function clone(folder: string, id: number): Promise<void> {
  const target = join(folder, "clone");
  await run("git", ["clone", "-q", join(folder, "..", "repository.bundle"), target], id, folder);
  await run("rm", ["-rf", target], id);
}

async function compile(folder: string, id: number): Promise<void> {
  const target = join(folder, "build");
  await run("mkdir", [target], id);
  const names = Array.from({ length: SOURCES }, (_, number) => `part${number}`);
  const lines = [`all: ${names.map((name) => `${name}.o`).join(" ")}`, "\tcc -shared -o all.so $^"];
  await writeFile(join(target, "Makefile"), `${lines.join("\n")}\n`);
  for (const name of names) {
    await writeFile(join(target, `${name}.c`), `int ${name}(int x) { return x * 3; }\n`);
  }
  await run("make", ["-s", "-j2", "CFLAGS=-fPIC -O1"], id, target);
  await run("rm", ["-rf", target], id);
}

/** Small files are written beside their place and moved there, as careful programs do. */
async function writeFiles(folder: string): Promise<void> {
  await mkdir(join(folder, "state"), { recursive: true });
  for (let number = 0; number < WRITES; number++) {
    const path = join(folder, "state", `session-${number % 50}.json`);
    await writeFile(`${path}.tmp`, JSON.stringify({ number }));
    await rename(`${path}.tmp`, path);
    if (number % 10 === 0) await writeFile(join(folder, "app.log"), `${number}\n`, { flag: "a" });
  }
  await rm(join(folder, "state"), { recursive: true });
}

/** Answers until its parent is gone; prints its port. */
function serve(): void {
  const server = createServer((_, response) => response.end("ok"));
  server.listen(0, "0.0.0.0", () => {
    process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
  });
}

/** One connection per request, from one address to several. */
async function call(port: number): Promise<void> {
  for (let number = 0; number < CONNECTIONS; number++) {
    await new Promise<void>((resolve, reject) => {
      const host = `127.0.${number % 3}.${1 + number % 7}`;
      get({ host, port, agent: false, path: `/${number}` }, (response) => {
        response.resume().on("end", resolve);
      }).on("error", reject);
    });
  }
}

async function withServer(id: number): Promise<void> {
  const server = start(process.execPath, [process.argv[1] ?? "", "serve"], id);
  try {
    const [port] = await once(server.stdout ?? server, "data");
    const calls = USERS.map((user) =>
      run(process.execPath, [process.argv[1] ?? "", "call", String(port).trim()], user)
    );
    await Promise.all(calls);
  } finally {
    server.kill();
  }
}

async function main(times: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "busy-"));
  try {
    await chmod(folder, 0o755);
    const archive = join(folder, "packages.tar");
    const tar = `find node_modules/ -type f -size -8k | head -4000 | tar -cf ${archive} -T -`;
    await run("sh", ["-c", tar], 0, REPOSITORY);
    // Not the repository itself, which belongs to somebody else than those who clone it.
    const bundle = join(folder, "repository.bundle");
    await run("git", ["bundle", "create", "-q", bundle, "--all"], 0, REPOSITORY);
    // A copy that other users can read, wherever this file lies.
    await cp(fileURLToPath(import.meta.url), join(folder, "busy-load.ts"));
    process.argv[1] = join(folder, "busy-load.ts");
    for (let time = 0; time < times; time++) {
      const lanes = USERS.map(async (id, lane) => {
        const home = join(folder, `home-${id}`);
        await mkdir(home, { recursive: true });
        await chown(home, id, id);
        if (lane % 2 === 0) await unpack(archive, home, id);
        else await clone(home, id);
        await compile(home, id);
        if (lane % 2 === 1) await unpack(archive, home, id);
      });
      const ended = await Promise.allSettled([...lanes, withServer(33), writeFiles(folder)]);
      for (const each of ended) if (each.status === "rejected") throw each.reason;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const [part = "1", port = ""] = process.argv.slice(2);
if (part === "serve") serve();
else if (part === "call") await call(Number(port));
else await main(Number(part));
