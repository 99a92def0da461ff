/** The target of a sink by its kind; what only one kind needs is loaded with it. */
import type { Log } from "../../runtime/log.ts";
import { createFileTarget } from "./file.ts";
import { createStdoutTarget } from "./stdout.ts";
import type { SinkTarget, TargetSettings } from "./target.ts";

export async function openTarget(
  settings: TargetSettings,
  { log }: { readonly log: Log },
): Promise<SinkTarget> {
  switch (settings.type) {
    case "stdout":
      return createStdoutTarget();
    case "file":
      return createFileTarget(settings);
    case "webhook":
      return await (await import("./webhook.ts")).openWebhookTarget(settings);
    case "postgres":
      return (await import("./postgres.ts")).createPostgresTarget(settings);
    case "amqp":
      return (await import("./amqp.ts")).createAmqpTarget(settings);
    case "nats":
      return (await import("./nats.ts")).createNatsTarget({ ...settings, log });
    case "syslog":
      return (await import("./syslog.ts")).createSyslogTarget(settings);
  }
}
