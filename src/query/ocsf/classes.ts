/**
 * The event classes of OCSF 1.8 that events are told as, with the activities in use. Numbers and captions are the
 * schema's (https://schema.ocsf.io/1.8.0); everything else here is derived from this table.
 */

/** Version of the schema, for `metadata.version`. */
export const OCSF_VERSION = "1.8.0";

/** An activity that the schema does not know: `activity_name` then says which. */
export const OTHER = 99;

interface Category {
  readonly uid: number;
  readonly name: string;
}

export interface EventClass {
  readonly uid: number;
  readonly name: string;
  readonly category: Category;
  /** Captions by `activity_id`. */
  readonly activities: Readonly<Record<number, string>>;
}

const UNCATEGORIZED: Category = { uid: 0, name: "Uncategorized" };
const SYSTEM: Category = { uid: 1, name: "System Activity" };
const IDENTITY: Category = { uid: 3, name: "Identity & Access Management" };
const NETWORK: Category = { uid: 4, name: "Network Activity" };
const APPLICATION: Category = { uid: 6, name: "Application Activity" };

export const CLASSES = {
  base: { uid: 0, name: "Base Event", category: UNCATEGORIZED, activities: { 99: "Other" } },
  file: {
    uid: 1001,
    name: "File System Activity",
    category: SYSTEM,
    activities: {
      1: "Create",
      3: "Update",
      4: "Delete",
      5: "Rename",
      6: "Set Attributes",
      7: "Set Security",
      12: "Mount",
      13: "Unmount",
    },
  },
  kernelExtension: {
    uid: 1002,
    name: "Kernel Extension Activity",
    category: SYSTEM,
    activities: { 1: "Load", 2: "Unload" },
  },
  kernel: {
    uid: 1003,
    name: "Kernel Activity",
    category: SYSTEM,
    activities: { 4: "Invoke" },
  },
  process: {
    uid: 1007,
    name: "Process Activity",
    category: SYSTEM,
    activities: {
      1: "Launch",
      2: "Terminate",
      3: "Open",
      4: "Inject",
      5: "Set User ID",
      99: "Other",
    },
  },
  eventLog: {
    uid: 1008,
    name: "Event Log Activity",
    category: SYSTEM,
    activities: { 3: "Export", 6: "Start", 7: "Stop", 99: "Other" },
  },
  account: {
    uid: 3001,
    name: "Account Change",
    category: IDENTITY,
    activities: { 1: "Create", 3: "Password Change", 6: "Delete", 99: "Other" },
  },
  authentication: {
    uid: 3002,
    name: "Authentication",
    category: IDENTITY,
    activities: { 1: "Logon", 2: "Logoff", 7: "Account Switch" },
  },
  group: {
    uid: 3006,
    name: "Group Management",
    category: IDENTITY,
    activities: { 3: "Add User", 4: "Remove User", 5: "Delete", 6: "Create", 99: "Other" },
  },
  network: {
    uid: 4001,
    name: "Network Activity",
    category: NETWORK,
    activities: { 1: "Open", 2: "Close", 3: "Reset", 4: "Fail", 5: "Refuse", 7: "Listen" },
  },
  application: {
    uid: 6002,
    name: "Application Lifecycle",
    category: APPLICATION,
    activities: {
      1: "Install",
      2: "Remove",
      3: "Start",
      4: "Stop",
      6: "Enable",
      7: "Disable",
      8: "Update",
      99: "Other",
    },
  },
  api: {
    uid: 6003,
    name: "API Activity",
    category: APPLICATION,
    activities: { 1: "Create", 2: "Read", 3: "Update", 4: "Delete", 99: "Other" },
  },
} as const satisfies Readonly<Record<string, EventClass>>;

export type ClassName = keyof typeof CLASSES;

/** A class, without the narrow types of the table. */
export function classOf(name: ClassName): EventClass {
  return CLASSES[name];
}
