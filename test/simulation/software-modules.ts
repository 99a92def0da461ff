/**
 * Lets the software run in a simulation: when a file of `src/` imports a module that reaches out of the process, it gets
 * a stand-in. Imported before anything of `src/`. Everything else, the client libraries of the broker included, is what
 * runs in production.
 */
import { registerHooks } from "node:module";
import { type Mutation, plant } from "./mutations.ts";

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
      "writeFile",
    ],
  },
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

let planted: Mutation | undefined;

/** From now on the software is loaded with this bug in it. */
export function plantInSoftware(mutation: Mutation): void {
  planted = mutation;
}

const SOFTWARE = new URL("../../src/", import.meta.url).href;
const SCHEME = "simulated:";

registerHooks({
  resolve(specifier, context, next) {
    const isSoftware = context.parentURL?.startsWith(SOFTWARE) === true;
    if (!isSoftware || STAND_INS[specifier] === undefined) {
      // What a stand-in leaves as it is comes from the real module, found from here.
      const isRest = context.parentURL?.startsWith(SCHEME) === true;
      return next(specifier, isRest ? { ...context, parentURL: import.meta.url } : context);
    }
    return { url: `${SCHEME}${specifier}`, format: "module", shortCircuit: true };
  },
  load(url, context, next) {
    const specifier = url.startsWith(SCHEME) ? url.slice(SCHEME.length) : "";
    const standIn = STAND_INS[specifier];
    if (standIn === undefined) {
      const loaded = next(url, context);
      if (planted === undefined || url !== new URL(planted.file, SOFTWARE).href) return loaded;
      const { source } = loaded;
      const text = typeof source === "string"
        ? source
        : new TextDecoder().decode(source ?? undefined);
      return { ...loaded, source: plant(text, planted) };
    }
    const file = new URL(standIn.file, import.meta.url).href;
    const isSdk = specifier.startsWith("@aws-sdk/");
    const rest = isSdk ? "" : `export * from ${JSON.stringify(specifier)};\n`;
    const source = `${rest}export { ${standIn.names.join(", ")} } from ${JSON.stringify(file)};\n`;
    return { format: "module", source, shortCircuit: true };
  },
});
