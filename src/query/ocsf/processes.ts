/** Processes and actors of OCSF: who did it, and whose child that was. */
import {
  digestOf,
  EXECUTABLE,
  fileOf,
  hashesOf,
  inodeFacts,
  sessionOf,
  UNKNOWN,
  userOf,
} from "./objects.ts";
import { isInteger, isRecord, isText, known, type Source, type Values } from "./fields.ts";

/** The process of the columns; undefined when they name none. */
export function processOf(source: Source): Values | undefined {
  const { columns, detail } = source;
  const ids = { pid: columns.integer("pid"), uid: columns.text("process_id") };
  if (known(ids) === undefined) return undefined;
  const ancestry = ancestryOf(detail.peek("ancestors"));
  if (ancestry !== undefined) detail.drop("ancestors");
  const gid = columns.integer("gid");
  const container = columns.text("container");
  return known({
    ...ids,
    name: columns.text("comm"),
    cmd_line: columns.text("cmdline"),
    working_directory: columns.text("cwd"),
    file: executable(columns.text("exe")),
    user: userOf(source),
    auid: columns.integer("auid"),
    euid: columns.integer("euid"),
    egid: detail.integer("egid"),
    group: gid === undefined ? undefined : { uid: String(gid) },
    session: sessionOf(source),
    container: container === undefined ? undefined : { uid: container },
    parent_process: parentOf(source, ancestry?.[0]),
    ancestry,
  });
}

/** The process with what `detail` tells of its image: that of an exec, or of its digest. */
export function executedOf(source: Source): Values | undefined {
  const process = processOf(source);
  if (process === undefined || !isRecord(process["file"])) return process;
  const { detail } = source;
  const facts = known({ ...inodeFacts(detail), hashes: hashesOf(digestOf(detail, "sha256")) });
  return {
    ...process,
    file: { ...process["file"], ...facts },
    ...environmentOf(source),
  };
}

/** Another process that `detail` names: the target of a trace or a signal. */
export function targetOf({ detail }: Source): Values | undefined {
  const ids = { pid: detail.integer("target_pid"), uid: detail.text("target_process_id") };
  const inside = detail.integer("target_pid_inside");
  if (known(ids) === undefined && inside === undefined) return undefined;
  return known({
    ...(known(ids) ?? { uid: UNKNOWN }),
    namespace_pid: inside,
    file: executable(detail.text("target_exe")),
  });
}

/** Who did it; undefined when nobody is known. */
export function actorOf(source: Source, process: Values | undefined): Values | undefined {
  return known({
    process,
    user: userOf(source),
    session: sessionOf(source),
  });
}

/** Who did it, in classes that require somebody. */
export function requiredActorOf(source: Source, process: Values | undefined): Values {
  return actorOf(source, process) ?? { app_name: UNKNOWN };
}

function executable(path: string | undefined): Values | undefined {
  return path === undefined ? undefined : fileOf(path, EXECUTABLE);
}

function parentOf({ columns }: Source, first: Values | undefined): Values | undefined {
  const parent = known({ pid: columns.integer("ppid"), uid: columns.text("parent_process_id") });
  const isFirst = first !== undefined && first["uid"] === parent?.["uid"];
  if (parent === undefined || !isFirst) return parent;
  const path = first["path"];
  return known({
    ...parent,
    name: first["name"],
    file: isText(path) ? executable(path) : undefined,
  });
}

/** Undefined when the list holds anything that a list of processes would lose. */
function ancestryOf(ancestors: unknown): readonly Values[] | undefined {
  if (!Array.isArray(ancestors) || ancestors.length === 0) return undefined;
  const all = ancestors.map(ancestorOf).filter((each) => each !== undefined);
  return all.length === ancestors.length ? all : undefined;
}

function ancestorOf(ancestor: unknown): Values | undefined {
  if (!isRecord(ancestor)) return undefined;
  const { pid, process_id: uid, exe, comm, ...others } = ancestor;
  const isWhole = isInteger(pid) && isText(uid) && Object.keys(others).length === 0 &&
    [exe, comm].every((text) => text === undefined || isText(text));
  return isWhole ? known({ pid, uid, name: comm, path: exe }) : undefined;
}

function environmentOf({ detail }: Source): Values {
  const variables = detail.peek("env");
  if (!isRecord(variables) || !Object.values(variables).every(isText)) return {};
  detail.drop("env");
  const list = Object.entries(variables).map(([name, value]) => ({ name, value }));
  return { environment_variables: list };
}
