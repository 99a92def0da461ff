/** The bucket that the settings name, else the directory in the data folder. */
import type { StoreOptions } from "../storage/open-store.ts";
import type { STORE_OPTIONS, Values } from "./options.ts";
import type { DataFolder } from "./up/data-folder.ts";

export function storeOptionsOf(
  settings: Values<typeof STORE_OPTIONS>,
  folder: DataFolder,
): Omit<StoreOptions, "log"> {
  const { url = folder.bucketUrl, endpoint, region, pathStyle } = settings;
  return {
    url,
    pathStyle,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
  };
}
