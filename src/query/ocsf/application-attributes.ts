/** What events of packages, services and calls of the interface have beside the base, and those without a class. */
import { known, type Values } from "./fields.ts";
import { remoteEndpoint, UNKNOWN } from "./objects.ts";
import { actorOf, processOf, requiredActorOf } from "./processes.ts";
import type { Subject } from "./system-attributes.ts";

export function applicationAttributes({ source, topic }: Subject): Values {
  const { columns, detail } = source;
  const isUnit = topic.startsWith("service/");
  const name = detail.text("name") ?? (isUnit ? columns.text("unit") : undefined) ??
    detail.text("target") ?? UNKNOWN;
  return {
    app: known({ name, version: detail.text("version") }),
    actor: actorOf(source, processOf(source)),
  };
}

export function apiAttributes({ source }: Subject): Values {
  const { columns, detail } = source;
  const name = columns.text("service");
  const data = detail.record("parameters");
  if (detail.peek("principal") === columns.peek("user")) detail.drop("principal");
  return {
    api: known({
      operation: detail.text("route") ?? detail.text("action") ?? UNKNOWN,
      service: name === undefined ? undefined : { name },
      request: data === undefined ? undefined : { uid: columns.text("id") ?? UNKNOWN, data },
    }),
    src_endpoint: remoteEndpoint(source) ?? { name: UNKNOWN },
    actor: requiredActorOf(source, processOf(source)),
  };
}

export function baseAttributes({ source }: Subject): Values {
  return { actor: actorOf(source, processOf(source)) };
}
