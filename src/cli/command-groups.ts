/** What groups of commands are for: words before a command's last that are no command themselves. */

const SUMMARIES: Readonly<Record<string, string>> = {
  subscription: "places in the record that last: make, read on, skip, remove",
  sink: "where the service sends events on, and how far each is",
  token: "access for people and programs: create, list, revoke",
  context: "other servers by name",
  table: "the archive's table: its state, its upkeep, and legal holds",
  config: "the configuration file",
};

/** One line without a final period. */
export function groupSummaryOf(word: string): string {
  return SUMMARIES[word] ?? `commands of ${word}`;
}
