/** What one pivots by: names, addresses, paths and digests of an event, each with where it stands. */
import { isRecord, isText, type Values } from "./fields.ts";
import { UNKNOWN } from "./objects.ts";

interface Place {
  /** Members from the event inwards; of a list the first. */
  readonly path: readonly string[];
  /** What OCSF calls it. */
  readonly name: string;
  readonly id: number;
  readonly type: string;
}

const PLACES: readonly Place[] = [
  { name: "device.hostname", id: 1, type: "Hostname" },
  { name: "src_endpoint.hostname", id: 1, type: "Hostname" },
  { name: "dst_endpoint.hostname", id: 1, type: "Hostname" },
  { name: "src_endpoint.ip", id: 2, type: "IP Address" },
  { name: "dst_endpoint.ip", id: 2, type: "IP Address" },
  { name: "actor.user.name", id: 4, type: "User Name" },
  { name: "user.name", id: 4, type: "User Name" },
  { name: "file.hashes.0.value", id: 8, type: "Hash" },
  { name: "file_result.hashes.0.value", id: 8, type: "Hash" },
  { name: "process.file.hashes.0.value", id: 8, type: "Hash" },
  { name: "actor.process.uid", id: 39, type: "Process Entity: uid" },
  { name: "process.uid", id: 39, type: "Process Entity: uid" },
  { name: "actor.process.file.path", id: 45, type: "File Path" },
  { name: "process.file.path", id: 45, type: "File Path" },
  { name: "file.path", id: 45, type: "File Path" },
  { name: "file_result.path", id: 45, type: "File Path" },
  { name: "driver.file.path", id: 45, type: "File Path" },
].map((place) => ({
  ...place,
  path: place.name.split("."),
  name: place.name.replaceAll(".0.", "[0]."),
}));

export function observablesOf(event: Values): readonly Values[] {
  const observables: Values[] = [];
  for (const { path, name, id, type } of PLACES) {
    const value = valueAt(event, path);
    if (!isText(value) || value === UNKNOWN) continue;
    observables.push({ name, type_id: id, type, value });
  }
  return observables;
}

function valueAt(event: Values, path: readonly string[]): unknown {
  let value: unknown = event;
  for (const name of path) {
    if (Array.isArray(value)) value = value[0];
    else if (isRecord(value)) value = value[name];
    else return undefined;
  }
  return value;
}
