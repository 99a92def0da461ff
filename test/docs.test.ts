/** The documents agree with the code: links lead somewhere, and tables that repeat a list of the code repeat it whole. */
import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../src/cli/commands.ts";
import { STRUCTURE_KEYS } from "../src/cli/config-structures.ts";
import { FILE_OPTIONS } from "../src/cli/file-options.ts";
import { flagOf, GLOBAL_OPTIONS, type OptionGroup } from "../src/cli/options.ts";
import { COLUMNS } from "../src/event/columns.ts";
import { HEADER } from "../src/event/wire.ts";
import { RULES } from "../src/producer/resend-rules.ts";
import { classOf } from "../src/query/ocsf/classes.ts";
import { TOPIC_MAPPINGS } from "../src/query/ocsf/topics.ts";
import { viewColumnsOf } from "../src/query/planner/topic-view.ts";
import { COMMON_KEYS, detailKeysOf } from "../src/query/sql/detail-keys.ts";
import { MACROS } from "../src/query/sql/macros.ts";
import { TOPIC_VIEWS } from "../src/query/sql/views.ts";
import { MAY_IMPORT } from "./architecture/layer-rules.ts";
import { readRepository } from "./architecture/repository.ts";

const files = await readRepository();
const documents = files.filter(({ path }) => path.endsWith(".md"));
const textOf = (path: string): string => files.find((each) => each.path === path)?.text ?? "";

describe("links", () => {
  const paths = new Set(files.flatMap(({ path }) => [path, ...foldersOf(path)]));

  it.each(documents.map(({ path }) => path))("of %s lead to files and headings", (path) => {
    const broken = linksOf(textOf(path)).filter((link) => {
      if (/^[a-z]+:/.test(link)) return false;
      const [file = "", heading] = link.split("#");
      const target = file === "" ? path : posix.join(posix.dirname(path), file);
      if (!paths.has(target.replace(/\/$/, ""))) return true;
      return heading !== undefined && !headingsOf(textOf(target)).includes(heading);
    });
    expect(broken).toEqual([]);
  });

  it("of README.md lead to every document", () => {
    const all = documents.map(({ path }) => path).filter((path) => path.startsWith("docs/"));
    expect(linksOf(textOf("README.md"))).toEqual(expect.arrayContaining(all));
  });

  it("that lead nowhere would be found", () => {
    expect(linksOf("see [a](b.md#c) and\n[d](../e), `[f](g)`")).toEqual(["b.md#c", "../e"]);
    expect(headingsOf("# A `b`, c\n\n## Don't\n\n```\n# no\n```")).toEqual(["a-b-c", "dont"]);
  });
});

describe("files that documents name", () => {
  it.each(documents.map(({ path }) => path).filter((path) => path !== "CHANGELOG.md"))(
    "in %s exist",
    (path) => {
      const named = [
        ...textOf(path).matchAll(/`((?:src|test|bpf|docs)\/[\w./-]+\.(?:ts|h|c|md))`/g),
      ]
        .flatMap(([, name]) => name ?? []);
      expect(named.filter((name) => textOf(name) === "")).toEqual([]);
    },
  );
});

describe("derived tables", () => {
  it("of columns: docs/formats.md", () => {
    const expected = COLUMNS.map(({ name, type, origin, text }, at) => [
      String(at + 1),
      `\`${name}\``,
      type,
      origin,
      text,
    ]);
    expect(tableOf("docs/formats.md", "columns")).toEqual(expected);
  });

  it("of headers: docs/formats.md", () => {
    const names = tableOf("docs/formats.md", "headers").map(([name]) => name);
    expect(names).toEqual(Object.values(HEADER).map((name) => `\`${name}\``));
  });

  it("of routes: docs/http.md", () => {
    const routes = files
      .filter(({ path }) => path.startsWith("src/query/routes/"))
      .flatMap(({ text }) =>
        [
          ...text.matchAll(/method: "([A-Z]+)",\s+path: "([^"]+)"/g),
        ].map(([, method, path]) => `\`${method} ${path}\``)
      );
    const named = tableOf("docs/http.md", "routes").map(([route = ""]) => route);
    expect(named.toSorted()).toEqual(routes.toSorted());
    expect(routes.length).toBeGreaterThan(8);
  });

  it("of topics in OCSF: docs/ocsf.md", () => {
    const expected = TOPIC_MAPPINGS.map(({ topic, eventClass, activities, other }) => {
      const { uid, name, activities: captions } = classOf(eventClass);
      const told = activities.map((id) =>
        `${id} ${captions[id]}${id === 99 && other !== undefined ? `: ${other}` : ""}`
      );
      return [`\`${topic}\``, `${uid} ${name}`, told.join(", ")];
    });
    expect(tableOf("docs/ocsf.md", "ocsf")).toEqual(expected);
  });

  it("of what agents put into detail: docs/formats.md and docs/file-integrity.md", () => {
    const said = ["docs/formats.md", "docs/file-integrity.md", "docs/http.md"].map(textOf).join();
    const missing = ["process", "file", "network", "account", "agent"].flatMap((topic) =>
      detailKeysOf(topic).map(({ name }) => name)
        .filter((name) => !new RegExp(`\`(detail\\.)?${name}[\`:]`).test(said))
        .map((name) => `${topic}: ${name}`)
    );
    expect(missing).toEqual([]);
  });

  it("of views and functions: docs/sql.md", () => {
    const expected = [...TOPIC_VIEWS].map(([view, topic]) => [
      `\`${view}\``,
      `\`${topic}\``,
      viewColumnsOf(topic)
        .filter(({ name }) => !COMMON_KEYS.some((each) => each.name === name))
        .map(({ column, type }) => type === "text" ? `\`${column}\`` : `\`${column}\` ${type}`)
        .join(", "),
    ]);
    expect(tableOf("docs/sql.md", "views")).toEqual(expected);
    expect(tableOf("docs/sql.md", "macros")).toEqual(
      MACROS.map(({ name, parameters, text }) => [`\`${name}(${parameters.join(", ")})\``, text]),
    );
  });

  it("of commands: README.md", () => {
    const named = tableOf("README.md", "commands")
      .map(([line = ""]) => /^`probity ([a-z]+(?:[ -][a-z]+)*)/.exec(line)?.[1]);
    expect(named.toSorted()).toEqual(COMMANDS.map(({ name }) => name).toSorted());
  });

  it("of options: docs/configuration.md", () => {
    const path = "docs/configuration.md";
    expect(tableOf(path, "global-options")).toEqual(optionRows({ GLOBAL_OPTIONS }));
    expect(tableOf(path, "file-options")).toEqual(optionRows(FILE_OPTIONS));
    const structures = Object.values(STRUCTURE_KEYS).map(({ path: keys, form }) => [
      `\`${keys.join(".")}\``,
      form,
    ]);
    expect(tableOf(path, "structures")).toEqual(structures);
  });

  it.each(Object.entries(RULES))("of the sender's %s rules: docs/acceptance.md", (name, rules) => {
    const named = tableOf("docs/acceptance.md", name).map(([rule]) => rule);
    expect(named).toEqual([...rules].map((rule) => rule.name));
  });

  it("of imports: ARCHITECTURE.md", () => {
    const rows = tableOf("ARCHITECTURE.md", "import-table")
      .map(([folder, others]) => [folder, others]);
    const expected = Object.entries(MAY_IMPORT)
      .map(([folder, others]) => [folder, others.join(", ") || "nothing of ours"]);
    expect(rows).toEqual(expected);
  });
});

function optionRows(groups: Readonly<Record<string, OptionGroup>>): string[][] {
  return Object.values(groups).flatMap((group) =>
    Object.values(group).map((option) => {
      const flags = [option.short ?? [], flagOf(option)].flat().map((flag) => `\`${flag}\``);
      const fallback = option.default === undefined ? "" : `\`${option.default}\``;
      return [`\`${option.key}\``, flags.join(", "), fallback, option.text];
    })
  );
}

/** Cells of the table after a marker, without its heading. */
function tableOf(path: string, name: string): string[][] {
  const [, after = ""] = textOf(path).split(`<!-- derived: ${name} -->`);
  const lines = after.trimStart().split("\n");
  const end = lines.findIndex((line) => !line.startsWith("|"));
  return lines.slice(2, end < 0 ? undefined : end)
    .map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
}

function linksOf(text: string): string[] {
  const prose = text.replaceAll(/```[\s\S]*?```/g, "").replaceAll(/`[^`]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link]) => link ?? []);
}

/** Names of headings as GitHub makes them. */
function headingsOf(text: string): string[] {
  const prose = text.replaceAll(/```[\s\S]*?```/g, "");
  return [...prose.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-")
  );
}

function foldersOf(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, at) => parts.slice(0, at + 1).join("/"));
}
