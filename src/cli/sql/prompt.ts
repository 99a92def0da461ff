/**
 * The prompt of `sql` on a terminal: statements over several lines until `;`, commands that begin with `\`, history and
 * completion. Ctrl-C ends what runs, or drops what is typed.
 *
 * Invariant: an error ends the statement, not the session; only a token that is not allowed ends that.
 */
import process from "node:process";
import { createInterface, type Interface } from "node:readline/promises";
import { ProblemError, UnreachableError } from "../../client/problem.ts";
import { EXIT, type ExitCode } from "../exit.ts";
import { ask, type Asking } from "./ask.ts";
import { historyPath, openHistory, STATEMENTS_MAX } from "./history.ts";
import { columnWordsOf, complete, TABLE_WORDS } from "./words.ts";

export interface PromptOptions extends Asking {
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const HELP = `\\d          tables              \\d TABLE    columns of a table
\\dt         tables              \\timing     show how long statements take, or not
\\x         rows as blocks of lines, or as a table
\\q, Ctrl-D  quit                Ctrl-C      end what runs, drop what is typed
A statement ends with ; and Tab completes.`;

/** Runs until the end of input or `\q`. */
export async function prompt(options: PromptOptions): Promise<ExitCode> {
  const { output, signal } = options;
  const history = openHistory(historyPath(options.environment));
  let typed = "";
  const lines = createInterface({
    input: process.stdin,
    output: process.stderr,
    terminal: true,
    history: [...history.entries],
    historySize: STATEMENTS_MAX,
    removeHistoryDuplicates: true,
    completer: (line: string) => complete(line, typed),
    signal,
  });
  let isOpen = true;
  let isTiming = false;
  let isExpanded = false;
  let running: AbortController | undefined;
  lines.on("close", () => isOpen = false);
  lines.on("SIGINT", () => {
    if (running !== undefined) return running.abort();
    typed = "";
    dropLine(lines);
    output.notice("^C");
    show();
  });
  const show = (): void => {
    // At the end of input, statements that were typed before it may still wait.
    if (!isOpen) return;
    lines.setPrompt(typed === "" ? "sql> " : "...> ");
    lines.prompt();
  };
  const run = async (statement: string): Promise<void> => {
    running = new AbortController();
    const startedMs = performance.now();
    try {
      await ask(statement, {
        ...options,
        isExpanded,
        signal: AbortSignal.any([signal, running.signal]),
      });
    } catch (error) {
      signal.throwIfAborted();
      if (running.signal.aborted) output.notice("cancelled");
      else if (error instanceof ProblemError && !error.isNotAllowed) output.notice(error.message);
      else if (error instanceof UnreachableError) output.notice(error.message);
      else throw error;
    } finally {
      running = undefined;
    }
    if (isTiming) output.notice(`time: ${Math.round(performance.now() - startedMs)} ms`);
  };
  output.notice("A statement ends with ; and the session with Ctrl-D. \\? tells more.");
  show();
  try {
    for await (const line of lines) {
      const command = typed === "" ? commandOf(line) : undefined;
      if (command?.name === "\\q") break;
      if (command?.name === "\\timing") {
        isTiming = !isTiming;
        output.notice(`timing is ${isTiming ? "on" : "off"}`);
      } else if (command?.name === "\\x") {
        isExpanded = !isExpanded;
        output.notice(isExpanded ? "rows are blocks of lines" : "rows are a table");
      } else if (command !== undefined) await tell(command, options);
      else {
        typed = `${typed}${line}\n`;
        if (typed.trim() === "") typed = "";
        if (typed.trimEnd().endsWith(";")) {
          const statement = typed.trim();
          typed = "";
          history.add(statement);
          await run(statement);
        }
      }
      show();
    }
  } finally {
    lines.close();
    const fault = history.save();
    if (fault !== undefined) output.notice(fault);
  }
  return EXIT.ok;
}

interface Command {
  readonly name: string;
  readonly word: string;
}

/** What people type who do not know the commands yet; none of these begins a statement. */
const PLAIN_WORDS: Readonly<Record<string, string>> = { exit: "\\q", help: "\\?", quit: "\\q" };

function commandOf(line: string): Command | undefined {
  const [, plain = ""] = /^\s*(\w+)\s*;?\s*$/.exec(line) ?? [];
  const meant = PLAIN_WORDS[plain.toLowerCase()];
  if (meant !== undefined) return { name: meant, word: "" };
  const [, name, word = ""] = /^\s*(\\\S+)\s*(.*?)\s*;?\s*$/.exec(line) ?? [];
  return name === undefined ? undefined : { name: name.replace(/;$/, ""), word };
}

/** What is known without asking the service. */
async function tell({ name, word }: Command, { output }: PromptOptions): Promise<void> {
  if (name === "\\?") return output.notice(HELP);
  if (name === "\\dt" || name === "\\d" && word === "") {
    return await output.table(
      [{ name: "table" }, { name: "holds" }],
      TABLE_WORDS.map((table) => [table.name, table.text]),
    );
  }
  if (name !== "\\d") return output.notice(`There is no command "${name}"; \\? lists them.`);
  const columns = columnWordsOf(word);
  if (columns === undefined) return output.notice(`There is no table "${word}"; \\dt lists them.`);
  await output.table(
    [{ name: "column" }, { name: "type" }],
    columns.map((column) => [column.name, column.type]),
  );
}

function dropLine(lines: Interface): void {
  lines.write(null, { ctrl: true, name: "e" });
  lines.write(null, { ctrl: true, name: "u" });
}
