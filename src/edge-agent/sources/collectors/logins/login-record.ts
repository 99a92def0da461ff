/** What one record of a log says about a login, before it is an event. */

/** Where it was told, from the most trusted to the least: see docs/sources.md. */
export type LoginSource =
  | "audit"
  | "auth.log"
  | "secure"
  | "journal"
  | "wtmp"
  | "btmp"
  | "wtmpdb"
  | "lastlog2";

export type LoginTopic = "login" | "logout" | "failure" | "sudo" | "su";

export interface LoginRecord {
  readonly what: LoginTopic;
  readonly source: LoginSource;
  readonly timeUs: number;
  /** Who, or who tried; of sudo and su, who asked. */
  readonly user?: string | undefined;
  readonly pid?: number | undefined;
  readonly tty?: string | undefined;
  /** Name or address of the host it came from. */
  readonly remote?: string | undefined;
  readonly address?: string | undefined;
  readonly port?: number | undefined;
  /** Of sudo and su: who was to be become. */
  readonly target?: string | undefined;
  readonly method?: string | undefined;
  /** Program that told of it. */
  readonly service?: string | undefined;
  readonly command?: string | undefined;
  /** Of sudo and su: that it was refused. */
  readonly isRefused?: boolean | undefined;
  /** Why, in words of the program. */
  readonly reason?: string | undefined;
  /** Of the process that wrote it, where the log itself says so. */
  readonly identity?: LoginIdentity | undefined;
  /** Fields whose bytes are no UTF-8. */
  readonly escaped?: readonly string[];
}

/** What the kernel says of who logged in; it stays the same over su and sudo. */
export interface LoginIdentity {
  readonly session?: string;
  readonly auid?: number;
}
