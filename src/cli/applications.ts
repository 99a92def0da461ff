/** What `[applications]` and the sidecar's own variables together make the agent do. */
import type { ApplicationSettings } from "../edge-agent/sources/applications/application-settings.ts";
import { SIDECAR_DEFAULTS } from "../edge-agent/sources/applications/sidecar-defaults.ts";
import { KMS_DEFAULTS } from "../edge-agent/sources/applications/kms/kms-settings.ts";
import type { APPLICATION_OPTIONS } from "./application-options.ts";
import type { Values } from "./options.ts";
import type { SidecarVariables } from "./sidecar-variables.ts";

/** Who sets any of the sidecar's variables gets its listener, at its port unless another is said. */
export function applicationsOf(
  settings: Values<typeof APPLICATION_OPTIONS>,
  sidecar: SidecarVariables | undefined,
): ApplicationSettings {
  const { socket, syslogPort, address: host, messageBytesMax } = settings;
  const fallback = sidecar === undefined ? undefined : SIDECAR_DEFAULTS;
  const port = settings.port ?? sidecar?.port ?? fallback?.port;
  const healthPort = settings.healthPort ?? sidecar?.healthPort ?? fallback?.healthPort;
  const service = settings.service ?? sidecar?.service;
  return {
    ...(port === undefined ? {} : { listen: { host, port } }),
    ...(socket === undefined ? {} : { socket }),
    ...(syslogPort === undefined ? {} : { syslog: { host, port: syslogPort } }),
    ...(healthPort === undefined ? {} : { health: { host, port: healthPort } }),
    ...(service === undefined ? {} : { service }),
    ...kmsOf(settings, sidecar),
    messageBytesMax,
  };
}

function kmsOf(
  { kmsUrl, kmsBatchSize, kmsBatchInterval, kmsEmptyBatches }: Values<typeof APPLICATION_OPTIONS>,
  sidecar: SidecarVariables | undefined,
): Pick<ApplicationSettings, "kms"> {
  const url = kmsUrl ?? sidecar?.kms.url;
  if (url === undefined) return {};
  const variables = sidecar?.kms ?? KMS_DEFAULTS;
  return {
    kms: {
      ...variables,
      url,
      batchSize: kmsBatchSize ?? variables.batchSize,
      batchIntervalMs: kmsBatchInterval ?? variables.batchIntervalMs,
      sendsEmptyBatches: kmsEmptyBatches,
    },
  };
}
