/** Makes a report: plans and runs what its kind needs, and joins it with coverage and evidence. */
import type { Executor } from "../executor.ts";
import {
  coverHost,
  type HostCoverage,
  type Shortfall,
  shortfallsOf,
} from "../coverage/host-coverage.ts";
import { type ReadCoverage, readCoverage, seesAgents } from "../coverage/read-coverage.ts";
import { figuresOf } from "../figures-answer.ts";
import {
  planBatches,
  planCryptoUses,
  planReportCounts,
  planReportEvents,
} from "../planner/reports.ts";
import type { EventsRequest, Plan } from "../planner.ts";
import type { ReadView } from "../read-view.ts";
import type { Call } from "../route.ts";
import { JUDGED_KEYS } from "../../event/crypto/names.ts";
import {
  type CryptoUse,
  findCrypto,
  judgedOf,
  meaningOf,
  summarizeFindings,
} from "./crypto-findings.ts";
import {
  CRYPTO_REPORT,
  GAPS_REPORT,
  REPORT_KINDS,
  type ReportKind,
  type ReportName,
} from "./kinds.ts";
import {
  batchTable,
  evidenceOf,
  lossTable,
  type Missing,
  type Report,
  type ReportTable,
  shortfallTable,
  tableOf,
} from "./report.ts";
import type { SqlRow } from "../../storage/duckdb.ts";
import { type DeletionReader, type Deletions, goneOfAgents, retainedFromUs } from "./deletions.ts";
import { hiddenTopics, seesHost } from "./sight.ts";

/** A report misses hosts that were heard of so long before its range: 30 days, µs. */
const HOSTS_LOOK_BACK_US = 30 * 86_400_000_000;

export interface ReadReport {
  readonly report: Report;
  readonly plans: readonly Plan[];
  /** Whether rows were left out, or not all gaps were read. */
  readonly isCut: boolean;
}

export interface ReportRead {
  readonly name: ReportName;
  /** Its range, and its conditions on `host`. */
  readonly request: EventsRequest;
  readonly executor: Executor;
  readonly view: ReadView;
  /** What retention and others removed. */
  readonly deletions: DeletionReader;
}

/** What a kind tells, before coverage and evidence. */
interface Body {
  readonly title: string;
  readonly topics: readonly string[];
  /** Undefined: all sources are concerned. */
  readonly sources: ReportKind["sources"] | undefined;
  readonly nothing: string;
  /** One sentence for when nothing is seen, though there may be something. */
  readonly unseen: string;
  readonly tables: readonly ReportTable[];
  readonly isEmpty: boolean;
  /** What makes tables less than they seem, in sentences; nothing when left out. */
  readonly limits?: readonly string[];
}

export async function readReport(call: Call, read: ReportRead): Promise<ReadReport> {
  const { request, executor, view, name } = read;
  const plans: Plan[] = [];
  const rowsOf = (plan: Plan): Promise<SqlRow[]> => {
    plans.push(plan);
    return figuresOf(executor, plan, call);
  };
  const { nowUs } = call.time;
  const { signal } = call;
  const removed = await read.deletions.read({ nowUs, upTo: view.version, signal });
  const deletions = removed === "behind" ? undefined : removed;
  const coverage = await readCoverage(call, {
    ...{ request, executor, view, lookBackUs: HOSTS_LOOK_BACK_US },
    goneOf: goneOfAgents(deletions),
  });
  plans.push(...coverage.plans);
  const batchRows = await rowsOf(planBatches(request, call.principal, view));
  const hosts = coveredHosts(request, { coverage, rows: batchRows, call });
  const gaps = hosts.flatMap((each) => each.gaps);
  const body = name === "gaps" ? gapsBody(hosts) : name === "crypto"
    ? cryptoBody({
      judged: await rowsOf(planCryptoUses(request, call.principal, { view, keys: JUDGED_KEYS })),
      rows: await rowsOf(planCryptoUses(request, call.principal, { view })),
    })
    : await kindBody(REPORT_KINDS[name], { call, read, rowsOf });
  // Of a range of which nothing is kept no host is known either.
  const concerned = hosts.length > 0 ? hosts : [{ host: "*", range: coverage.range }];
  const deleted = concerned.flatMap((host) => deletedOf(host, body.topics, deletions));
  const shortfalls = [...deleted, ...hosts.flatMap((host) => missingOf(host, body))];
  const batches = batchTable(batchRows, gaps);
  const tables = [...body.tables, shortfallTable(shortfalls), batches];
  const isNothing = name === "gaps" ? shortfalls.length === 0 : body.isEmpty;
  const { scopes } = call.principal;
  const { limits = [] } = body;
  const isCut = coverage.isCut || limits.length > 0 ||
    tables.some(({ rows, total }) => rows.length < total);
  const isWhole = !isCut && deleted.length === 0 && view.missing.length === 0;
  const isSeen = hiddenTopics(body.topics, scopes).length === 0 &&
    hosts.length > 0 && hosts.every(({ host }) => seesHost(scopes, host));
  const isEmpty = isNothing && isWhole && isSeen;
  const isWatched = shortfalls.length === 0 && !coverage.isCut && hosts.length > 0 &&
    seesAgents(call.principal);
  return {
    ...{ plans, isCut },
    report: {
      ...{ name, title: body.title, fromUs: request.fromUs, toUs: request.toUs },
      hosts: hosts.map(({ host }) => host),
      sees: { topics: scopes.topics, hosts: scopes.hosts },
      ...{ isEmpty, isNothing, isWatched, isWhole, tables },
      statements: [
        ...(isEmpty ? [body.nothing] : isNothing ? [body.unseen] : []),
        ...watchedStatements({ isEmpty, isWatched, hosts: hosts.length }),
        ...(deleted.length === 0 ? [] : [OUT_OF_RETENTION]),
        ...sightStatements(call, body),
        ...limits,
        ...limitStatements({ coverage, request, call, tables, missing: view.missing }),
      ],
      evidence: evidenceOf(batches),
    },
  };
}

async function kindBody(
  kind: ReportKind,
  { call, read, rowsOf }: {
    readonly call: Call;
    readonly read: ReportRead;
    readonly rowsOf: (plan: Plan) => Promise<SqlRow[]>;
  },
): Promise<Body> {
  const { request, view } = read;
  const { principal } = call;
  const counts = await rowsOf(planReportCounts(request, principal, { view, kind }));
  const events = counts.length === 0
    ? []
    : await rowsOf(planReportEvents(request, principal, { view, kind }));
  const { columns } = kind;
  const counted = columns.filter(({ name }) => kind.counted.includes(name));
  return {
    ...{ ...kind, unseen: NO_EVENT },
    topics: kind.withGains === true ? [...kind.topics, "process/exec"] : kind.topics,
    tables: [
      tableOf({
        ...{ name: "counts", title: `${kind.title}: counts` },
        columns: [HOST, ...counted, ...COUNTS],
      }, counts),
      tableOf({
        ...{ name: "events", title: `${kind.title}: events` },
        columns: [{ name: "time", title: "Time" }, HOST, ...columns, {
          name: "id",
          title: "Event",
        }],
      }, events),
    ],
    isEmpty: counts.length === 0,
  };
}

const OUT_OF_RETENTION =
  "A part of the range is out of retention, or was removed from the table: what is listed as deleted may have happened and is gone.";
const NO_EVENT = "No event of this kind is visible.";
const HOST = { name: "host", title: "Host" } as const;
const COUNTS = [
  { name: "count", title: "Count" },
  { name: "first", title: "First" },
  { name: "last", title: "Last" },
] as const;

function cryptoBody(
  { judged, rows }: { readonly judged: readonly SqlRow[]; readonly rows: readonly SqlRow[] },
): Body {
  const uses = rows.map(useOf);
  const unjudged = judgedOf(judged.length, Number(judged[0]?.["total"] ?? 0));
  const findings = findCrypto(judged.map(useOf)).map((each) => ({ ...each }));
  const summary = rows.length === 0 ? [] : summarizeFindings(findings).map((each) => ({ ...each }));
  const who = [
    ...[HOST, { name: "exe", title: "Program" }, { name: "library", title: "Library" }],
    { name: "build_id", title: "Build id" },
  ];
  const value = [{ name: "value", title: "Value" }, { name: "meaning", title: "Meaning" }];
  const processes = { name: "processes", title: "Processes" };
  return {
    ...{ ...CRYPTO_REPORT, unseen: NO_EVENT },
    tables: [
      tableOf({
        ...{ name: "summary", title: "What should end, at a glance" },
        columns: [
          ...[{ name: "finding", title: "Finding" }, { name: "hosts", title: "Hosts" }],
          ...[{ name: "programs", title: "Programs" }, { name: "count", title: "Count" }],
        ],
      }, summary.map((each) => ({ ...each, total: summary.length }))),
      tableOf({
        ...{ name: "findings", title: "Uses that should end" },
        columns: [{ name: "finding", title: "Finding" }, ...who, ...value, processes, ...COUNTS],
      }, findings.map((each) => ({ ...each, total: findings.length }))),
      tableOf({
        ...{ name: "uses", title: "What was used" },
        columns: [...who, { name: "key", title: "Key" }, ...value, processes, ...COUNTS],
      }, uses.map((each) => ({ ...each, total: rows[0]?.["total"] ?? 0 }))),
    ],
    isEmpty: rows.length === 0,
    limits: unjudged === undefined ? [] : [unjudged],
  };
}

function useOf(row: SqlRow): CryptoUse {
  const text = (name: string): string => String(row[name] ?? "");
  return {
    ...{ host: text("host"), exe: text("exe"), library: text("library") },
    ...{ build_id: text("build_id"), key: text("key"), value: text("value") },
    meaning: meaningOf(text("key"), text("value")),
    ...{ processes: Number(row["processes"]), count: Number(row["count"]) },
    ...{ first: text("first"), last: text("last") },
  };
}

function gapsBody(hosts: readonly HostCoverage[]): Body {
  const losses = lossTable(hosts.flatMap(({ gaps }) => gaps));
  return {
    ...{ ...GAPS_REPORT, unseen: "No gap is visible." },
    sources: undefined,
    tables: [losses],
    isEmpty: true,
  };
}

/**
 * Hosts that told anything, that were heard of, or that are asked for by their whole name. Who does not see all that
 * agents say of themselves could be shown a sign without the gap beside it: to them coverage is unknown.
 */
function coveredHosts(
  { conditions }: EventsRequest,
  { coverage, rows, call }: {
    readonly coverage: ReadCoverage;
    readonly rows: readonly SqlRow[];
    readonly call: Call;
  },
): readonly HostCoverage[] {
  const asked = conditions.filter(({ isNegated }) => !isNegated).flatMap(({ matches }) =>
    matches.flatMap((match) => match.kind === "equal" ? [String(match.value)] : [])
  );
  const sent = rows.flatMap(({ host }) => typeof host === "string" ? [host] : []);
  const names = [...new Set([...coverage.hosts.keys(), ...sent, ...asked])].toSorted();
  const known = seesAgents(call.principal) ? coverage.hosts : undefined;
  return names.map((host) =>
    known?.get(host) ?? coverHost(host, { signs: [], gaps: [], range: coverage.range })
  );
}

/**
 * What a host lacks of what the report is about. Events that came by another way, as from an application, do not make up
 * for a source: nobody knows whether all came.
 */
function missingOf(host: HostCoverage, { sources }: Body): readonly Shortfall[] {
  // What is deleted is told by topic, with the rule or tool that took it.
  const all = shortfallsOf(host).filter(({ cause }) => cause !== "deleted");
  if (sources === undefined) return all;
  const concerned = all.filter((each) =>
    each.sources.length === 0 || each.sources.some((name) => Object.hasOwn(sources, name))
  );
  if (host.sources.length === 0) return concerned;
  const { fromUs, toUs } = host.range;
  const absent = Object.entries(sources).filter(([name]) =>
    !host.sources.some(({ source }) => source === name)
  );
  return [
    ...absent.map(([name, topics]): Shortfall => ({
      ...{ host: host.host, fromUs, toUs, sources: [name], state: "unwatched", cause: "off" },
      reason: `this host's agent has no such source: nobody watches ${topics.join(", ")}`,
      count: undefined,
    })),
    ...concerned,
  ];
}

/** What is gone of what a report is about, or of what says that something was missed. */
function deletedOf(
  { host, range }: Pick<HostCoverage, "host" | "range">,
  topics: readonly string[],
  deletions: Deletions | undefined,
): readonly Missing[] {
  const { fromUs, toUs } = range;
  const lost = { host, fromUs, sources: [], state: "unknown", count: undefined } as const;
  if (deletions === undefined) {
    const reason = "it cannot be told what was deleted";
    return [{ ...lost, toUs, cause: "deleted", reason }];
  }
  const retained = [...new Set([...topics, "agent"])].flatMap((topic): Missing[] => {
    const untilUs = Math.min(toUs, retainedFromUs(deletions, { topic, host }));
    const reason = `events of ${topic} are not kept for so long`;
    return untilUs <= fromUs ? [] : [{ ...lost, toUs: untilUs, cause: "deleted", reason }];
  });
  const reason = "another tool removed events of this time from the table";
  const byOthers = deletions.spans.filter((each) => each.fromUs < toUs && each.toUs > fromUs)
    .map((each): Missing => ({
      ...{ ...lost, cause: "deleted", reason },
      fromUs: Math.max(each.fromUs, fromUs),
      toUs: Math.min(each.toUs, toUs),
    }));
  return [...retained, ...byOthers];
}

function watchedStatements(
  { isEmpty, isWatched, hosts }: {
    readonly isEmpty: boolean;
    readonly isWatched: boolean;
    readonly hosts: number;
  },
): string[] {
  if (hosts === 0) return ["No host is known in this range: nothing was watched."];
  if (isWatched) return ["All hosts were watched for this all the time."];
  return [
    isEmpty
      ? "That holds only as far as it was watched: the gaps are listed below."
      : "Not all of it was watched: the gaps are listed below.",
  ];
}

function sightStatements({ principal }: Call, { topics }: Body): string[] {
  const { scopes } = principal;
  const hidden = hiddenTopics(topics, scopes);
  return [
    ...(hidden.length === 0
      ? []
      : [`The token does not see all events of ${hidden.join(", ")}: they may be missing here.`]),
    ...(seesAgents(principal)
      ? []
      : ["The token does not see what agents say of themselves: gaps are not known here."]),
    ...(scopes.hosts === "all" ? [] : ["The token does not see all hosts."]),
  ];
}

function limitStatements(
  { coverage, request, call, tables, missing }: {
    readonly coverage: ReadCoverage;
    readonly request: EventsRequest;
    readonly call: Call;
    readonly tables: readonly ReportTable[];
    readonly missing: readonly string[];
  },
): string[] {
  return [
    ...tables.filter(({ rows, total }) => rows.length < total).map(({ title, rows, total }) =>
      `"${title}" has ${total} rows, of which the first ${rows.length} are given.`
    ),
    ...(coverage.isCut ? ["Not all gaps could be read: a shorter range has them."] : []),
    ...missing.map((each) => `A part of the record could not be searched: ${each}.`),
    ...(request.toUs > call.time.nowUs ? ["The range had not ended when this was made."] : []),
  ];
}
