/**
 * Hands a program's code without its types to a process that is started from this one, so that it need not load what
 * strips types, which takes a process 13 MB of memory for good (Node 24).
 *
 * Invariants: what is handed over is the code that the process would read itself; it lies in memory that nobody can
 * change any more, whoever they are (F_SEAL_WRITE, fcntl(2)). Code that is not in it is stripped where it is needed.
 */
import { closeSync, readFileSync, writeSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import process from "node:process";
import type { ProcessCalls } from "../process-calls.ts";

/** Of a module without types: what is only imported as a type is gone. */
const IMPORTED = /^(?:import|export)\b[^"';]*"(\.{1,2}\/[^"]+\.ts)";/gm;

export interface StrippedProgram extends Disposable {
  /** Closed on exec, unless that is changed. */
  readonly fd: number;
  /** Words before the program's own that make Node take the code from the descriptor. */
  readonly words: readonly string[];
}

/**
 * The program whose first module is `entry`, with all modules of ours that it imports. Undefined in Deno, which strips
 * types by code of its own, and where the kernel gives no such memory.
 */
export function stripProgram(
  calls: Pick<ProcessCalls, "memfd" | "seal">,
  entry: URL,
): StrippedProgram | undefined {
  if (process.versions["deno"] !== undefined) return undefined;
  const fd = calls.memfd("probity-code");
  if (fd < 0) return undefined;
  writeAll(fd, Buffer.from(JSON.stringify(Object.fromEntries(withoutTypes(entry)))));
  if (calls.seal(fd) < 0) {
    closeSync(fd);
    return undefined;
  }
  return {
    fd,
    words: ["--import", `data:text/javascript,${encodeURIComponent(loaderOf(fd))}`],
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Sources by their URLs. */
function withoutTypes(entry: URL): ReadonlyMap<string, string> {
  const sources = new Map<string, string>();
  const { emitWarning } = process;
  // Node says that the function is experimental; running TypeScript, as this process does, is the same code.
  process.emitWarning = () => undefined;
  try {
    const open = [entry];
    for (let url = open.pop(); url !== undefined; url = open.pop()) {
      if (sources.has(url.href)) continue;
      const source = stripTypeScriptTypes(readFileSync(url, "utf8"));
      sources.set(url.href, source);
      for (const [, path = ""] of source.matchAll(IMPORTED)) open.push(new URL(path, url));
    }
    return sources;
  } finally {
    process.emitWarning = emitWarning;
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, at);
}

/** Reads the code at once, and gives each module its own when it is loaded. */
function loaderOf(fd: number): string {
  return `import { registerHooks } from "node:module";
import { closeSync, readFileSync } from "node:fs";
// Written by place: the descriptor is at its beginning.
const sources = new Map(Object.entries(JSON.parse(readFileSync(${fd}, "utf8"))));
closeSync(${fd});
registerHooks({
  load(url, context, next) {
    const source = sources.get(url);
    if (source === undefined) return next(url, context);
    sources.delete(url);
    return { format: "module", source, shortCircuit: true };
  },
});`;
}
