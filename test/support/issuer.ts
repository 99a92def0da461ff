/** An OpenID Connect issuer on this machine: discovery, a key set, and tokens signed with its keys. */
import { createServer } from "node:http";
import { once } from "node:events";
import { exportJWK, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from "jose";

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>;

export interface SignOptions {
  /** `one` unless told; with null the token names no key, and is signed with that one. */
  readonly kid?: string | null;
  /** Another algorithm, with the key to sign with. */
  readonly header?: Partial<JWTHeaderParameters>;
  readonly key?: CryptoKey | Uint8Array;
}

export interface Issuer extends AsyncDisposable {
  readonly url: string;
  /** Requests that have come, by path. */
  readonly asked: Readonly<Record<string, number>>;
  /** What it answers to everything while it is set. */
  answer: { readonly status: number; readonly body: string } | "nothing" | undefined;
  /** The public half of a key. */
  publicKey(kid: string): Promise<JWK>;
  /** Makes a key and publishes it; those of the same id are gone. */
  addKey(kid: string, algorithm?: string): Promise<KeyPair>;
  withdrawKey(kid: string): void;
  /** A token of these claims beside issuer, audience `probity` and an expiry in five minutes; undefined leaves one out. */
  sign(claims: Readonly<Record<string, unknown>>, options?: SignOptions): Promise<string>;
}

export async function openIssuer(): Promise<Issuer> {
  const keys = new Map<string, { readonly pair: KeyPair; readonly jwk: JWK }>();
  const asked: Record<string, number> = {};
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    asked[path] = (asked[path] ?? 0) + 1;
    const { answer } = issuer;
    if (answer === "nothing") return;
    if (answer !== undefined) {
      response.writeHead(answer.status).end(answer.body);
      return;
    }
    const body = path === "/.well-known/openid-configuration"
      ? { issuer: issuer.url, jwks_uri: `${issuer.url}/keys` }
      : { keys: [...keys.values()].map(({ jwk }) => jwk) };
    response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  const port = typeof bound === "object" ? bound?.port : undefined;
  const issuer: Issuer = {
    url: `http://127.0.0.1:${port}`,
    asked,
    answer: undefined,
    publicKey: async (kid) => await exportJWK(pairOf(kid).publicKey),
    async addKey(kid, algorithm = "ES256") {
      const pair = await generateKeyPair(algorithm, { extractable: true });
      const jwk = { ...await exportJWK(pair.publicKey), kid, use: "sig" };
      keys.set(kid, { pair, jwk });
      return pair;
    },
    withdrawKey: (kid) => void keys.delete(kid),
    async sign(claims, { kid = "one", header = {}, key } = {}) {
      const nowS = Math.floor(Date.now() / 1_000);
      const usual = { iss: issuer.url, aud: "probity", iat: nowS, exp: nowS + 300, sub: "ann" };
      const all = Object.entries({ ...usual, ...claims }).filter(([, value]) =>
        value !== undefined
      );
      return await new SignJWT(Object.fromEntries(all))
        .setProtectedHeader({ alg: "ES256", ...(kid === null ? {} : { kid }), ...header })
        .sign(key ?? pairOf(kid ?? "one").privateKey);
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
  const pairOf = (kid: string): KeyPair => {
    const found = keys.get(kid);
    if (found === undefined) throw new Error(`there is no key "${kid}"`);
    return found.pair;
  };
  await issuer.addKey("one");
  return issuer;
}
