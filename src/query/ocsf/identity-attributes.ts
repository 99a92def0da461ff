/** What events of logins and of accounts have beside the base. */
import { membersChanged } from "./activities.ts";
import { known, type Source, type Values } from "./fields.ts";
import { remoteEndpoint, sessionOf, UNKNOWN, userOf } from "./objects.ts";
import { actorOf, processOf } from "./processes.ts";
import type { Subject } from "./system-attributes.ts";

const SUBSTITUTE_USER = { account_switch_type_id: 1, account_switch_type: "Substitute User" };
const ACCOUNT_SWITCH = 7;

/** The user is who logs in, or whom somebody becomes: the target, where one is named. */
export function authenticationAttributes({ source, activity }: Subject): Values {
  const { columns, detail } = source;
  const target = detail.text("target");
  const from = remoteEndpoint(source);
  const session = sessionOf(source);
  const service = columns.text("service");
  return {
    user: target === undefined ? userOf(source) ?? { name: UNKNOWN } : { name: target },
    actor: actorOf(source, processOf(source)),
    service: service === undefined ? undefined : { name: service },
    dst_endpoint: { hostname: columns.text("host") ?? UNKNOWN },
    src_endpoint: from,
    session,
    is_remote: from === undefined ? undefined : true,
    ...(activity === ACCOUNT_SWITCH ? SUBSTITUTE_USER : logonType(from, session)),
  };
}

function logonType(from: Values | undefined, session: Values | undefined): Values {
  const hasTerminal = session?.["terminal"] !== undefined;
  if (from === undefined) return hasTerminal ? { logon_type_id: 2, logon_type: "Interactive" } : {};
  return hasTerminal
    ? { logon_type_id: 10, logon_type: "Remote Interactive" }
    : { logon_type_id: 3, logon_type: "Network" };
}

export function accountAttributes({ source }: Subject): Values {
  return {
    user: { name: source.detail.text("target") ?? UNKNOWN },
    actor: actorOf(source, processOf(source)),
  };
}

export function groupAttributes({ source, activity }: Subject): Values {
  return {
    group: { name: source.detail.text("target") ?? UNKNOWN },
    user: memberOf(source, activity),
    actor: actorOf(source, processOf(source)),
  };
}

/** The one who came or left, when it is one. */
function memberOf({ detail }: Source, activity: number): Values | undefined {
  if (activity !== 3 && activity !== 4) return undefined;
  const { came, went } = membersChanged(detail.peek("before"), detail.peek("after"));
  const [name, ...others] = activity === 3 ? came : went;
  return others.length > 0 ? undefined : known({ name });
}
