/**
 * `completion bash|zsh|fish`: prints a script for the shell. The scripts hold the whole tree of commands, options and
 * fixed values, made from the declarations, so that completing starts no process.
 */
import type { Command } from "./command.ts";
import { defineCommand } from "./command.ts";
import { groupSummaryOf } from "./command-groups.ts";
import { EXIT } from "./exit.ts";
import { flagOf, GLOBAL_OPTIONS, type Option, type OptionGroup } from "./options.ts";

/** What may follow a command: one node of the tree, by the words before it. */
interface Node {
  readonly words: readonly string[];
  readonly commands: ReadonlyMap<string, string>;
  readonly options: readonly Option<unknown>[];
  readonly choices: readonly string[];
  /** Whether the path of a file may follow. */
  readonly takesFile: boolean;
}

/** The command; it asks for all commands, itself among them, only when a script is wanted. */
export function createCompletionCommand(commands: () => readonly Command[]): Command {
  return defineCommand({
    name: "completion",
    summary: "print a completion script for a shell",
    arguments: [{
      name: "shell",
      text: "the shell",
      isRequired: true,
      choices: ["bash", "zsh", "fish"],
    }],
    examples: [["source <(probity completion bash)", "completes in this shell"]],
    options: {},
    run: async ({ arguments: [shell], output }) => {
      await output.write(completionScript(shell ?? "", commands()));
      return EXIT.ok;
    },
  });
}

/** The script for `bash`, `zsh` or `fish`. */
export function completionScript(shell: string, commands: readonly Command[]): string {
  const nodes = nodesOf(commands);
  if (shell === "bash") return bashScript(nodes);
  if (shell === "zsh") return zshScript(nodes);
  return fishScript(nodes);
}

function nodesOf(commands: readonly Command[]): Node[] {
  const nodes = new Map<string, Node & { readonly commands: Map<string, string> }>();
  const node = (words: readonly string[]) => {
    const name = words.join(" ");
    const known = nodes.get(name) ??
      { words, commands: new Map(), options: globals(), choices: [], takesFile: false };
    nodes.set(name, known);
    return known;
  };
  for (const command of commands) {
    const words = command.name.split(" ");
    words.forEach((word, depth) => {
      const isLeaf = depth === words.length - 1;
      const above = node(words.slice(0, depth)).commands;
      if (isLeaf || !above.has(word)) {
        above.set(word, isLeaf ? command.summary : groupSummaryOf(word));
      }
    });
    const options = [...globals(), ...Object.values(command.options).flatMap(optionsOf)];
    const choices = command.arguments[0]?.choices ?? [];
    const takesFile = command.arguments[0]?.isFile === true;
    nodes.set(command.name, { ...node(words), options, choices, takesFile });
  }
  return [...nodes.values()];
}

function globals(): Option<unknown>[] {
  return optionsOf(GLOBAL_OPTIONS);
}

function optionsOf(group: OptionGroup): Option<unknown>[] {
  return Object.values(group);
}

function namesOf(option: Option<unknown>): string[] {
  return option.short === undefined ? [flagOf(option)] : [option.short, flagOf(option)];
}

function bashScript(nodes: readonly Node[]): string {
  const cases = nodes.map(({ words, commands, options, choices }) => {
    const offered = [...commands.keys(), ...choices, ...options.flatMap(namesOf), "--help"];
    return `    ${quote(words.join(" "))}) offered=${quote(offered.join(" "))} ;;`;
  });
  const valueCases = casesOfValues(nodes, bashValue)
    .map(([pattern, does]) => `    ${pattern}) ${does}; return ;;`);
  const known = nodes.map(({ words }) => quote(words.join(" "))).join("|");
  return `# bash completion of probity
_probity() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" words="" word offered=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${words:+$words }$word" in ${known}) words="\${words:+$words }$word" ;; esac
  done
  if [ "$current" = = ]; then current=""
  elif [ "$previous" = = ]; then previous="\${COMP_WORDS[COMP_CWORD-2]}"; fi
  case "$words $previous" in
${valueCases.join("\n")}
  esac
  case "$words" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$offered" -- "$current"))
  case "$words" in ${wordsWithFile(nodes)}) [[ "$current" = -* ]] || _probity_paths -f ;; esac
}
_probity_paths() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
  compopt -o filenames 2>/dev/null
}
complete -F _probity probity
`;
}

/** A pattern of the commands whose argument is the path of a file. */
function wordsWithFile(nodes: readonly Node[]): string {
  return nodes.filter(({ takesFile }) => takesFile)
    .map(({ words }) => quote(words.join(" "))).join("|");
}

/** Patterns of a command's words and an option, with what completes its value: one for all where all agree. */
function casesOfValues(
  nodes: readonly Node[],
  completes: (option: Option<unknown>) => string,
): (readonly [pattern: string, does: string])[] {
  const byName = new Map<string, { readonly words: string; readonly does: string }[]>();
  for (const { words, options } of nodes) {
    for (const option of options) {
      const does = completes(option);
      for (const name of namesOf(option)) {
        byName.set(name, [...byName.get(name) ?? [], { words: words.join(" "), does }]);
      }
    }
  }
  return [...byName].flatMap(([name, all]) => {
    const [first] = all;
    const isOne = all.every(({ does }) => does === first?.does);
    const cases = isOne
      ? [[`*${quote(` ${name}`)}`, first?.does ?? ""] as const]
      : all.map(({ words, does }) => [quote(`${words} ${name}`), does] as const);
    return cases.filter(([, does]) => does !== "");
  });
}

function zshValue({ type: { placeholder, choices } }: Option<unknown>): string {
  if (choices !== undefined) {
    return `offered=(${choices.map(quote).join(" ")}); _describe probity offered`;
  }
  return placeholder === "file" || placeholder === "dir" ? "_files" : "";
}

function bashValue({ type: { placeholder, choices } }: Option<unknown>): string {
  if (choices !== undefined) {
    return `COMPREPLY=($(compgen -W ${quote(choices.join(" "))} -- "$current"))`;
  }
  if (placeholder === "file") return "_probity_paths -f";
  if (placeholder === "dir") return "_probity_paths -d";
  return placeholder === undefined ? "" : "COMPREPLY=()";
}

function zshScript(nodes: readonly Node[]): string {
  const cases = nodes.map(({ words, commands, options, choices }) => {
    const described = [
      ...[...commands].map(([name, text]) => describe(name, text)),
      ...choices.map((choice) => quote(choice)),
      ...options.flatMap((option) => namesOf(option).map((name) => describe(name, option.text))),
    ];
    return `    ${quote(words.join(" "))}) offered=(${described.join(" ")}) ;;`;
  });
  const known = nodes.map(({ words }) => quote(words.join(" "))).join("|");
  const valueCases = casesOfValues(nodes, zshValue)
    .map(([pattern, does]) => `    ${pattern}) ${does}; return ;;`);
  return `#compdef probity
_probity() {
  local words_seen="" word
  local -a offered
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${words_seen:+$words_seen }$word" in ${known}) words_seen="\${words_seen:+$words_seen }$word" ;; esac
  done
  case "$words_seen \${words[CURRENT-1]}" in
${valueCases.join("\n")}
  esac
  case "$words_seen" in
${cases.join("\n")}
  esac
  case "$words_seen" in ${wordsWithFile(nodes)}) _files ;; esac
  _describe probity offered
}
if [ "$funcstack[1]" = "_probity" ]; then _probity "$@"; else compdef _probity probity; fi
`;
}

function fishScript(nodes: readonly Node[]): string {
  const everywhere = globals();
  const lines = nodes.flatMap(({ words, commands, options, choices }) => {
    const condition = words.length === 0
      ? "__fish_use_subcommand"
      : words.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    const when = `complete -c probity -n ${quote(condition)}`;
    return [
      ...[...commands].map(([name, text]) => `${when} -f -a ${name} -d ${quote(text)}`),
      ...(choices.length === 0 ? [] : [`${when} -f -a ${quote(choices.join(" "))}`]),
      ...(words.length === 0 ? [] : options.filter((option) => !everywhere.includes(option)))
        .map((option) => `${when} ${fishOption(option)}`),
    ];
  });
  const first = everywhere.map((option) => `complete -c probity ${fishOption(option)}`);
  return ["# fish completion of probity", ...first, ...lines, ""].join("\n");
}

function fishOption(option: Option<unknown>): string {
  const { type: { placeholder, choices }, text } = option;
  const names = namesOf(option).map((name) => `-l ${name.slice(2)}`).join(" ");
  const value = placeholder === undefined
    ? ""
    : placeholder === "file" || placeholder === "dir"
    ? " -r"
    : " -x";
  const offered = choices === undefined ? "" : ` -a ${quote(choices.join(" "))}`;
  return `${names}${value}${offered} -d ${quote(text)}`;
}

function describe(name: string, text: string): string {
  return quote(`${name.replaceAll(":", "\\:")}:${text}`);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
