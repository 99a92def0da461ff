/** Two issuers and the service's judgement of their tokens, as a process that any runtime can run: prints JSON. */
import { openIssuers } from "../../src/query/oidc/issuers.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openIssuer } from "./issuer.ts";

await using one = await openIssuer();
await using two = await openIssuer();
const rsa = await two.addKey("rsa", "RS256");
await using stack = new AsyncDisposableStack();
const grants = [{ claim: "groups", value: "all", role: "viewer" }] as const;
const common = { audience: "probity", grants };
const issuers = openIssuers([
  { ...common, issuer: one.url },
  { ...common, issuer: two.url, name: "second" },
], { stack, clock: systemClock, log: createLog({ level: "error", write: () => undefined }) });
const nameOf = async (token: string): Promise<string> => {
  const found = await issuers?.find(token);
  return typeof found === "object" ? found.principal.name : String(found);
};
const claims = { groups: ["all"], sub: "ann" };
process.stdout.write(JSON.stringify([
  await nameOf(await one.sign(claims)),
  await nameOf(await two.sign(claims)),
  await nameOf(
    await two.sign(claims, { kid: "rsa", header: { alg: "RS256" }, key: rsa.privateKey }),
  ),
  // Signed by one, in the other's name.
  await nameOf(await one.sign({ ...claims, iss: two.url })),
  await nameOf(await one.sign({ ...claims, iss: "https://elsewhere.example.org" })),
  await nameOf("a.b.c"),
]));
