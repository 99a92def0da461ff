/** What the forensic-logging sidecar did without being told otherwise. */
export const SIDECAR_DEFAULTS = {
  port: 5678,
  healthPort: 6789,
  service: "TestService",
} as const;
