/** The sidecar's variables under their old names, and what they make the agent do. */
import { describe, expect, it } from "vitest";
import { APPLICATION_OPTIONS } from "../../src/cli/application-options.ts";
import { applicationsOf } from "../../src/cli/applications.ts";
import { resolveValues } from "../../src/cli/settings.ts";
import { sidecarVariablesOf } from "../../src/cli/sidecar-variables.ts";

const settingsOf = (environment: Readonly<Record<string, string>>) =>
  applicationsOf(
    resolveValues(APPLICATION_OPTIONS, { flags: new Map(), environment, file: undefined }),
    sidecarVariablesOf(environment),
  );

describe("the sidecar's variables", () => {
  it("are all taken, with the sidecar's defaults for those that are not there", () => {
    expect(settingsOf({ SIDE_SERVICE: "bank" })).toEqual({
      listen: { host: "127.0.0.1", port: 5678 },
      health: { host: "127.0.0.1", port: 6789 },
      service: "bank",
      messageBytesMax: 1024 * 1024,
    });
    const all = {
      ...{ SIDE_PORT: "1234", SIDE_HEALTH_PORT: "1235", SIDE_SERVICE: "bank" },
      ...{ SIDE_BATCH_SIZE: "10", SIDE_BATCH_TIME_INTERVAL: "1000" },
      ...{ SIDE_KMS__URL: "ws://kms:8080/sidecar", SIDE_KMS__PING_INTERVAL: "1" },
      ...{ SIDE_KMS__REQUEST_TIMEOUT: "2", SIDE_KMS__CONNECT_TIMEOUT: "3" },
      SIDE_KMS__RECONNECT_INTERVAL: "4",
    };
    expect(settingsOf(all)).toMatchObject({
      listen: { port: 1234 },
      health: { port: 1235 },
      service: "bank",
      kms: {
        ...{ url: "ws://kms:8080/sidecar", pingIntervalMs: 1, requestTimeoutMs: 2 },
        ...{ connectTimeoutMs: 3, reconnectIntervalMs: 4, batchSize: 10, batchIntervalMs: 1000 },
      },
    });
    expect(sidecarVariablesOf(all)?.notices).toEqual([]);
  });

  it("are taken with a KMS that our own settings name", () => {
    const named = {
      PROBITY_APPLICATIONS_KMS_URL: "wss://kms.example/sidecar",
      PROBITY_APPLICATIONS_KMS_EMPTY_BATCHES: "true",
      PROBITY_APPLICATIONS_KMS_BATCH_INTERVAL: "1m",
      SIDE_BATCH_SIZE: "10",
    };
    expect(settingsOf(named).kms).toMatchObject({
      ...{ url: "wss://kms.example/sidecar", sendsEmptyBatches: true },
      ...{ batchSize: 10, batchIntervalMs: 60_000, requestTimeoutMs: 120_000 },
    });
  });

  it("give way to our own, and open nothing when there is none of them", () => {
    const both = { SIDE_PORT: "1234", PROBITY_APPLICATIONS_PORT: "99" };
    expect(settingsOf(both).listen?.port).toBe(99);
    expect(settingsOf({})).toEqual({ messageBytesMax: 1024 * 1024 });
    expect(settingsOf({ SIDE_EFFECT: "1" })).toEqual({ messageBytesMax: 1024 * 1024 });
  });

  it("that are of no use are reported, without what they hold, and wrong ones refused", () => {
    const uri = "postgres://u:secret@db/sidecar";
    const notices = sidecarVariablesOf({ SIDE_DATABASE_URI: uri, SIDE_DATABASE: "x" })?.notices;
    expect(notices).toEqual([
      expect.stringContaining("SIDE_DATABASE_URI is not used"),
      expect.stringContaining("SIDE_DATABASE is not used"),
    ]);
    expect(notices?.join()).not.toContain("secret");
    expect(() => sidecarVariablesOf({ SIDE_PORT: "port" })).toThrow('Cannot use SIDE_PORT "port"');
    expect(() => sidecarVariablesOf({ SIDE_KMS__URL: "http://k" })).toThrow("SIDE_KMS__URL");
    for (const url of ["http://u:secret@k/", "ws//u:secret@k", "ws//k?token=secret"]) {
      const fault = errorOf(() => sidecarVariablesOf({ SIDE_KMS__URL: url }));
      expect(fault).toContain("Cannot use SIDE_KMS__URL");
      expect(fault).not.toContain("secret");
    }
  });
});

function errorOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return String(error);
  }
  return "no error";
}
