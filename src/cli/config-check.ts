/** `config check`: reads the configuration as the other commands would, and says what is wrong or what holds. */
import { defineCommand } from "./command.ts";
import { EXIT, usageError } from "./exit.ts";
import { FILE_OPTIONS } from "./file-options.ts";
import { GLOBAL_OPTIONS, type OptionGroups, OTHER_VARIABLES, variableOf } from "./options.ts";
import { resolveSettings } from "./settings.ts";

const GROUPS: OptionGroups = FILE_OPTIONS;

export const configCheckCommand = defineCommand({
  name: "config check",
  summary: "check a configuration file and show which value holds and why",
  arguments: [{
    name: "file",
    text: "configuration file; default: --config",
    isRequired: false,
    isFile: true,
  }],
  examples: [["probity config check probity.toml", "names every wrong key with its line"]],
  options: {},
  run: async ({ arguments: [path], global, environment, output }) => {
    const file = path ?? global.config;
    if (file === undefined) {
      throw usageError("Cannot check a configuration: neither an argument nor --config names one");
    }
    const { readConfigFile } = await import("./config-file.ts");
    const config = readConfigFile(file);
    const givens = { flags: new Map<string, string>(), environment, file: config };
    const { settings, sourceOf } = resolveSettings(GROUPS, givens);
    const rows = Object.entries(GROUPS).flatMap(([section, group]) =>
      Object.entries(group).map(([name, option]) => ({
        key: option.key,
        value: settings[section]?.[name],
        source: sourceOf(option),
        line: config.lines.get(option.key),
      }))
    );
    for (const name of unknownVariables(environment)) {
      output.notice(`warning: the variable ${name} is no option of probity`);
    }
    if (output.isForPeople) {
      await output.table(
        [{ name: "key" }, { name: "value" }, { name: "from" }],
        rows.map(({ key, value, source, line }) => [
          key,
          value === undefined ? "" : JSON.stringify(value),
          source === "default"
            ? source
            : output.paint("green", source === "file" ? `line ${line}` : source),
        ]),
      );
    } else for (const row of rows) await output.json(row);
    output.notice(`${file}: ok`);
    return EXIT.ok;
  },
});

function unknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const groups = [GLOBAL_OPTIONS, ...Object.values(GROUPS)];
  const known = groups.flatMap((group) => Object.values(group).map(variableOf));
  return Object.keys(environment).filter((name) =>
    name.startsWith("PROBITY_") && !known.includes(name) && !OTHER_VARIABLES.includes(name)
  );
}
