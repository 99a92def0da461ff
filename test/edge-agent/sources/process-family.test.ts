import { expect, it } from "vitest";
import type { Libbpf } from "../../../src/edge-agent/libbpf.ts";
import { createProcessFamily } from "../../../src/edge-agent/sources/process/process-family.ts";
import type { ProofAction } from "../../../src/edge-agent/sources/ring-family.ts";

// as: the proof asks nothing of it
const NO_LIBBPF = {} as Libbpf;

/** Words that any word is taken for one of: the proof's marker is not known beforehand. */
function anyWords(words: readonly string[]): readonly string[] {
  return Object.assign([...words], { includes: () => true });
}

/** What a proof complains about when it gets a line without environment, all else being as it wants it. */
function lastComplaint(action: ProofAction): string {
  let fields: Readonly<Record<string, unknown>> = {};
  for (let round = 0; round < 20; round += 1) {
    const { argv, parent, ...rest } = fields;
    const words = anyWords(typeof argv === "string" ? JSON.parse(argv) : []);
    const detail = { ...rest, argv: words, ancestors: [{ pid: parent }] };
    const result = action.check({ topic: "process/exec", ...rest, detail });
    if (typeof result !== "object") return result;
    const [, name = "", wanted = ""] = /^(\w+) is .*, not (.*)$/s.exec(result.wrong) ?? [];
    if (name === "env") return result.wrong;
    fields = { ...fields, [name]: JSON.parse(wanted) };
  }
  throw new Error("Cannot give the proof the line that it wants");
}

it("proves itself by a variable that is told now, not by one that was at the start", async () => {
  const family = createProcessFamily(["PYTHONPATH"]);
  const rules = { limits: {}, filters: [], burstMs: 1, sampleEvery: 1, cgroupFactor: 1 };
  const complaint = async (): Promise<string> => {
    await using action = await family.prove(NO_LIBBPF);
    return lastComplaint(action);
  };
  expect(await complaint()).toBe('env is undefined, not "probity-probe"');
  family.reconfigure?.({ rules, environment: ["LANG"] });
  expect(await complaint()).toBe("proven");
  family.reconfigure?.({ rules, environment: ["LANG", "RUBYOPT"] });
  expect(await complaint()).toBe('env is undefined, not "probity-probe"');
});
