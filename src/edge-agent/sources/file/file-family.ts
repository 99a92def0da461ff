/** Files opened for writing or made, proven by making two in the folder for temporary files: by call and by io_uring. */
import { realpath, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  compareFields,
  detailOf,
  type ProofAction,
  type ProofCheck,
  type RingFamily,
} from "../ring-family.ts";
import { createByIoUring } from "../../io-uring.ts";
import type { Libbpf } from "../../libbpf.ts";
import { requireProofFolder } from "../../proof-folder.ts";
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

async function proveByCreate(libbpf: Libbpf): Promise<ProofAction> {
  const folder = await realpath(requireProofFolder());
  const [made, byRing] = [join(folder, "made"), join(folder, "by-io-uring")];
  await writeFile(made, "");
  const failed = createByIoUring(libbpf, byRing);
  const reason = `io_uring is not to be had here: errno ${-failed}`;
  return {
    hook: "open",
    check: await createCheck(made),
    ...(failed === 0
      ? { further: { io_uring: await createCheck(byRing) } }
      : { untried: { io_uring: reason } }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/**
 * By path, since another file may have had the inode's number; the path is as no other is. How it was seen tells this
 * source from the one of names.
 */
async function createCheck(path: string): Promise<ProofCheck> {
  const { ino } = await stat(path);
  return (line) => {
    const { how } = detailOf(line);
    if (line["path"] !== path || (how !== "open" && how !== "write")) return "other";
    const found = compareFields(line, { topic: "file/create", pid: process.pid });
    return found === "proven" ? compareFields(detailOf(line), { inode: ino }) : found;
  };
}
