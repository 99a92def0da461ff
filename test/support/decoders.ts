/** What decoders need, without a machine: no /proc, two users, one cgroup. */
import { createDecoderContext, type DecoderContext } from "../../src/edge-agent/line-decoder.ts";
import { createInitialNamespaces } from "../../src/edge-agent/initial-namespaces.ts";
import { createProcessIds } from "../../src/edge-agent/process-identity.ts";
import { createProcessTable } from "../../src/edge-agent/process-table.ts";
import { createRedactor } from "../../src/edge-agent/redaction.ts";
import type { UserNames } from "../../src/edge-agent/user-names.ts";

export const BOOT = "abcd0123";

/** Key of the redaction in tests. */
export const REDACTION_KEY = new Uint8Array(32).fill(7);

export function createTestContext(): DecoderContext {
  const names = new Map([[0, "root"], [1000, "ann"]]);
  const userNames: UserNames = {
    version: 1,
    nameOf: (uid) => names.get(uid),
    refresh: () => undefined,
  };
  return createDecoderContext({
    processes: createProcessTable({
      ids: createProcessIds(`${BOOT}-0000-0000-0000-000000000000`),
      nowNs: () => 0,
      readExe: () => undefined,
    }),
    userNames,
    redactor: createRedactor(REDACTION_KEY),
    initialNamespaces: createInitialNamespaces((path) =>
      path.endsWith("net") ? "net:[40]" : "mnt:[41]"
    ),
    cgroupNames: (id) => ({
      container: id === 77 ? "c".repeat(64) : undefined,
      unit: id === 78 ? "ssh.service" : undefined,
    }),
  });
}
