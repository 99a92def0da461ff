import { expect, it } from "vitest";
import { createProcessDecoder } from "../../../src/edge-agent/sources/process/process-lines.ts";
import { ENVIRONMENT_NAMES } from "../../../src/edge-agent/sources/process/environment.ts";
import { EXEC_MARK } from "../../../src/edge-agent/record-layout.ts";
import { createTestContext } from "../../support/decoders.ts";
import { execRecord, locate } from "../../support/records.ts";
import { type Line, parseLine } from "../../support/source-run.ts";

function lineOf(record: Uint8Array): Line | undefined {
  const environment = new Set(ENVIRONMENT_NAMES);
  const line = createProcessDecoder(createTestContext(), { environment }).line(locate(record));
  return line === undefined ? undefined : parseLine(line);
}

it("tells the first of variables that are there twice, as getenv does, and the others beside it", () => {
  const env = 'LD_PRELOAD=/tmp/evil.so\0PATH=/bin\0LD_PRELOAD=\0LD_PRELOAD="/b\0';
  expect(lineOf(execRecord({ env }))?.detail).toMatchObject({
    env: { LD_PRELOAD: "/tmp/evil.so", PATH: "/bin" },
    env_repeated: ["LD_PRELOAD=", 'LD_PRELOAD="/b'],
  });
  expect(lineOf(execRecord({ env: "PATH=/bin\0" }))?.detail["env_repeated"])
    .toBeUndefined();
});

it("tells that the environment was cut, and bytes of it that are no text", () => {
  const env = Buffer.concat([Buffer.from("PATH=a"), Buffer.of(0xff, 0)]);
  const line = lineOf(execRecord({ env, marks: EXEC_MARK.envCut }));
  expect(line?.detail).toMatchObject({
    env: { PATH: "a\\xff" },
    env_truncated: true,
    escaped: ["env"],
  });
  // No name is no variable, and a variable need not have a value.
  const odd = lineOf(execRecord({ env: "PATH\0=x\0\0LD_PRELOAD=\0" }));
  expect(odd?.detail["env"]).toEqual({ PATH: "", LD_PRELOAD: "" });
});
