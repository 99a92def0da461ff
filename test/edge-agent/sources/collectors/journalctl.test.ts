import { expect, it } from "vitest";
import {
  askJournal,
  JournalError,
} from "../../../../src/edge-agent/sources/collectors/logins/journalctl.ts";

const never = new AbortController().signal;
const ask = (script: string, signal = never) => askJournal(["sh", "-c", script], [], signal);

it("cuts an answer at its bound to whole lines, whoever holds the output open, and says why there is none", async () => {
  const { lines, hasMore } = await ask("yes 0123456789; true");
  expect(hasMore).toBe(true);
  expect(new Set(lines)).toEqual(new Set(["0123456789"]));
  expect(await ask("echo one; printf half")).toEqual({ lines: ["one"], hasMore: false });
  await expect(ask("echo one; echo why >&2; exit 3")).rejects.toThrow(
    new JournalError("Cannot read the journal: why"),
  );
  await expect(askJournal(["/nonexistent/journalctl"], [], never)).rejects.toThrow(
    new JournalError("Cannot read the journal: there is no journalctl"),
  );
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  await expect(ask("sleep 5", abort.signal)).rejects.toThrow("aborted");
});
