/**
 * Rules about who may import whom: the table of folders, the owner of each dependency, specifiers, cycles, and what a
 * browser can load. `ARCHITECTURE.md` says why.
 */
import { posix } from "node:path";
import type { SourceFile } from "./repository.ts";
import type { Rule, Violation } from "./language-rules.ts";

/** Folders of `src/` and what each may import of ours. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  event: [],
  runtime: [],
  integrity: ["event", "runtime"],
  producer: ["event", "runtime", "integrity"],
  storage: ["event", "runtime", "integrity"],
  "edge-agent": ["event", "runtime", "integrity", "producer"],
  pipeline: ["event", "runtime", "integrity", "producer", "storage"],
  query: ["event", "runtime", "integrity", "producer", "storage"],
  client: ["event"],
  cli: [
    "event",
    "runtime",
    "integrity",
    "producer",
    "storage",
    "edge-agent",
    "pipeline",
    "query",
    "client",
  ],
};

/** Packages and the files or folders of `src/` that alone import them. A package that is not here has no owner yet. */
export const OWNERS: readonly (readonly [name: RegExp, owners: readonly string[]])[] = [
  [/^koffi$/, ["edge-agent/libbpf.ts", "edge-agent/libc.ts", "edge-agent/process-calls.ts"]],
  [/^@duckdb\//, ["storage/duckdb.ts", "storage/duckdb-values.ts"]],
  [/^@aws-sdk\//, ["storage/s3-store.ts"]],
  [/^@hono\/node-server$/, ["cli/http-server.ts"]],
  [/^hono($|\/)/, ["query/"]],
  [/^ws$/, ["cli/web-socket.ts", "edge-agent/sources/applications/kms/connection.ts"]],
  [/^@nats-io\//, [
    "runtime/nats.ts",
    "runtime/nats-credentials.ts",
    "runtime/stream-reader.ts",
    "runtime/subject-writer.ts",
    "producer/publisher.ts",
  ]],
  [/^croner$/, ["edge-agent/sources/collectors/schedule.ts"]],
  [/^cborg$/, ["event/crypto/cbor.ts"]],
  [/^pg$/, ["query/sinks/postgres.ts"]],
  [/^amqplib$/, ["query/sinks/amqp.ts"]],
  [/^jose$/, ["query/oidc/verify.ts"]],
  [/^prom-client$/, ["runtime/metrics.ts"]],
  [/^(commander|smol-toml)$/, ["cli/"]],
  [/^arktype$/, [""]],
  [/^arktype\/config$/, ["cli/schema-settings.ts"]],
  [/^node:/, [""]],
];

export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** Erased before running: `import type`, or a list of nothing but types. */
  readonly isTypeOnly: boolean;
}

export function importsOf({ scan: { tokens } }: SourceFile): Import[] {
  return tokens.flatMap((token, at) => {
    if (token.kind !== "string") return [];
    const before = tokens[at - 1];
    const isDynamic = before?.text === "(" && tokens[at - 2]?.text === "import";
    const isFrom = before?.kind === "word" && (before.text === "from" || before.text === "import");
    if (!isDynamic && !isFrom) return [];
    let start = at;
    while (start > 0 && !/^(import|export)$/.test(tokens[start]?.text ?? "")) start--;
    const clause = tokens.slice(start + 1, at).map(({ text }) => text).join(" ");
    const isTypeOnly = /^type\b/.test(clause) ||
      /^\{ (type \w+( as \w+)? ?,? ?)+\} from$/.test(clause);
    return [{ specifier: token.text, line: token.line, isTypeOnly }];
  });
}

export const knownFolder: Rule = ({ path }) => {
  const folder = folderOf(path);
  return folder === undefined || MAY_IMPORT[folder] !== undefined
    ? []
    : [`${path}: src/${folder} is not in the table of folders`];
};

export const importTable: Rule = (file) => {
  const folder = folderOf(file.path);
  if (folder === undefined) return [];
  return relativeImports(file).flatMap(({ target, line }) => {
    const other = folderOf(target);
    const isAllowed = other === folder ||
      (other !== undefined && MAY_IMPORT[folder]?.includes(other) === true) ||
      target === "package.json" && folder === "cli";
    return isAllowed ? [] : [`${file.path}:${line}: ${folder} may not import ${target}`];
  });
};

export const dependencyOwners: Rule = (file) =>
  importsOf(file).flatMap(({ specifier, line }) => {
    if (specifier.startsWith(".") || folderOf(file.path) === undefined) return [];
    const owner = OWNERS.find(([name]) => name.test(specifier));
    const isOwned = owner?.[1].some((path) => file.path.startsWith(`src/${path}`)) === true;
    return isOwned ? [] : [`${file.path}:${line}: ${specifier} has another owner`];
  });

export const specifiersEndInTs: Rule = (file) =>
  importsOf(file)
    .filter(({ specifier }) => specifier.startsWith(".") && !/\.(ts|json)$/.test(specifier))
    .map(({ specifier, line }) => `${file.path}:${line}: "${specifier}" does not end in .ts`);

/** No chain of imports that run leads back to its file. */
export function noCycles(files: readonly SourceFile[]): Violation[] {
  const graph = importGraph(files);
  const finished = new Set<string>();
  const found: Violation[] = [];
  const visit = (path: string, chain: readonly string[]): void => {
    const start = chain.indexOf(path);
    if (start >= 0) found.push(`${[...chain.slice(start), path].join(" → ")}: a cycle`);
    if (start >= 0 || finished.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...chain, path]);
    finished.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}

/** Below it is for programs on hosts with an agent, whose sockets browsers cannot reach. */
const EMITTER = "src/client/emitter/";

/** What the client loads runs in browsers: no `node:` module and no package is reachable from it. */
export function clientRunsInBrowsers(files: readonly SourceFile[]): Violation[] {
  const graph = importGraph(files);
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set(
    [...byPath.keys()].filter((path) => folderOf(path) === "client" && !path.startsWith(EMITTER)),
  );
  for (const path of reached) {
    for (const next of graph.get(path) ?? []) reached.add(next);
  }
  return [...reached].flatMap((path) => {
    const file = byPath.get(path);
    const foreign = file === undefined ? [] : importsOf(file)
      .filter(({ specifier, isTypeOnly }) => !specifier.startsWith(".") && !isTypeOnly);
    return foreign.map(({ specifier, line }) => `${path}:${line}: browsers have no ${specifier}`);
  });
}

function importGraph(files: readonly SourceFile[]): ReadonlyMap<string, readonly string[]> {
  return new Map(files.map((file) => [
    file.path,
    relativeImports(file).filter(({ isTypeOnly }) => !isTypeOnly).map(({ target }) => target),
  ]));
}

function relativeImports(file: SourceFile): (Import & { readonly target: string })[] {
  return importsOf(file)
    .filter(({ specifier }) => specifier.startsWith("."))
    .map((each) => ({
      ...each,
      target: posix.normalize(posix.join(posix.dirname(file.path), each.specifier)),
    }));
}

/** Folder of a path inside `src/`; "" for a file right in it, undefined outside. */
function folderOf(path: string): string | undefined {
  const match = /^src\/(?:([^/]+)\/)?/.exec(path);
  return match === null ? undefined : match[1] ?? "";
}
