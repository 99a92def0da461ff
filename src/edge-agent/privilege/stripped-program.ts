/**
 * Hands a program's code without its types to a process that is started from this one, so that it need not load what
 * strips types, which takes a process 13 MB of memory for good (Node 24).
 *
 * Invariants: what is handed over is the code that the process would read itself; nobody can write to the file: it has
 * no name, and its one descriptor is for reading. Code that is not in it is stripped where it is needed.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

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
 * types by code of its own, and where no file can be made.
 */
export function stripProgram(entry: URL): StrippedProgram | undefined {
  if (process.versions["deno"] !== undefined) return undefined;
  const fd = openNameless(JSON.stringify(Object.fromEntries(withoutTypes(entry))));
  if (fd === undefined) return undefined;
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

/** Descriptor, for reading, of a file without a name that holds a text; undefined when none can be made. */
function openNameless(text: string): number | undefined {
  let folder: string | undefined;
  try {
    folder = mkdtempSync(join(tmpdir(), "probity-code-"));
    const path = join(folder, "code");
    writeFileSync(path, text, { mode: 0o400 });
    return openSync(path, "r");
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}

/** Reads the code at once, and gives each module its own when it is loaded. */
function loaderOf(fd: number): string {
  return `import { registerHooks } from "node:module";
import { closeSync, readFileSync } from "node:fs";
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
