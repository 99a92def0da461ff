/** `GET /v1/files/history`: what happened to a file under all names that it had, with diffs. */
import { type } from "arktype";
import { formatTime } from "../../event/event.ts";
import type { SqlRow } from "../../storage/duckdb.ts";
import { JSON_TYPE, jsonResponse, readHeaders } from "../answer.ts";
import { scanOf } from "../executor.ts";
import { figuresOf, type FiguresParts } from "../figures-answer.ts";
import { FLAG, TEXT, TIME } from "../json-schema.ts";
import {
  type FileName,
  type HistoryRequest,
  type Move,
  MOVES_MAX,
  NAMES_MAX,
  namesOf,
  planHistory,
  planMoves,
} from "../planner/file-history.ts";
import { ProblemError } from "../problem.ts";
import {
  countOf,
  PAGE_ROWS,
  PAGE_ROWS_MAX,
  parseConditions,
  parseRangeRequest,
  single,
} from "../request.ts";
import type { Call, Route } from "../route.ts";
import { EVENT_SCHEMA, LIMIT_PARAMETERS, RANGE_PARAMETERS } from "../schemas.ts";

export function fileHistoryRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/files/history",
    summary: "Events of a file under all names that it had, with diffs",
    action: "read",
    parameters: [
      {
        name: "path",
        text: "Of the file, as it is; needed",
        schema: { type: "string" },
        example: "/etc/ssh/sshd_config",
      },
      { name: "host", text: "Of these hosts only", schema: { type: "string" } },
      ...RANGE_PARAMETERS,
      ...LIMIT_PARAMETERS.filter(({ name }) => name !== "cursor"),
    ],
    answers: { [JSON_TYPE]: HISTORY_SCHEMA },
    async handle(call) {
      const request = requestOf(call);
      using lease = acquire();
      const first = planMoves(request, call.principal, lease.view);
      const moves = (await figuresOf(executor, first, call)).map(moveOf);
      const { names, isCut } = namesOf(request.path, moves.slice(0, MOVES_MAX));
      const second = planHistory({ ...request, names }, call.principal, lease.view);
      const rows = await figuresOf(executor, second, call);
      const lines = rows.slice(0, request.limit).map(({ line }) => String(line));
      const head = JSON.stringify({
        path: request.path,
        from: formatTime(request.fromUs),
        to: formatTime(request.toUs),
        names: names.map((name) => nameOf(name, request)),
        names_cut: isCut || moves.length > MOVES_MAX,
        cut: rows.length > request.limit,
      });
      // Lines as they are: numbers of inodes may be larger than JavaScript's.
      const text = `${head.slice(0, -1)},"events":[${lines.join(",")}]}`;
      call.report({ rows: lines.length, bytes: Buffer.byteLength(text) + 1 });
      const scan = scanOf(
        new Set(
          [first, second].flatMap(({ steps }) => steps)
            .flatMap(({ files }) => files),
        ),
      );
      const { prunedFiles, missing } = second;
      return jsonResponse(text, readHeaders({ scan, prunedFiles, missing }));
    },
  };
}

function requestOf({ parameters, time }: Call): HistoryRequest & { readonly limit: number } {
  const path = single(parameters, "path");
  if (path === undefined || path === "") {
    throw new ProblemError(400, "The path of the file is missing", {
      parameter: "path",
      accepted: "the full path of a file: /etc/passwd",
    });
  }
  const order = single(parameters, "order") ?? "desc";
  if (order !== "asc" && order !== "desc") {
    throw new ProblemError(400, `The order "${order.slice(0, 100)}" is not known`, {
      parameter: "order",
      accepted: "asc or desc",
    });
  }
  // Every other parameter that is a column's is a condition; the path is meant as it is.
  const others = new Map([...parameters].filter(([name]) => name !== "path"));
  return {
    ...parseRangeRequest(others, time),
    conditions: parseConditions(others, time),
    limit: countOf("limit", single(parameters, "limit"), PAGE_ROWS_MAX) ?? PAGE_ROWS,
    order,
    path,
  };
}

function moveOf(row: SqlRow): Move {
  return {
    host: String(row["host"]),
    isLink: row["is_link"] === true,
    from: String(row["old_path"]),
    to: String(row["path"]),
    timeUs: Number(row["moved_us"]),
  };
}

/** A name with its time, as far as the range goes. */
function nameOf(
  { host, path, ...name }: FileName,
  range: HistoryRequest,
): Readonly<Record<string, string>> {
  const from = formatTime(Math.max(name.fromUs, range.fromUs));
  return { host, path, from, to: formatTime(Math.min(name.toUs, range.toUs)) };
}

const HISTORY_SCHEMA = type({
  path: TEXT,
  from: TIME,
  to: TIME,
  names: type({ host: TEXT, path: TEXT, from: TIME, to: TIME }).array()
    .describe(`other names that the file had, at most ${NAMES_MAX}, and when`),
  names_cut: FLAG.describe("whether there were more"),
  cut: FLAG.describe("whether there are more events"),
  events: EVENT_SCHEMA.array(),
});
