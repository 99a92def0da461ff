/** The service of `operations-fixture.ts` as a program for any runtime: says its address, and ends with its input. */
import { once } from "node:events";
import process from "node:process";
import { openOperationsFixture } from "./operations-fixture.ts";

await using fixture = await openOperationsFixture();
process.stdout.write(`${fixture.server.url}\n`);
await once(process.stdin.resume(), "end");
