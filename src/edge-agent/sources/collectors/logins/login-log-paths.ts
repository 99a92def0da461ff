/** The logs of logins that are files, each with its predecessor: whoever owns them, the agent reads these and no others. */

/** Below `/var/log`. */
export const LOGIN_LOG_NAMES = ["auth.log", "secure", "wtmp", "btmp"] as const;

/** On the host. */
export const LOGIN_LOGS: readonly string[] = LOGIN_LOG_NAMES.flatMap((name) => [
  `/var/log/${name}`,
  `/var/log/${name}.1`,
]);
