/** Secrets of sinks, from files. Their text never appears in logs or errors. */
import { readFile, stat } from "node:fs/promises";

/** Longest secret, in characters. */
const SECRET_LENGTH_MAX = 4_096;

/** The text of a file without the white space around it. Throws when others may read it or nothing is in it. */
export async function readSecretFile(path: string): Promise<string> {
  let text: string;
  try {
    const { mode, size } = await stat(path);
    if ((mode & 0o077) !== 0) throw new Error("others can read it; set its mode to 0600");
    if (size > SECRET_LENGTH_MAX) throw new Error(`larger than ${SECRET_LENGTH_MAX} bytes`);
    text = (await readFile(path, "utf8")).trim();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot use secret file "${path}": ${reason}`, { cause });
  }
  if (text === "") throw new Error(`Cannot use secret file "${path}": it is empty`);
  return text;
}
