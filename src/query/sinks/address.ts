/**
 * Which addresses sinks may have: the accepted form of what cannot be used, undefined for what can. Apart from the
 * drivers, so that a configuration is checked without loading them.
 *
 * Invariant: what is not encrypted stays on this machine unless the settings allow more, and no address holds a secret.
 */
import { isIPv4 } from "node:net";
import type { TargetSettings } from "./target.ts";

type SettingsOf<T extends TargetSettings["type"]> = Extract<TargetSettings, { readonly type: T }>;

export function faultOfWebhook(
  { url, isInsecure }: Pick<SettingsOf<"webhook">, "url" | "isInsecure">,
):
  | string
  | undefined {
  if (!URL.canParse(url)) return "an address such as https://siem.example/events";
  const { protocol, hostname, username, password } = new URL(url);
  if (username !== "" || password !== "") return "an address without name and password";
  if (protocol === "https:") return undefined;
  if (protocol === "http:" && (isInsecure || isLoopbackHost(hostname))) return undefined;
  return "https, or http to this machine; insecure = true allows it to others";
}

export function faultOfPostgresUrl(url: string): string | undefined {
  const form = "an address such as postgres://probity@db.example:5432/audit, without a password";
  if (!URL.canParse(url)) return form;
  const { protocol, password } = new URL(url);
  return ["postgres:", "postgresql:"].includes(protocol) && password === "" ? undefined : form;
}

export function faultOfAmqp(
  { url, caFile, isInsecure }: Pick<SettingsOf<"amqp">, "url" | "caFile" | "isInsecure">,
): string | undefined {
  const form = "an address such as amqps://probity@mq.example/vhost, without a password";
  if (!URL.canParse(url)) return form;
  const { protocol, hostname, password } = new URL(url);
  if (!["amqp:", "amqps:"].includes(protocol) || password !== "") return form;
  if (protocol === "amqps:") return undefined;
  if (caFile !== undefined) return "amqps:// where tls_ca is set";
  if (isInsecure || isLoopbackHost(hostname)) return undefined;
  return "amqps, or amqp to this machine; insecure = true allows it to others";
}

export function faultOfSubject(subject: string): string | undefined {
  const isSubject = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(subject);
  if (isSubject && !/^(audit|probity|_INBOX)(\.|$)/.test(subject)) return undefined;
  return 'a subject such as "siem.events", not below audit or probity';
}

export function faultOfSyslogUrl(url: string): string | undefined {
  const isKnown = URL.canParse(url) && ["tcp:", "udp:", "tls:"].includes(new URL(url).protocol) &&
    new URL(url).hostname !== "";
  return isKnown ? undefined : "an address such as tls://log.example:6514, tcp:// or udp://";
}

/** Whether a host is this machine itself, as URLs write it. */
export function isLoopbackHost(host: string): boolean {
  if (host === "localhost" || host === "[::1]" || host === "::1") return true;
  return isIPv4(host) && host.startsWith("127.");
}
