/** What `[applications]` says: where programs may reach the agent, and what bounds them. */
import type { ListenAddress } from "../../http.ts";
import type { KmsSettings } from "./kms/kms-settings.ts";

export interface ApplicationSettings {
  /** Where messages of applications are taken over TCP; nowhere by default. */
  readonly listen?: ListenAddress;
  /** Unix socket on which they are taken; whoever may connect is told by the mode of its folder. */
  readonly socket?: string;
  /** Where syslog is taken, over TCP and UDP; nowhere by default. */
  readonly syslog?: ListenAddress;
  /** Where `GET /health` is answered; nowhere by default. */
  readonly health?: ListenAddress;
  /** Name of the application of all messages; undefined: each sender says its own. */
  readonly service?: string;
  /** Where messages are relayed to besides; nowhere by default. */
  readonly kms?: KmsSettings;
  /** Most bytes of one message; {@link MESSAGE_BYTES_DEFAULT} by default, less than {@link MESSAGE_BYTES_CEILING}. */
  readonly messageBytesMax?: number;
}

export const MESSAGE_BYTES_DEFAULT = 1024 * 1024;
/** Below it the first byte of a length is 0, which tells frames from lines of JSON. */
export const MESSAGE_BYTES_CEILING = 16 * 1024 * 1024;

/** Name of an application that nobody named. */
export const UNNAMED_SERVICE = "unnamed";

/** Whether anything of it makes the agent listen for messages. */
export function takesMessages({ listen, socket, syslog, health }: ApplicationSettings): boolean {
  return [listen, socket, syslog, health].some((each) => each !== undefined);
}
