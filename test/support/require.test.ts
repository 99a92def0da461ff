import { afterEach, expect, it, vi } from "vitest";
import { requireCapability, requiredCapabilities } from "./require.ts";

afterEach(() => vi.unstubAllEnvs());

it("lets tests run when the capability is there", () => {
  vi.stubEnv("PROBITY_REQUIRE", "bun");
  expect(requireCapability("bun", true, "unused")).toBe(true);
});

it("skips by name when the capability is absent and not required", () => {
  vi.stubEnv("PROBITY_REQUIRE", "bpf, nats");
  const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  expect(requireCapability("bun", false, "no bun in PATH")).toBe(false);
  expect(said).toHaveBeenCalledWith("skipping tests that need bun: no bun in PATH\n");
  said.mockRestore();
});

it("fails when PROBITY_REQUIRE names the absent capability", () => {
  vi.stubEnv("PROBITY_REQUIRE", "bpf, bun");
  expect(() => requireCapability("bun", false, "no bun in PATH")).toThrow(/bun.*no bun in PATH/);
});

it("reads the list with spaces and without empty names", () => {
  expect([...requiredCapabilities(" bpf,, s3 ")]).toEqual(["bpf", "s3"]);
  expect(requiredCapabilities("").size).toBe(0);
});
