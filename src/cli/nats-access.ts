/**
 * Which broker a process uses, and as whom: what the settings name, else the broker of the `up` that runs on the data
 * folder.
 */
import type { NATS_OPTIONS, Values } from "./options.ts";
import { usageError } from "./exit.ts";
import { inboxPrefixOf } from "./up/broker-permissions.ts";
import { type DataFolder, readNote, type Role } from "./up/data-folder.ts";

export interface NatsAccess {
  readonly url: string;
  readonly credentialsFile?: string;
  /** Each role listens for answers below a prefix of its own, so that brokers can keep roles apart. */
  readonly inboxPrefix: string;
}

/** Throws a usage error when nothing names a broker. */
export function natsAccessOf(
  { url, credentialsFile }: Values<typeof NATS_OPTIONS>,
  { folder, role }: { readonly folder: DataFolder; readonly role: Role },
): NatsAccess {
  const inboxPrefix = inboxPrefixOf(role);
  if (url !== undefined) {
    return { url, inboxPrefix, ...(credentialsFile === undefined ? {} : { credentialsFile }) };
  }
  const own = readNote(folder.broker.url);
  if (own !== undefined) {
    return { url: own, inboxPrefix, credentialsFile: folder.broker.credentials(role) };
  }
  throw usageError(
    `Cannot find a broker: [nats] url is not set, and no "probity up" has run on "${folder.path}"`,
  );
}
