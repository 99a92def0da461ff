/** Which activity of its class an event is, where its topic alone does not say. Undefined: the usual one of the topic. */
import type { Source } from "./fields.ts";

export type ActivityChoice = (source: Source) => number | undefined;

/** errno(3), as Linux numbers them. */
const ECONNRESET = 104;
const ECONNREFUSED = 111;
/** Signals that ask for the end of a process: SIGKILL and SIGTERM. */
const ENDING_SIGNALS: readonly unknown[] = [9, 15];

export const fileChange: ActivityChoice = ({ detail }) => {
  switch (detail.peek("how")) {
    case "create":
    case "link":
      return 1;
    case "delete":
      return 4;
    case "rename":
    case "exchange":
      return 5;
    default:
      return undefined;
  }
};

/** Mode and owner are what guards a file. */
export const fileAttribute: ActivityChoice = ({ detail }) => {
  const changed = detail.peek("changed");
  const isGuard = Array.isArray(changed) &&
    changed.some((each) => each === "mode" || each === "owner");
  return isGuard ? 7 : undefined;
};

export const mount: ActivityChoice = ({ detail }) =>
  /^u(n)?mount$/.test(detail.peekText("how")) ? 13 : undefined;

export const kernelModule: ActivityChoice = ({ detail }) =>
  /^(unload|delete_module)$/.test(detail.peekText("how")) ? 2 : undefined;

export const beginning: ActivityChoice = ({ columns }) => {
  if (columns.peek("outcome") !== "failure") return undefined;
  return columns.peek("errno") === ECONNREFUSED ? 5 : 4;
};

export const ending: ActivityChoice = ({ columns }) =>
  columns.peek("outcome") === "failure" && columns.peek("errno") === ECONNRESET ? 3 : undefined;

export const tracing: ActivityChoice = ({ detail }) =>
  detail.peek("how") === "process_vm_writev" ? 4 : undefined;

export const signalling: ActivityChoice = ({ detail }) =>
  ENDING_SIGNALS.includes(detail.peek("signal")) ? 2 : undefined;

export const userChange: ActivityChoice = ({ detail }) =>
  detail.peek("what") === "user/password" ? 3 : undefined;

export const groupChange: ActivityChoice = ({ detail }) => {
  const { came, went } = membersChanged(detail.peek("before"), detail.peek("after"));
  if (detail.peek("what") !== "group/members" || came.length > 0 === went.length > 0) {
    return undefined;
  }
  return came.length > 0 ? 3 : 4;
};

/** Who came into a group, and who left it: lists of names as group(5) has them. */
export function membersChanged(
  before: unknown,
  after: unknown,
): { readonly came: readonly string[]; readonly went: readonly string[] } {
  const [old, now] = [membersOf(before), membersOf(after)];
  return {
    came: now.filter((name) => !old.includes(name)),
    went: old.filter((name) => !now.includes(name)),
  };
}

function membersOf(list: unknown): readonly string[] {
  return typeof list === "string" ? list.split(",").filter((name) => name !== "") : [];
}

const METHODS: Readonly<Record<string, number>> = { POST: 1, PUT: 3, DELETE: 4 };

/** By the method of the route; what nobody asked for by a route is something else. */
export const administration: ActivityChoice = ({ detail }) => {
  const [method = ""] = detail.peekText("route").split(" ");
  return Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
};
