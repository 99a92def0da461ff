import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/cli/config-file.ts";
import { text } from "../../src/cli/option-type.ts";
import { FILE_OPTIONS } from "../../src/cli/file-options.ts";
import { AGENT_OPTIONS, flagOf, GLOBAL_OPTIONS } from "../../src/cli/options.ts";
import { repeated, STORE_OPTIONS, variableOf } from "../../src/cli/options.ts";
import { resolveSettings } from "../../src/cli/settings.ts";
import { storeOptionsOf } from "../../src/cli/store-options.ts";
import { dataFolderAt } from "../../src/cli/up/data-folder.ts";

const NOTHING = { flags: new Map<string, string>(), environment: {}, file: undefined };

/** Resolves `[agent] flush` from what each place says. */
function flush(given: { flag?: string; variable?: string; file?: string }) {
  const { settings, sourceOf } = resolveSettings({ agent: AGENT_OPTIONS }, {
    flags: new Map(given.flag === undefined ? [] : [["agent.flush", given.flag]]),
    environment: { PROBITY_AGENT_FLUSH: given.variable },
    file: given.file === undefined
      ? undefined
      : parseConfig(`[agent]\nflush = "${given.file}"`, "x.toml"),
  });
  return [settings.agent.flushMs, sourceOf(AGENT_OPTIONS.flushMs)];
}

describe("precedence", () => {
  it.each([
    [{}, 1000, "default"],
    [{ file: "3s" }, 3000, "file"],
    [{ variable: "2s", file: "3s" }, 2000, "variable"],
    [{ variable: "", file: "3s" }, 3000, "file"],
    [{ flag: "100ms", variable: "2s", file: "3s" }, 100, "flag"],
    [{ flag: "100ms" }, 100, "flag"],
  ])("%j gives %d from the %s", (given, value, source) => {
    expect(flush(given)).toEqual([value, source]);
  });

  it("names the flag or the variable of a wrong value, and the accepted form", () => {
    expect(() => flush({ flag: "soon" })).toThrow(/--agent-flush "soon": accepted: a duration/);
    expect(() => flush({ variable: "1" })).toThrow(/PROBITY_AGENT_FLUSH "1": accepted: a duration/);
  });

  it("reads true and false from variables, and the file's own booleans", () => {
    const file = parseConfig("[store]\npath_style = true", "x.toml");
    const resolve = (environment: Record<string, string>) =>
      resolveSettings({ store: STORE_OPTIONS }, { ...NOTHING, file, environment }).settings.store
        .pathStyle;
    expect(resolve({})).toBe(true);
    expect(resolve({ PROBITY_STORE_PATH_STYLE: "false" })).toBe(false);
    expect(() => resolve({ PROBITY_STORE_PATH_STYLE: "maybe" })).toThrow(/true or false/);
  });

  it("collects options that are given several times", () => {
    const options = { filter: { topics: repeated("topic", text, { text: "topic" }) } };
    const flags = new Map([["topic", ["process", "!file"]]]);
    expect(resolveSettings(options, { ...NOTHING, flags }).settings.filter.topics)
      .toEqual(["process", "!file"]);
    expect(resolveSettings(options, NOTHING).settings.filter.topics).toEqual([]);
  });

  it("reads a variable of a command-line option never", () => {
    const options = { own: { topics: repeated("topic", text, { text: "topic" }) } };
    const environment = { PROBITY_TOPIC: "process" };
    expect(resolveSettings(options, { ...NOTHING, environment }).settings.own.topics).toEqual([]);
  });
});

describe("declarations", () => {
  const all = [GLOBAL_OPTIONS, ...Object.values(FILE_OPTIONS)].flatMap((group) =>
    Object.values(group)
  );

  it("spell a key as flag and variable by one rule", () => {
    expect(flagOf({ key: "rollup.segment_max" })).toBe("--rollup-segment-max");
    expect(variableOf({ key: "rollup.segment_max" })).toBe("PROBITY_ROLLUP_SEGMENT_MAX");
  });

  it("have flags and variables of their own", () => {
    const names = [...all.map(flagOf), ...all.flatMap(({ short }) => short ?? [])];
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(all.map(variableOf)).size).toBe(all.length);
  });

  it.each(
    all.filter((option) => option.default !== undefined).map((option) => [option.key, option]),
  )(
    "%s has a default of its own form",
    (_, option) => expect(option.type.parse(option.default ?? "")).toBeDefined(),
  );

  it("stand in the section that their key names", () => {
    for (const [section, group] of Object.entries(FILE_OPTIONS)) {
      for (const { key, reach } of Object.values(group)) {
        expect(key).toMatch(new RegExp(`^${section}\\.[a-z0-9_]+$`));
        expect(reach).toBe("file");
      }
    }
  });
});

describe("protection of a store", () => {
  const folder = dataFolderAt("/tmp/none");
  const of = (variables: Readonly<Record<string, string>>) => {
    const environment = { PROBITY_STORE_URL: "s3://bucket", ...variables };
    const { settings } = resolveSettings({ store: STORE_OPTIONS }, { ...NOTHING, environment });
    return storeOptionsOf(settings.store, folder).protection;
  };

  it.each<[Readonly<Record<string, string>>, unknown]>([
    [{}, undefined],
    [{ PROBITY_STORE_ENCRYPTION: "s3" }, { encryption: { kind: "s3" } }],
    [
      { PROBITY_STORE_ENCRYPTION: "kms", PROBITY_STORE_KMS_KEY: "k" },
      { encryption: { kind: "kms", key: "k" } },
    ],
    [
      { PROBITY_STORE_LOCK: "compliance", PROBITY_STORE_LOCK_FOR: "2d" },
      { lock: { mode: "compliance", periodMs: 172_800_000 } },
    ],
  ])("%j is %j", (variables, expected) => {
    expect(of(variables)).toEqual(expected);
  });

  it.each([
    [{ PROBITY_STORE_KMS_KEY: "k" }, 'encryption is not "kms"'],
    [{ PROBITY_STORE_LOCK: "governance" }, "wanted together"],
    [{ PROBITY_STORE_LOCK_FOR: "1d" }, "wanted together"],
    [{ PROBITY_STORE_URL: "file:///x", PROBITY_STORE_ENCRYPTION: "s3" }, "are for S3"],
  ])("%j is refused", (variables, reason) => {
    expect(() => of(variables)).toThrow(reason);
  });
});
