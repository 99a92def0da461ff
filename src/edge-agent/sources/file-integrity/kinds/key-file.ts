/** Whose keys a file of authorized keys holds, as far as its path says. */

/** The user that keys of this file let in, by the usual places; null when the path does not say. */
export function ownerOfKeyFile(path: string): string | null {
  if (/^\/root\/\.ssh\/[^/]+$/.test(path)) return "root";
  return /^\/home\/(?:[^/]+\/)*([^/]+)\/\.ssh\/[^/]+$/.exec(path)?.[1] ??
    /^\/etc\/ssh\/(?:authorized_keys|keys)(?:\.d)?\/([^/]+)(?:\/[^/]+)?$/.exec(path)?.[1] ?? null;
}

/** Whether a file holds keys that let somebody in, by its name. */
export function isKeyFile(path: string): boolean {
  return /\/authorized_keys2?$|\/authorized_keys(?:\.d)?\/[^/]+$/.test(path);
}
