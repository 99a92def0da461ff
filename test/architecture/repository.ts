/** The repository's files as the rules see them. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { type Scan, scan } from "./tokens.ts";

export interface SourceFile {
  /** From the root, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly scan: Scan;
}

export interface TextFile {
  readonly path: string;
  readonly text: string;
}

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const FOREIGN = new Set(["node_modules", ".git", "probity-data", "dist", ".tmp", ".terraform"]);
const TEXT = /(^|\/)([^.\/]+|.*\.(ts|js|json|md|toml|c|h|sh|ya?ml|tf|hcl|txt|conf|html|css))$/;

/** Every text file that could be committed, in path order. */
export async function readRepository(): Promise<TextFile[]> {
  const files: TextFile[] = [];
  for (const path of await walk(ROOT)) {
    if (TEXT.test(path)) files.push({ path, text: await readFile(join(ROOT, path), "utf8") });
  }
  return files;
}

/** Paths that git has; every path on disk where there is no git. */
export async function trackedPaths(): Promise<string[]> {
  if (!existsSync(join(ROOT, ".git"))) return await walk(ROOT);
  const options = { cwd: ROOT, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 } as const;
  return execFileSync("git", ["ls-files", "-z"], options).split("\0").filter((path) => path !== "");
}

/** A TypeScript file from its path and text, as the rules take it. */
export function sourceFile(path: string, text: string): SourceFile {
  try {
    return { path, text, scan: scan(text) };
  } catch (error) {
    throw new Error(`Cannot scan ${path}: ${String(error)}`, { cause: error });
  }
}

async function walk(root: string): Promise<string[]> {
  const paths: string[] = [];
  const visit = async (folder: string): Promise<void> => {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      if (FOREIGN.has(entry.name)) continue;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) await visit(path);
      else if (entry.isFile()) paths.push(path.split(sep).join("/"));
    }
  };
  await visit("");
  return paths.sort();
}
