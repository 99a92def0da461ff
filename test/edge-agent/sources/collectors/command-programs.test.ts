/** What is said of a command before its first time: whether its program can be executed. */
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { createCommandsCollector } from "../../../../src/edge-agent/sources/collectors/commands/commands-collector.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

it("a command whose program is not there, or is none, is off with the reason", async () => {
  await using folder = await openTemporaryFolder("command-programs");
  const [program, text] = [join(folder.path, "program"), join(folder.path, "text")];
  for (const path of [program, text]) await writeFile(path, "#!/bin/sh\n");
  await chmod(program, 0o755);
  const rule = (name: string, command: string, environment = {}) => ({
    ...{ name, command: [command], environment, schedule: "* * * * *", timezone: undefined },
    ...{ timeoutMs: 1_000, topic: `app/${name}`, memoryBytes: 1 << 26, outputBytes: 1_000 },
    user: undefined,
  });
  const rules = [
    rule("path", program),
    rule("name", "sh"),
    rule("own-path", "program", { PATH: folder.path }),
    rule("absent", "/nowhere/program"),
    rule("unknown", "no-such-program-anywhere"),
    rule("text", text),
    rule("folder", folder.path),
  ];
  const passwd = "probity:x:9:8::/:/x\n";
  const { hooks } = {
    hooks: [],
    ...await createCommandsCollector({ rules, uid: 9, passwd }).probe(),
  };
  expect(hooks).toEqual([
    ...["path", "name", "own-path"].map((name) => ({ name: `command ${name}`, state: "on" })),
    off("absent", 'there is no program "/nowhere/program"'),
    off("unknown", 'there is no program "no-such-program-anywhere"'),
    off("text", `${JSON.stringify(text)} may not be executed`),
    off("folder", `${JSON.stringify(folder.path)} may not be executed`),
  ]);
});

function off(name: string, reason: string) {
  return { name: `command ${name}`, state: "off", reason };
}
