/**
 * Whether unit files may have come, gone, or been enabled: by the times of the folders they are in. systemd takes long to
 * list them, and hardly ever has anything new to say.
 */
import { type Dirent, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

const FOLDERS = [
  "etc/systemd/system",
  "run/systemd/system",
  "run/systemd/generator",
  "run/systemd/transient",
  "usr/local/lib/systemd/system",
  "usr/lib/systemd/system",
  "lib/systemd/system",
];
/** Links in these make a unit enabled. */
const LINKS = /\.(?:wants|requires|upholds)$/;

/** Changes when one of the folders does. `root` stands for `/`. */
export async function stampOfUnitFolders(root: string): Promise<string> {
  const folders: string[] = [];
  for (const folder of FOLDERS.map((each) => join(root, each))) {
    const inside = await readdir(folder, { withFileTypes: true }).catch((): Dirent[] => []);
    const linking = inside.filter(({ name }) => LINKS.test(name)).map(({ name }) => name);
    folders.push(folder, ...linking.toSorted().map((name) => join(folder, name)));
  }
  return folders.map((folder) => {
    const stat = statSync(folder, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? "" : `${folder} ${stat.ino} ${stat.mtimeNs}`;
  }).join("\n");
}
