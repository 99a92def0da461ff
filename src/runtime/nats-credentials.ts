/** Credentials files of the broker's users. Their text never appears in logs or errors. */
import { readFile, stat } from "node:fs/promises";
import { type Authenticator, credsAuthenticator, nkeyAuthenticator } from "@nats-io/transport-node";
import type { Log } from "./log.ts";

/** How to prove who we are: the file holds `.creds` text (JWT and seed) or a bare nkey seed, mode 0600. */
export async function readCredentials(file: string, log: Log): Promise<Authenticator> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
    if (((await stat(file)).mode & 0o077) !== 0) {
      log.warn("credentials file can be read by others; set its mode to 0600", { file });
    }
  } catch (cause) {
    throw new Error(`Cannot read credentials file "${file}": ${errorText(cause)}`, { cause });
  }
  if (text.includes("BEGIN NATS USER JWT")) {
    return credsAuthenticator(new TextEncoder().encode(text));
  }
  const seed = text.trim();
  if (/^SU[A-Z2-7]{56}$/.test(seed)) return nkeyAuthenticator(new TextEncoder().encode(seed));
  throw new Error(
    `Cannot use credentials file "${file}": neither .creds text nor a user's nkey seed`,
  );
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
