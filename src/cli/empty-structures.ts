/** Lists and tables of a configuration that says nothing of them. */
import type { Structures } from "./config-structures.ts";

export const NO_STRUCTURES: Structures = {
  labels: {},
  environment: undefined,
  keep: {},
  files: [],
  libraries: [],
  collectors: [],
  sinks: [],
  limits: undefined,
  filters: [],
  oidc: undefined,
};
