/** Every option of the configuration file, by section. */
import { APPLICATION_OPTIONS } from "./application-options.ts";
import {
  AGENT_OPTIONS,
  CRYPTO_OPTIONS,
  GRAPHITE_OPTIONS,
  LIMIT_OPTIONS,
  MAINTENANCE_OPTIONS,
  NATS_OPTIONS,
  type OptionGroups,
  ROLLUP_OPTIONS,
  SERVER_OPTIONS,
  STORE_OPTIONS,
} from "./options.ts";

export const FILE_OPTIONS = {
  agent: AGENT_OPTIONS,
  graphite: GRAPHITE_OPTIONS,
  nats: NATS_OPTIONS,
  store: STORE_OPTIONS,
  rollup: ROLLUP_OPTIONS,
  maintenance: MAINTENANCE_OPTIONS,
  server: SERVER_OPTIONS,
  crypto: CRYPTO_OPTIONS,
  applications: APPLICATION_OPTIONS,
  limits: LIMIT_OPTIONS,
} as const satisfies OptionGroups;
