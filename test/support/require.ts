/**
 * Named capabilities of the machine that runs the tests. A test that needs one is skipped by name when it is absent;
 * PROBITY_REQUIRE, a list such as `bpf,nats,s3,deno`, turns the absence of those it names into a failure.
 *
 * Invariant: nothing is skipped in silence. What is absent is said on standard error, with the reason.
 */

/** What tests may need beyond Node: kernel access, servers, other runtimes. */
export type Capability =
  | "bpf"
  | "btf"
  | "clang"
  | "fanotify"
  | "nats"
  | "s3"
  | "deno"
  | "bun"
  | "root"
  | "audit"
  | "faketime"
  | "systemd"
  | "openssl"
  | "usdt"
  | "postgres"
  | "rabbitmq"
  | "rpm"
  | "chromium"
  | "i386-gate";

/**
 * Whether tests that need a capability may run: `describe.runIf(requireCapability("nats", found, "no nats-server"))`.
 * Throws when PROBITY_REQUIRE names the capability and it is absent. `why` says what is missing and how to get it.
 */
export function requireCapability(name: Capability, isPresent: boolean, why: string): boolean {
  if (isPresent) return true;
  if (requiredCapabilities(process.env["PROBITY_REQUIRE"] ?? "").has(name)) {
    throw new Error(`Cannot test with ${name}: required by PROBITY_REQUIRE and absent: ${why}`);
  }
  process.stderr.write(`skipping tests that need ${name}: ${why}\n`);
  return false;
}

/** The names in the text of PROBITY_REQUIRE. */
export function requiredCapabilities(text: string): ReadonlySet<string> {
  return new Set(text.split(",").map((name) => name.trim()).filter((name) => name !== ""));
}
