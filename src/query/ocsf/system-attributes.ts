/** What events of the category System have beside the base: processes, files, the kernel, the log itself. */
import { isRecord, known, type Source, type Values } from "./fields.ts";
import {
  digestOf,
  fileOf,
  fileTypeOf,
  hashesOf,
  inodeFacts,
  remoteEndpoint,
  timeOf,
  UNKNOWN,
} from "./objects.ts";
import { actorOf, executedOf, processOf, requiredActorOf, targetOf } from "./processes.ts";

export interface Subject {
  readonly source: Source;
  readonly topic: string;
  readonly activity: number;
}

const LAUNCH_TYPES: Readonly<Record<string, Values>> = {
  "process/fork": { launch_type_id: 2, launch_type: "Fork" },
  "process/exec": { launch_type_id: 3, launch_type: "Exec" },
};

/** The actor of a launch is the parent; of what is done to another process, who did it; else the process itself. */
export function processAttributes({ source, topic, activity }: Subject): Values {
  const { detail } = source;
  switch (topic) {
    case "process/exec":
    case "process/fork": {
      const process = executedOf(source);
      const parent = process?.["parent_process"];
      return {
        ...LAUNCH_TYPES[topic],
        process: process ?? { uid: UNKNOWN },
        actor: requiredActorOf(source, isRecord(parent) ? parent : undefined),
      };
    }
    case "process/ptrace":
    case "process/signal": {
      const process = processOf(source);
      const target = detail.peek("how") === "traceme" ? process : targetOf(source);
      return {
        ...(activity === 4 ? { injection_type_id: 99, injection_type: detail.text("how") } : {}),
        process: target ?? { uid: UNKNOWN },
        actor: requiredActorOf(source, process),
      };
    }
    default: {
      const process = topic === "process/hash" ? executedOf(source) : processOf(source);
      return {
        exit_code: topic === "process/exit" ? detail.integer("exit_code") : undefined,
        process: process ?? { uid: UNKNOWN },
        actor: requiredActorOf(source, process),
      };
    }
  }
}

/** `file` is what was there before, `file_result` what is there now; where nothing differs, the first alone. */
export function fileAttributes({ source }: Subject): Values {
  const { columns, detail } = source;
  const [path, old] = [columns.text("path"), columns.text("old_path")];
  const [before, after] = [digestOf(detail, "sha256_before"), digestOf(detail, "sha256_after")];
  const type = fileTypeOf(detail);
  const facts = { ...type, ...inodeFacts(detail), product: packageOf(source) };
  const hasResult = after !== undefined || old !== undefined && path !== undefined;
  return {
    file: fileOf(old ?? path, { ...(hasResult ? type : facts), hashes: hashesOf(before) }),
    file_result: hasResult ? fileOf(path, { ...facts, hashes: hashesOf(after) }) : undefined,
    file_diff: detail.text("diff"),
    actor: requiredActorOf(source, processOf(source)),
  };
}

function packageOf({ detail }: Source): Values | undefined {
  const name = detail.text("package");
  return name === undefined ? undefined : known({ name, version: detail.text("version") });
}

export function kernelExtensionAttributes({ source }: Subject): Values {
  const { columns, detail } = source;
  const path = columns.text("path");
  const file = fileOf(
    path,
    path === undefined ? { type_id: 0 } : { type_id: 1, type: "Regular File" },
  );
  const name = detail.text("name");
  return {
    driver: { file: name === undefined ? file : { ...file, name } },
    actor: requiredActorOf(source, processOf(source)),
  };
}

const KERNEL_RESOURCES: Readonly<Record<string, string>> = {
  "kernel/bpf": "bpf",
  "kernel/uring": "io_uring",
};

export function kernelAttributes({ source, topic }: Subject): Values {
  const name = KERNEL_RESOURCES[topic] ?? UNKNOWN;
  return {
    kernel: { name, type_id: 2, type: "System Call" },
    actor: requiredActorOf(source, processOf(source)),
  };
}

/** The log that all events are in. */
export const LOG_NAME = "probity";

export function eventLogAttributes({ source }: Subject): Values {
  const { columns, detail } = source;
  const [from, to] = [timeOf(detail, "from"), timeOf(detail, "to")];
  return {
    log_name: LOG_NAME,
    log_provider: columns.text("service") ?? LOG_NAME,
    start_time: from.millis,
    start_time_dt: from.text,
    end_time: to.millis,
    end_time_dt: to.text,
    src_endpoint: remoteEndpoint(source),
    actor: actorOf(source, processOf(source)),
  };
}
