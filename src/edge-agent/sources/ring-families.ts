/** The families that are sources of their own, by their names, with what each of them is told. */
import type { CreatedFiles } from "../created-files.ts";
import { controlFamily } from "./control/control-family.ts";
import { fileFamilyNoting } from "./file/file-family.ts";
import { createFlowFamily } from "./network/flow-family.ts";
import { createNetworkFamily } from "./network/network-family.ts";
import { ENVIRONMENT_NAMES } from "./process/environment.ts";
import { createProcessFamily } from "./process/process-family.ts";
import type { RingFamily, RingFamilyName } from "./ring-family.ts";

export interface RingFamilyOptions {
  readonly family: RingFamilyName;
  /** Of the file family: where creates are noted that the filesystem source need not tell again. */
  readonly createdFiles?: CreatedFiles;
  /** Of the process family: names of the environment variables that an exec tells. */
  readonly environment?: readonly string[];
  /** The family of cryptographic libraries, which knows what is attached. */
  readonly cryptoFamily?: RingFamily;
}

/** Makes a family anew: it keeps what one reader of its rings learns. */
export function ringFamilyOf(
  { family, environment, createdFiles, cryptoFamily }: RingFamilyOptions,
): RingFamily {
  switch (family) {
    case "process":
      return createProcessFamily(environment ?? ENVIRONMENT_NAMES);
    case "control":
      return controlFamily;
    case "network":
      return createNetworkFamily();
    case "flow":
      return createFlowFamily();
    case "file":
      return fileFamilyNoting(createdFiles);
    case "crypto":
      if (cryptoFamily === undefined) throw new Error("Cannot make the crypto family: not given");
      return cryptoFamily;
  }
}
