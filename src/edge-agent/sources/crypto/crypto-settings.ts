/** What an agent is told of cryptographic libraries. */

export interface CryptoSettings {
  /** Absolute paths of libraries and executables; copies of the same name that other processes map count, too. */
  readonly libraries: readonly string[];
  /** Whether every file that a process maps to execute is looked at. */
  readonly discover: boolean;
  /** Whose probes they are. */
  readonly provider: string;
}

export const CRYPTO_PROVIDER = "crypto_auditing";

/** A hook of the source for each file that the configuration names: this, and its path. */
export const LIBRARY_HOOK = "library ";

/** Nothing to do. */
export const NO_CRYPTO: CryptoSettings = {
  libraries: [],
  discover: false,
  provider: CRYPTO_PROVIDER,
};

/** Whether there is anything to do. */
export function isCryptoWanted({ libraries, discover }: CryptoSettings): boolean {
  return discover || libraries.length > 0;
}
