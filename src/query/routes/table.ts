/** `/v1/table`: what the table in the bucket is made of, and what its last versions did. No data file is read for it. */
import { type } from "arktype";
import { JSON_TYPE, jsonAnswer } from "../answer.ts";
import { DATE, FLAG, TEXT, TIME, WHOLE } from "../json-schema.ts";
import { countOf, single } from "../request.ts";
import type { Route } from "../route.ts";
import { readHistory, type VersionSummary } from "../../storage/delta-history.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import type { TableSnapshot } from "../../storage/table.ts";
import { summarizeTable } from "../../storage/table-summary.ts";

export interface TableParts {
  readonly store: ObjectStore;
  /** The version in use. */
  readonly current: () => TableSnapshot;
}

/** Versions of a history unless told, and at most. */
const HISTORY_VERSIONS = 20;
const HISTORY_VERSIONS_MAX = 1_000;

const TABLE_SCHEMA = type({
  version: WHOLE.describe("-1 while there is no table yet"),
  ...{ files: WHOLE, rows: WHOLE, bytes: WHOLE, days: WHOLE },
  "first_day?": DATE,
  "last_day?": DATE,
  shards: type({ shard: TEXT, incarnation: TEXT, sequence: WHOLE, version: WHOLE }).array(),
});

const VERSION_SCHEMA = type({
  version: WHOLE,
  "time?": TIME,
  "operation?": TEXT,
  "shard?": TEXT,
  files_added: WHOLE,
  files_removed: WHOLE,
  rows_added: WHOLE,
  bytes_added: WHOLE,
  schema_changed: FLAG,
});

export function tableRoutes({ store, current }: TableParts): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/table",
      summary: "Version, files, rows and sizes of the table, and how far each shard is",
      action: "operate",
      answers: { [JSON_TYPE]: TABLE_SCHEMA },
      handle: () => Promise.resolve(jsonAnswer(summarizeTable(current()))),
    },
    {
      method: "GET",
      path: "/v1/table/history",
      summary: "What each of the last versions of the table did, newest first",
      action: "operate",
      parameters: [{
        name: "limit",
        text: "At most so many versions",
        schema: {
          type: "integer",
          minimum: 1,
          maximum: HISTORY_VERSIONS_MAX,
          default: HISTORY_VERSIONS,
        },
      }],
      answers: {
        [JSON_TYPE]: type({ versions: VERSION_SCHEMA.array() }),
      },
      async handle({ parameters, signal }) {
        const limit = countOf("limit", single(parameters, "limit"), HISTORY_VERSIONS_MAX);
        const versions = await readHistory(store, {
          upTo: current().version,
          count: limit ?? HISTORY_VERSIONS,
          signal,
        });
        return jsonAnswer({ versions: versions.map(describeVersion) });
      },
    },
  ];
}

function describeVersion(summary: VersionSummary): unknown {
  const { version, timeMs, operation, shard } = summary;
  return {
    version,
    ...(timeMs === undefined ? {} : { time: new Date(timeMs).toISOString() }),
    operation,
    shard,
    files_added: summary.filesAdded,
    files_removed: summary.filesRemoved,
    rows_added: summary.rowsAdded,
    bytes_added: summary.bytesAdded,
    schema_changed: summary.changesSchema,
  };
}
