/**
 * What events of connections have beside the base. Source is who began, as in the columns; who listens is the
 * destination of those who will come. Sums go by OCSF's view: in is from destination to source.
 */
import { isIP } from "node:net";
import { isText, known, type Source, type Values } from "./fields.ts";
import { endpointOf, UNKNOWN } from "./objects.ts";
import { actorOf, processOf } from "./processes.ts";
import type { Subject } from "./system-attributes.ts";

type Role = "connect" | "accept" | "listen";

const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17 };
const DIRECTIONS = ["Unknown", "Inbound", "Outbound", "Lateral", "Local"] as const;
const OBSERVATION_POINTS = ["Unknown", "Source", "Destination", "Neither", "Both"] as const;

export function networkAttributes({ source, topic }: Subject): Values {
  const { columns } = source;
  const role = roleOf(source, topic);
  const [src, dst] = [columns.text("src_ip"), columns.text("dst_ip")];
  const isLocal = src !== undefined && (src === dst || isLoopback(src) && isLoopback(dst));
  const direction = isLocal ? 4 : role === "connect" ? 2 : role === "accept" ? 1 : 0;
  const point = isLocal ? 4 : role === undefined ? 0 : role === "connect" ? 1 : 2;
  return {
    ...endpointsOf(source, { role, src, dst }),
    connection_info: {
      direction_id: direction,
      direction: DIRECTIONS[direction],
      ...protocolOf(source, src ?? dst),
    },
    traffic: trafficOf(source, role),
    is_src_dst_assignment_known: role !== undefined,
    observation_point_id: point,
    observation_point: OBSERVATION_POINTS[point],
    actor: actorOf(source, processOf(source)),
  };
}

/** How it began; undefined when nobody saw that. It stays in the rest: the direction of a local one does not tell it. */
function roleOf({ detail }: Source, topic: string): Role | undefined {
  const role = topic === "network/close" ? detail.peek("ends") : topic.slice("network/".length);
  return role === "connect" || role === "accept" || role === "listen" ? role : undefined;
}

function endpointsOf(
  source: Source,
  { role, src, dst }: {
    readonly role: Role | undefined;
    readonly src: string | undefined;
    readonly dst: string | undefined;
  },
): Values {
  const { columns } = source;
  const own = { host: src, port: columns.integer("src_port") };
  const other = { host: dst, port: columns.integer("dst_port") };
  if (role === "listen" && endpointOf(other) === undefined) {
    return { dst_endpoint: endpointOf(own) ?? { name: UNKNOWN } };
  }
  const hostname = peerName(source);
  const isSource = role === "accept";
  const [first, second] = [
    endpointOf({ ...own, hostname: isSource ? hostname : undefined }),
    endpointOf({ ...other, hostname: isSource ? undefined : hostname }),
  ];
  return {
    src_endpoint: first,
    dst_endpoint: second ?? (first === undefined ? { name: UNKNOWN } : undefined),
  };
}

/** The latest name of the other end; the list stays where it is when it has more. */
function peerName({ detail }: Source): string | undefined {
  const names = detail.peek("names");
  if (!Array.isArray(names) || !isText(names[0]) || names[0] === "") return undefined;
  if (names.length === 1) detail.drop("names");
  return names[0];
}

function protocolOf({ columns }: Source, address: string | undefined): Values {
  const name = columns.text("protocol");
  const version = isIP(address ?? "");
  return {
    ...known({
      protocol_name: name,
      protocol_num: name !== undefined && Object.hasOwn(PROTOCOLS, name)
        ? PROTOCOLS[name]
        : undefined,
    }),
    protocol_ver_id: version,
  };
}

/** What this host received came from the destination, unless it is the destination. */
function trafficOf({ detail }: Source, role: Role | undefined): Values | undefined {
  const sums = (unit: "bytes" | "packets"): Values => {
    const [received, sent] = [detail.integer(`${unit}_in`), detail.integer(`${unit}_out`)];
    const [inwards, outwards] = role === "accept" ? [sent, received] : [received, sent];
    const isWhole = received !== undefined && sent !== undefined;
    return {
      [unit]: isWhole ? received + sent : undefined,
      [`${unit}_in`]: inwards,
      [`${unit}_out`]: outwards,
    };
  };
  return known({ ...sums("bytes"), ...sums("packets") });
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && (address.startsWith("127.") || address === "::1");
}
