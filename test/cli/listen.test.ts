import { describe, expect, it } from "vitest";
import { refuseWithoutTls } from "../../src/cli/listen.ts";

const pair = { tlsCert: "chain.pem", tlsKey: "key.pem" };
const none = { tlsCert: undefined, tlsKey: undefined };
const settings = (
  host: string,
  tls: { readonly tlsCert: string | undefined; readonly tlsKey: string | undefined },
  plain: "plain" | "" = "",
) => ({
  own: { port: undefined },
  server: {
    ...{ listen: { host, port: 443 }, requestsPerSecond: 1, origins: undefined, ...tls },
    plain: plain === "plain",
  },
});

describe("where the query service may listen", () => {
  it.each(["127.0.0.1", "127.9.8.7", "::1", "localhost"])("without TLS: %s", (host) => {
    expect(() => refuseWithoutTls(settings(host, none))).not.toThrow();
  });

  it.each(["0.0.0.0", "::", "10.0.0.1", "db-1", "127.evil.example", "1270.0.0.1", "127.0.0.1.x"])(
    "with TLS, or when told so: %s",
    (host) => {
      expect(() => refuseWithoutTls(settings(host, none))).toThrow(
        expect.objectContaining({
          exitCode: 2,
          message: expect.stringContaining("without TLS"),
        }),
      );
      expect(() => refuseWithoutTls(settings(host, pair))).not.toThrow();
      expect(() => refuseWithoutTls(settings(host, none, "plain"))).not.toThrow();
    },
  );

  it("with both files or none", () => {
    for (const half of [{ ...pair, tlsKey: undefined }, { ...pair, tlsCert: undefined }]) {
      expect(() => refuseWithoutTls(settings("::1", half))).toThrow("wanted together");
    }
  });
});
