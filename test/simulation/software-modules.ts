/**
 * Lets the software run in a simulation: when a file of `src/` imports a module that reaches out of the process, it gets
 * a stand-in. Imported before anything of `src/`. Everything else, the client libraries of the broker included, is what
 * runs in production.
 */
import { registerHooks } from "node:module";
import { type Change, type Mutation, plant } from "./mutations.ts";

/** What of a module is replaced; the rest of it stays. */
interface StandIn {
  readonly file: string;
  readonly names: readonly string[];
}

const FILES = "./file-modules.ts";
const CHANCE = "./chance-modules.ts";

const STAND_INS: Readonly<Record<string, StandIn>> = {
  "node:fs": {
    file: FILES,
    names: [
      "closeSync",
      "createReadStream",
      "ftruncateSync",
      "mkdirSync",
      "openSync",
      "renameSync",
      "statSync",
      "writeFileSync",
      "writeSync",
    ],
  },
  "node:fs/promises": {
    file: FILES,
    names: [
      "link",
      "mkdir",
      "mkdtemp",
      "open",
      "readFile",
      "readdir",
      "rename",
      "rm",
      "stat",
      "unlink",
      "writeFile",
    ],
  },
  "node:os": { file: FILES, names: ["tmpdir"] },
  "node:sqlite": { file: FILES, names: ["DatabaseSync"] },
  "node:crypto": { file: CHANCE, names: ["randomBytes", "randomUUID"] },
  "node:zlib": { file: CHANCE, names: ["zstdCompress", "zstdCompressSync", "zstdDecompress"] },
  "node:timers/promises": { file: CHANCE, names: ["setTimeout"] },
  "@nats-io/transport-node": { file: "./broker-connection.ts", names: ["connect"] },
  "@aws-sdk/client-s3": {
    file: "./s3-module.ts",
    names: [
      "AbortMultipartUploadCommand",
      "CompleteMultipartUploadCommand",
      "CreateMultipartUploadCommand",
      "DeleteObjectCommand",
      "GetObjectCommand",
      "HeadObjectCommand",
      "ListObjectsV2Command",
      "PutObjectCommand",
      "S3Client",
      "UploadPartCommand",
    ],
  },
};

/** Files of the software itself that are replaced, for those of its files that are named. */
const OWN_STAND_INS: Readonly<Record<string, StandIn & { readonly importers: RegExp }>> = {
  "storage/duckdb.ts": {
    file: "./database-stand-in.ts",
    names: ["openDatabase"],
    importers: /delta-checkpoint(-write)?\.ts$/,
  },
  "pipeline/maintenance/rewrite-files.ts": {
    file: "./rewrite-stand-in.ts",
    names: ["rewriteFiles"],
    importers: /maintenance\/compaction\.ts$/,
  },
};

/** Limits that no run of a minute would reach, as they are in one. */
const LIMITS: readonly Change[] = [
  {
    file: "storage/delta-checkpoint-write.ts",
    line: "export const CHECKPOINT_VERSIONS_MIN = 100;",
    becomes: "export const CHECKPOINT_VERSIONS_MIN = 3;",
  },
  {
    file: "pipeline/maintenance/plan-compaction.ts",
    line: "export const OPEN_DAY_FILES_MIN = 8;",
    becomes: "export const OPEN_DAY_FILES_MIN = 3;",
  },
];

let planted: Mutation | undefined;

/** From now on the software is loaded with this bug in it. */
export function plantInSoftware(mutation: Mutation): void {
  planted = mutation;
}

const SOFTWARE = new URL("../../src/", import.meta.url).href;
const SCHEME = "simulated:";

/** The file of the software that one of its files imports, if it is one that is replaced for it. */
function ownStandIn(specifier: string, importer: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const name = new URL(specifier, importer).href.replace(SOFTWARE, "");
  return OWN_STAND_INS[name]?.importers.test(importer) === true ? name : undefined;
}

registerHooks({
  resolve(specifier, context, next) {
    const importer = context.parentURL ?? "";
    const isSoftware = importer.startsWith(SOFTWARE);
    const own = isSoftware ? ownStandIn(specifier, importer) : undefined;
    if (own !== undefined) return { url: `${SCHEME}${own}`, format: "module", shortCircuit: true };
    if (!isSoftware || STAND_INS[specifier] === undefined) {
      // What a stand-in leaves as it is comes from the real module, found from here.
      const isRest = context.parentURL?.startsWith(SCHEME) === true;
      return next(specifier, isRest ? { ...context, parentURL: import.meta.url } : context);
    }
    return { url: `${SCHEME}${specifier}`, format: "module", shortCircuit: true };
  },
  load(url, context, next) {
    const specifier = url.startsWith(SCHEME) ? url.slice(SCHEME.length) : "";
    const standIn = STAND_INS[specifier] ?? OWN_STAND_INS[specifier];
    if (standIn === undefined) {
      const loaded = next(url, context);
      const changes = [...LIMITS, ...planted === undefined ? [] : [planted]]
        .filter(({ file }) => url === new URL(file, SOFTWARE).href);
      if (changes.length === 0) return loaded;
      const { source } = loaded;
      const text = typeof source === "string"
        ? source
        : new TextDecoder().decode(source ?? undefined);
      return { ...loaded, source: changes.reduce(plant, text) };
    }
    const file = new URL(standIn.file, import.meta.url).href;
    const isSdk = specifier.startsWith("@aws-sdk/");
    const isOwn = OWN_STAND_INS[specifier] !== undefined;
    const original = isOwn ? new URL(specifier, SOFTWARE).href : specifier;
    const rest = isSdk ? "" : `export * from ${JSON.stringify(original)};\n`;
    const source = `${rest}export { ${standIn.names.join(", ")} } from ${JSON.stringify(file)};\n`;
    return { format: "module", source, shortCircuit: true };
  },
});
