#!/usr/bin/env node
/**
 * The program's first file: sees to it that what was compiled once is not compiled at every start, then runs the
 * command line. The composition root: nothing imports it.
 *
 * Invariant: little is loaded before compiled code may come from the cache.
 */
import process from "node:process";
import { outliveHangup } from "../runtime/lifecycle.ts";
import { useCompileCache } from "./compile-cache.ts";

/** Commands that SIGHUP tells to read files anew: it must not end them before they can. */
const RELOADING: readonly (string | undefined)[] = ["agent", "serve", "up"];

if (RELOADING.includes(process.argv.slice(2).find((word) => !word.startsWith("-")))) {
  outliveHangup();
}
useCompileCache();
const { isSupervised, main } = await import("./command-line.ts");
process.exitCode = await main(process.argv.slice(2));
// A read of standard input under way keeps Deno 2.9 alive, though the stream was destroyed: a process that failed to
// start would then never end, and never be started again.
if (isSupervised()) process.exit();
