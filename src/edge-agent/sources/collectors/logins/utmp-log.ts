/** wtmp and btmp as logs that are followed. */
import type { FollowedLog, ParsedLog } from "./followed-log.ts";
import { parseUtmp, UtmpError, type UtmpLayout, type UtmpRecord } from "./utmp.ts";

export function utmpLog(
  name: "wtmp" | "btmp",
  { path, layout }: { readonly path: string; readonly layout: UtmpLayout },
): FollowedLog<UtmpRecord> {
  const { recordBytes } = layout;
  return { name, path, recordBytes, parse: (bytes) => parseUtmpLog(bytes, layout) };
}

/** Whole records. */
export function parseUtmpLog(bytes: Uint8Array, layout: UtmpLayout): ParsedLog<UtmpRecord> {
  const entries: UtmpRecord[] = [];
  let unreadable = 0;
  for (let at = 0; at < bytes.length; at += layout.recordBytes) {
    try {
      entries.push(parseUtmp(bytes.subarray(at, at + layout.recordBytes), layout));
    } catch (error) {
      if (!(error instanceof UtmpError)) throw error;
      unreadable += 1;
    }
  }
  return { entries, unreadable };
}
