/**
 * What compaction gets for `rewriteFiles`: the rows of several files that the row stand-in wrote, as one file. Fetching
 * the files, and comparing them with what the log says, is the real thing.
 */
import { createHash } from "node:crypto";
import type { MaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import {
  fetchSources,
  type RewriteFilesOptions,
  type RewrittenFile,
} from "../../src/pipeline/maintenance/rewrite-files.ts";
import { putContentFile } from "../../src/storage/content-object.ts";
import { compactedFilePath, dataFileKey } from "../../src/storage/layout.ts";
import { randomUUID } from "./chance-modules.ts";
import { readSimulated, writeFileSync } from "./file-modules.ts";
import { stage } from "./stage.ts";

/** Writing takes up to so long, ms. */
const WRITE_MS = 2_000;

export async function rewriteFiles(
  context: MaintenanceContext,
  { files, signal }: RewriteFilesOptions,
): Promise<RewrittenFile> {
  const { store, scratch, clock } = context;
  await using folder = await scratch.openFolder();
  const sources = await fetchSources(context, files, { folder: folder.path, signal });
  const body = Buffer.concat(sources.map(({ path }) => readSimulated(path)));
  await clock.sleep(stage().random.next() * WRITE_MS, signal);
  const eventDate = files[0]?.eventDate ?? "";
  const path = `${folder.path}/rows.json`;
  writeFileSync(path, body);
  const rows = files.reduce((sum, file) => sum + file.rows, 0);
  const file = {
    path: compactedFilePath(eventDate, randomUUID()),
    sizeBytes: body.length,
    rows,
    eventDate,
    minimum: {},
    maximum: {},
    nullCount: {},
    sha256: createHash("sha256").update(body).digest("hex"),
  };
  await putContentFile(store, { key: dataFileKey(file.path), path });
  return { file, rowsKept: rows };
}
