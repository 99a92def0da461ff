/**
 * What each role may publish and subscribe to at the broker: the least it needs. An agent, which runs on a host that
 * may be taken over, cannot read the log, change it, or move a watermark.
 *
 * Each role has its own prefix of reply subjects: on a shared one, any user could listen to what others are answered.
 */
import { WATERMARK_BUCKET } from "../../event/watermark.ts";
import { commitSubjectOf, streamOf, subjectOf } from "../../event/wire.ts";
import type { Role } from "./data-folder.ts";

export interface Permissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** Key-value buckets are streams of this name, and their keys subjects of this prefix (NATS ADR-8). */
const WATERMARK_STREAM = `KV_${WATERMARK_BUCKET}`;
const WATERMARK_KEYS = `$KV.${WATERMARK_BUCKET}.>`;

/** Prefix of the subjects on which a role is answered. */
export function inboxPrefixOf(role: Role): string {
  return `_INBOX_${role}`;
}

/** Permissions of a role over the streams of these shards. */
export function permissionsOf(role: Role, shards: readonly string[]): Permissions {
  const streams = shards.map(streamOf);
  const subscribe = [`${inboxPrefixOf(role)}.>`];
  if (role === "agent") return { publish: producing(shards), subscribe };
  const commits = shards.map(commitSubjectOf);
  if (role === "query") {
    return {
      publish: [...producing(shards), ...streams.flatMap(reading)],
      subscribe: [...subscribe, ...commits],
    };
  }
  return {
    publish: [
      ...producing(shards),
      ...streams.flatMap(reading),
      ...streams.flatMap(owning),
      ...owning(WATERMARK_STREAM),
      WATERMARK_KEYS,
      ...commits,
    ],
    subscribe,
  };
}

/** Puts batches into the log and follows the watermarks. */
function producing(shards: readonly string[]): string[] {
  return [
    ...shards.map((shard) => subjectOf(shard, "*")),
    ...shards.map((shard) => api("STREAM.INFO", streamOf(shard))),
    ...reading(WATERMARK_STREAM),
  ];
}

function reading(stream: string): string[] {
  return [
    "$JS.API.INFO",
    api("STREAM.INFO", stream),
    api("STREAM.MSG.GET", stream),
    api("DIRECT.GET", stream),
    api("DIRECT.GET", `${stream}.>`),
    api("CONSUMER.CREATE", stream),
    api("CONSUMER.CREATE", `${stream}.>`),
    api("CONSUMER.INFO", `${stream}.*`),
    api("CONSUMER.DELETE", `${stream}.*`),
    api("CONSUMER.MSG.NEXT", `${stream}.*`),
  ];
}

function owning(stream: string): string[] {
  const actions = ["STREAM.CREATE", "STREAM.UPDATE", "STREAM.PURGE", "STREAM.DELETE"];
  return actions.map((action) => api(action, stream));
}

function api(action: string, object: string): string {
  return `$JS.API.${action}.${object}`;
}
