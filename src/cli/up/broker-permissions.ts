/**
 * What each role may publish and subscribe to at the broker: the least it needs. An agent, which runs on a host that
 * may be taken over, cannot read the log, change it, or move a watermark.
 *
 * Each role has its own prefix of reply subjects: on a shared one, any user could listen to what others are answered.
 */
import { WATERMARK_BUCKET } from "../../event/watermark.ts";
import { commitSubjectOf, LEASE_BUCKET, streamOf, subjectsOf } from "../../event/wire.ts";
import { producerPermissions } from "../../producer/publisher.ts";
import type { Role } from "./data-folder.ts";

export interface Permissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** Key-value buckets are streams of this name, and their keys subjects of this prefix (NATS ADR-8). */
const WATERMARK_STREAM = `KV_${WATERMARK_BUCKET}`;
const WATERMARK_KEYS = `$KV.${WATERMARK_BUCKET}.>`;
const LEASE_STREAM = `KV_${LEASE_BUCKET}`;
const LEASE_KEYS = `$KV.${LEASE_BUCKET}.>`;

/** Prefix of the subjects on which a role is answered. */
export function inboxPrefixOf(role: Role): string {
  return `_INBOX_${role}`;
}

/** Permissions of a role over the streams of these shards; `agent` is the name in the role's spool. */
export function permissionsOf(
  role: Role,
  { shards, agent }: { readonly shards: readonly string[]; readonly agent: string },
): Permissions {
  const producing = shards.map((shard) => producerPermissions({ shard, agent }));
  const publish = producing.flatMap((each) => each.publish);
  const subscribe = [...new Set(producing.flatMap((each) => each.subscribe))];
  if (role === "agent" || role === "import") return { publish, subscribe };
  const streams = shards.map(streamOf);
  const commits = shards.map(commitSubjectOf);
  const reads = [...streams, WATERMARK_STREAM].flatMap(reading);
  const inbox = `${inboxPrefixOf(role)}.>`;
  if (role === "query") {
    return { publish: [...publish, ...reads], subscribe: [...subscribe, inbox, ...commits] };
  }
  const owns = [...streams, WATERMARK_STREAM, LEASE_STREAM].flatMap(owning);
  return {
    publish: [
      ...publish,
      ...reads,
      ...reading(LEASE_STREAM),
      ...owns,
      ...[WATERMARK_KEYS, LEASE_KEYS],
      // What a sender that is gone has left.
      ...shards.map(subjectsOf),
      ...commits,
    ],
    subscribe: [...subscribe, inbox],
  };
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
