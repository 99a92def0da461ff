/** Dropped files that an agent of no group finds: as docs/sources.md leaves them, and as it may not read them. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { chmod, readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { readDropped } from "../../../../src/edge-agent/sources/collectors/drop/dropped-file.ts";
import { requireCapability } from "../../../support/require.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

const run = promisify(execFile);
/** No accounts of the machine. */
const [AGENT, GROUP] = [65_432, 65_431];
const isRoot = requireCapability("root", process.getuid?.() === 0, "run the tests as root");

it.runIf(isRoot)(
  "a file that was left as docs/sources.md shows is read by the agent's user",
  async () => {
    await using folder = await openTemporaryFolder("dropped-file");
    await chmod(folder.path, 0o711);
    const path = join(folder.path, "drop");
    const text = readFileSync(new URL("../../../../docs/sources.md", import.meta.url), "utf8");
    const shown = text.slice(text.indexOf("### The drop folder")).matchAll(/```sh\n(.*?)```/gs);
    const [folders = "", file = ""] = [...shown].map(([, lines = ""]) =>
      lines.replace(/^groupadd .*$/m, "").replaceAll("/var/spool/probity", path)
        .replaceAll("-o probity", `-o ${AGENT}`).replaceAll("-g audit", `-g ${GROUP}`)
    );
    await run("sh", ["-ec", folders]);
    await run("sh", ["-ec", file]);
    const names = await readdir(join(path, "new"));
    expect(names).toHaveLength(1);
    const dropped = Buffer.from(join(path, "new", names[0] ?? ""));
    expect(await readAsAgent(dropped)).toMatchObject({ state: "read", uid: 0 });
    await chmod(dropped, 0o640);
    expect(await readAsAgent(dropped)).toMatchObject({
      state: "refused",
      reason: "the agent may not read it; `chmod o+r` lets it, and the folder keeps others out",
    });
  },
);

async function readAsAgent(path: Buffer) {
  process.seteuid?.(AGENT);
  try {
    return await readDropped(path);
  } finally {
    process.seteuid?.(0);
  }
}
