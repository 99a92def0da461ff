/**
 * The configuration of the broker that `up` runs: loopback only, JetStream on disk, one nkey user per role with the
 * least that role needs. Pure text.
 */
import type { Role } from "./data-folder.ts";

/** A user known by the public half of its nkey. */
export interface BrokerUser {
  readonly role: Role;
  readonly publicKey: string;
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

export interface BrokerConfig {
  /** Tells this broker from any other that answers on the port. */
  readonly serverName: string;
  readonly port: number;
  readonly store: string;
  readonly logFile: string;
  readonly pidFile: string;
  readonly users: readonly BrokerUser[];
}

/** Most bytes of a payload; messages of the log are at most 1,000,000 bytes with their headers. */
const PAYLOAD_BYTES_MAX = 1_048_576;
/** A part that starts on a busy machine may take longer to answer than the server's own two seconds. */
const AUTHORIZATION_LIMIT_S = 30;
/** The log file is rotated at this size, in bytes. */
const LOG_BYTES_MAX = 8_388_608;

export function brokerConfigText(config: BrokerConfig): string {
  const { serverName, port, store, logFile, pidFile, users } = config;
  return `# Written by probity up at every start.
server_name: ${quote(serverName)}
listen: "127.0.0.1:${port}"
max_payload: ${PAYLOAD_BYTES_MAX}
pid_file: ${quote(pidFile)}
log_file: ${quote(logFile)}
logfile_size_limit: ${LOG_BYTES_MAX}
jetstream { store_dir: ${quote(store)} }
authorization {
  timeout: ${AUTHORIZATION_LIMIT_S}
  users: [
${users.map(userText).join("\n")}
  ]
}
`;
}

function userText({ role, publicKey, publish, subscribe }: BrokerUser): string {
  return `    # ${role}
    { nkey: ${publicKey}, permissions: {
      publish: { allow: [${publish.map(quote).join(", ")}] }
      subscribe: { allow: [${subscribe.map(quote).join(", ")}] }
    } }`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
