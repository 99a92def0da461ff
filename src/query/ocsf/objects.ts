/** Small objects of OCSF that events of many classes have: users, sessions, files, digests, endpoints, times. */
import { isIP } from "node:net";
import { type Fields, known, type Source, type Values } from "./fields.ts";

/** What stands in a required attribute that the record does not know. */
export const UNKNOWN = "unknown";

/** `type_id` of a user with all rights, and of any other. */
const ADMIN = { type_id: 2, type: "Admin" };
const USER = { type_id: 1, type: "User" };

/** Who did it, by the columns. */
export function userOf({ columns }: Source): Values | undefined {
  const uid = columns.integer("uid");
  const user = known({
    name: columns.text("user"),
    uid: uid === undefined ? undefined : String(uid),
  });
  if (user === undefined || uid === undefined) return user;
  return { ...user, ...(uid === 0 ? ADMIN : USER) };
}

export function sessionOf({ columns, detail }: Source): Values | undefined {
  return known({ uid: columns.text("session"), terminal: detail.text("tty") });
}

const TYPES: Readonly<Record<string, readonly [id: number, caption: string]>> = {
  regular: [1, "Regular File"],
  directory: [2, "Folder"],
  character_device: [3, "Character Device"],
  block_device: [4, "Block Device"],
  socket: [5, "Local Socket"],
  fifo: [6, "Named Pipe"],
  symlink: [7, "Symbolic Link"],
};

/** Bits of the type in a mode (inode(7)). */
const S_IFMT = 0o170000;
const TYPE_OF_MODE: Readonly<Record<number, string>> = {
  0o010000: "fifo",
  0o020000: "character_device",
  0o040000: "directory",
  0o060000: "block_device",
  0o100000: "regular",
  0o120000: "symlink",
  0o140000: "socket",
};
export const EXECUTABLE = { type_id: 8, type: "Executable File" };

/** The type that `detail` tells of a file, by name or by mode. */
export function fileTypeOf(detail: Fields): Values {
  const mode = detail.peek("mode");
  const byMode = typeof mode === "string" && /^[0-7]{1,7}$/.test(mode)
    ? TYPE_OF_MODE[Number.parseInt(mode, 8) & S_IFMT]
    : undefined;
  const name = detail.text("type", (type) => Object.hasOwn(TYPES, type)) ?? byMode ?? "";
  const [id, caption] = TYPES[name] ?? [0, "Unknown"];
  return { type_id: id, type: caption };
}

/** What `detail` tells of an inode beside its type. */
export function inodeFacts(detail: Fields): Values {
  const inode = detail.integer("inode") ?? detail.text("inode", (text) => /^[0-9]+$/.test(text));
  return {
    uid: inode === undefined ? undefined : String(inode),
    volume: detail.text("device"),
    size: detail.integer("size"),
    is_deleted: detail.flag("deleted"),
  };
}

/** A file by its path; `facts` holds at least its type. */
export function fileOf(path: string | undefined, facts: Values): Values {
  const name = path === undefined ? UNKNOWN : path.slice(path.lastIndexOf("/") + 1) || path;
  return { name, ...known({ path, ...facts }) };
}

export function hashesOf(sha256: string | undefined): readonly Values[] | undefined {
  if (sha256 === undefined) return undefined;
  return [{ algorithm: "SHA-256", algorithm_id: 3, value: sha256 }];
}

/** A digest in `detail`. */
export function digestOf(detail: Fields, name: string): string | undefined {
  return detail.text(name, (text) => /^[0-9a-f]{64}$/.test(text));
}

/** One end of a connection: an address or a name, and a port. */
export function endpointOf(
  { host, port, hostname }: {
    readonly host?: string | undefined;
    readonly port?: number | undefined;
    readonly hostname?: string | undefined;
  },
): Values | undefined {
  const isAddress = host !== undefined && isIP(host) !== 0;
  const endpoint = known({
    ip: isAddress ? host : undefined,
    hostname: hostname ?? (isAddress ? undefined : host),
    name: isAddress || hostname === undefined ? undefined : host,
    port,
  });
  if (endpoint === undefined || host !== undefined || hostname !== undefined) return endpoint;
  return { name: UNKNOWN, ...endpoint };
}

/** Who asked from elsewhere: the source's columns, or what `detail.remote` names. */
export function remoteEndpoint({ columns, detail }: Source): Values | undefined {
  const address = columns.text("src_ip");
  const remote = detail.text("remote", (text) => address === undefined || text === address);
  return endpointOf({ host: address ?? remote, port: columns.integer("src_port") });
}

const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$/;

/** A time, as milliseconds since the Unix epoch and as it was written, with all its digits. */
export function timeOf(
  fields: Fields,
  name: string,
): { readonly millis: number | undefined; readonly text: string | undefined } {
  const text = fields.text(name, (each) => TIME.test(each) && !Number.isNaN(Date.parse(each)));
  return { millis: text === undefined ? undefined : Date.parse(text), text };
}
