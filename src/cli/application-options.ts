/** Options of `[applications]`: where programs reach the agent with what they have to say. */
import {
  durationBetween,
  file,
  flag,
  integerBetween,
  sizeBetween,
  text,
  urlOf,
} from "./option-type.ts";
import { option, optional } from "./options.ts";

const anyPort = integerBetween(0, 65_535);

export const APPLICATION_OPTIONS = {
  port: optional("applications.port", anyPort, {
    text: "TCP port that takes applications' messages, such as 5678; default: none",
  }),
  socket: optional("applications.socket", file, {
    text: "Unix socket that takes them, and tells who sends; default: none",
  }),
  syslogPort: optional("applications.syslog_port", anyPort, {
    text: "TCP and UDP port that takes syslog, such as 6514; default: none",
  }),
  healthPort: optional("applications.health_port", anyPort, {
    text: "port that answers `GET /health` as the sidecar did, such as 6789; default: none",
  }),
  address: option("applications.address", text, {
    default: "127.0.0.1",
    text: "address of these ports; beyond loopback everybody who reaches it can write events",
  }),
  service: optional("applications.service", text, {
    text: "name of the application of all messages; default: each says its own",
  }),
  messageBytesMax: option("applications.message_max", sizeBetween("1KiB", "15MiB"), {
    default: "1MiB",
    text: "most bytes of one message; a larger one ends its connection",
  }),
  kmsUrl: optional("applications.kms_url", urlOf(["ws", "wss"], "wss://kms.example/sidecar"), {
    text: "KMS of the forensic-logging sidecar that messages are relayed to; default: none",
  }),
  kmsBatchSize: optional("applications.kms_batch_size", integerBetween(1, 100_000), {
    text: "messages of one batch for the KMS; default: 64",
  }),
  kmsBatchInterval: optional("applications.kms_batch_interval", durationBetween("1s", "1d"), {
    text: "time after which a batch is closed with fewer; default: 5m",
  }),
  kmsEmptyBatches: option("applications.kms_empty_batches", flag, {
    default: "false",
    text: "send the KMS a batch of no messages when none came for that time",
  }),
} as const;
