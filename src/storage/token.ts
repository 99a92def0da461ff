/**
 * Tokens at rest: who may ask the query service, for what, and until when. A token is a small object in the registry,
 * made and revoked with a record.
 *
 * Invariant: what is kept, listed or recorded never has the token's text, only its SHA-256; and a record has not even
 * that.
 */
import { createHash } from "node:crypto";
import type { RecordPlace } from "./admin-record.ts";
import { isRecord } from "./json-text.ts";
import type { ObjectStore } from "./object-store.ts";
import { recordedChange } from "./recorded-change.ts";
import { createRegistry, type Registry } from "./registry.ts";

/** What its holder may do, from least to most; what each comes to is for who answers requests to say. */
export const TOKEN_ROLES = ["viewer", "analyst", "auditor", "operator", "admin"] as const;
export type TokenRole = (typeof TOKEN_ROLES)[number];

export interface Token {
  /** SHA-256 of the token, in lower-case hexadecimal digits. */
  readonly sha256: string;
  readonly role: TokenRole;
  /** Names of hosts whose events may be seen, `*` at the end for any that begin so; all when empty. */
  readonly hosts: readonly string[];
  /** Topics that may be seen, each with all below it; all when empty. */
  readonly topics: readonly string[];
  /** Ms since the Unix epoch. */
  readonly createdAtMs: number;
  /** Exclusive; ms since the Unix epoch. */
  readonly expiresAtMs: number;
  /** Name of who made it. */
  readonly by: string;
}

/** Kind of their registry. */
export const TOKEN_KIND = "tokens";
/** Tokens that stand at the same time, whether expired or not. */
export const TOKENS_MAX = 1_000;
/** Hosts, and topics, of a token; characters of each. */
export const TOKEN_SCOPES_MAX = 100;
export const TOKEN_TEXT_LENGTH_MAX = 256;

/** Whether a text can narrow a token to hosts: a name, or with `*` at the end all that begin so. */
export function isHostScope(text: string): boolean {
  return text !== "" && text.length <= TOKEN_TEXT_LENGTH_MAX && /^[^\s*]*\*?$/.test(text);
}

/** The tokens of a bucket, by name. */
export function openTokens(store: ObjectStore): Registry<Token> {
  return createRegistry({ store, kind: TOKEN_KIND, parse: parseToken });
}

export function sha256OfToken(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

export interface TokenChange {
  readonly name: string;
  /** Who changes it, for the record. */
  readonly by: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes a token stand, recorded before it does; false when one of that name stands. The signal ends it only before the
 * record begins: what is begun is brought to its end, so that the record says what became of it.
 */
export async function grantToken(
  place: RecordPlace,
  { name, by, token, signal }: TokenChange & { readonly token: Token },
): Promise<boolean> {
  const tokens = openTokens(place.store);
  if (await tokens.get(name, signal === undefined ? {} : { signal }) !== undefined) return false;
  const deed = { kind: "grant", by, parameters: toldOf(name, token) } as const;
  return await recordedChange(
    place,
    deed,
    async () => await tokens.create(name, token) !== undefined,
  );
}

/** Removes a token, recorded before it goes; false when there is none of that name. The signal as in {@link grantToken}. */
export async function revokeToken(
  place: RecordPlace,
  { name, by, signal }: TokenChange,
): Promise<boolean> {
  const tokens = openTokens(place.store);
  const standing = await tokens.get(name, signal === undefined ? {} : { signal });
  if (standing === undefined) return false;
  const deed = { kind: "revoke", by, parameters: toldOf(name, standing.value) } as const;
  return await recordedChange(place, deed, () => tokens.remove(standing));
}

function toldOf(name: string, { role, hosts, topics, expiresAtMs }: Token) {
  return { name, role, hosts, topics, expires: new Date(expiresAtMs).toISOString() };
}

/** Reads a token strictly, since what is misread opens doors; throws SyntaxError when it is none. */
export function parseToken(value: unknown): Token {
  if (!isRecord(value)) throw new SyntaxError("a token is no object");
  const { sha256, role, hosts, topics, createdAtMs, expiresAtMs, by } = value;
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw new SyntaxError(`"sha256" is no digest`);
  }
  if (!isRole(role)) throw new SyntaxError(`"role" is none of ${TOKEN_ROLES.join(", ")}`);
  if (!areScopes(hosts)) throw new SyntaxError(`"hosts" is no list of names`);
  if (!areScopes(topics)) throw new SyntaxError(`"topics" is no list of topics`);
  if (!isTime(createdAtMs)) throw new SyntaxError(`"createdAtMs" is no time`);
  if (!isTime(expiresAtMs)) throw new SyntaxError(`"expiresAtMs" is no time`);
  if (typeof by !== "string") throw new SyntaxError(`"by" is no text`);
  return { sha256, role, hosts, topics, createdAtMs, expiresAtMs, by };
}

export function isRole(value: unknown): value is TokenRole {
  return TOKEN_ROLES.some((role) => role === value);
}

function areScopes(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length <= TOKEN_SCOPES_MAX &&
    value.every((each) =>
      typeof each === "string" && each !== "" && each.length <= TOKEN_TEXT_LENGTH_MAX
    );
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 &&
    value <= TIME_MAX_MS;
}

/** The latest time that a Date can have. */
const TIME_MAX_MS = 8_640_000_000_000_000;
