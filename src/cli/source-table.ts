/** Sources of events as rows for people: on and how, or off, why, and what would turn it on. */
import type { SourceReport } from "./up/announcement.ts";
import type { Output } from "./output.ts";

export function printSources(sources: readonly SourceReport[], output: Output): Promise<void> {
  return output.table(
    [{ name: "source" }, { name: "state" }, { name: "how" }],
    sources.map((source) =>
      source.state === "on"
        ? [source.name, output.paint("green", "on"), source.how]
        : [source.name, output.paint("yellow", "off"), `${source.reason}; ${source.remedy}`]
    ),
  );
}
