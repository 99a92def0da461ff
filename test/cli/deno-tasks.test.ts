/** The tasks of `deno.json`: each names permissions of its own, and none has all. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands.ts";
import { ROLES } from "../../src/cli/up/data-folder.ts";

const { tasks, permissions }: {
  readonly tasks: Readonly<Record<string, string>>;
  readonly permissions: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
} = JSON.parse(readFileSync(new URL("../../deno.json", import.meta.url), "utf8"));

describe("tasks of Deno", () => {
  it.each(Object.entries(tasks))("%s runs the command of its name", (name, line) => {
    expect(COMMANDS.map((command) => command.name)).toContain(name);
    expect(line).toMatch(new RegExp(` src/cli/main\\.ts ${name}$`));
    expect(line).not.toMatch(/ (-A|--allow-all)\b/);
    expect(permissions).toHaveProperty(/ -P=(\w+) src/.exec(line)?.[1] ?? "none");
  });

  it("name permissions for every child of up", () => {
    expect(tasks["up"]).toContain("PROBITY_CHILD_COMMAND='deno run -q -P={role}'");
    const commands = ROLES.map((role) => role === "query" ? "serve" : role);
    for (const command of commands) expect(permissions).toHaveProperty(command);
  });

  it("let only those call native code that need to", () => {
    const native = Object.entries(permissions).filter(([, { ffi }]) => ffi === true);
    expect(native.map(([name]) => name)).toEqual(["agent", "doctor", "rollup", "serve", "sql"]);
  });

  it("let none start whatever program it likes", () => {
    for (const { run } of Object.values(permissions)) {
      expect(run === undefined || Array.isArray(run)).toBe(true);
    }
  });
});
