/** Files opened for writing or made, proven by making one in the folder for temporary files. */
import { mkdtemp, realpath, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  compareFields,
  detailOf,
  type ParsedLine,
  type ProofAction,
  type ProofResult,
  type RingFamily,
} from "../ring-family.ts";
import type { CreatedFiles } from "../../created-files.ts";
import { createFileDecoder } from "./file-lines.ts";

/** The family; each create that it makes a line of is noted in `createdFiles`. */
export function fileFamilyNoting(createdFiles: CreatedFiles | undefined): RingFamily {
  return {
    name: "file",
    lane: "bulk",
    prepare: () => Promise.resolve(),
    createDecoder: (context) => createFileDecoder(context, createdFiles),
    prove: proveByCreate,
  };
}

async function proveByCreate(): Promise<ProofAction> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "probity-probe-")));
  const path = join(folder, "made");
  await writeFile(path, "");
  const { ino } = await stat(path);
  const expected = { topic: "file/create", path, pid: process.pid };
  return {
    check: (line: ParsedLine): ProofResult =>
      detailOf(line)["inode"] === ino && line["pid"] === process.pid
        ? compareFields(line, expected)
        : "other",
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
