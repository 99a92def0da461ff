/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What the headers of a datagram, or of a segment of TCP, say: its ends, and where its payload is.
 *
 * Invariant: a packet whose headers cannot be read to their end says nothing.
 */
#ifndef PROBITY_FLOW_PACKET_H
#define PROBITY_FLOW_PACKET_H

#include "emit.h"

/* Addresses are in network order, IPv4 ones mapped (::ffff:a.b.c.d); ports in host order. */
struct flow {
	__u64 remote[2];
	__u64 local[2];
	__u64 begun_ns;
	/* 0: the place is free. */
	__u64 seen_ns;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 packets_in;
	__u64 packets_out;
	__u16 remote_port;
	__u16 local_port;
	/* PROBITY_CONNECT: this side began; PROBITY_ACCEPT: the other. */
	__u32 role;
};

/* What a packet says; its flow has the sums of this packet alone. */
struct packet {
	struct flow flow;
	__u32 payload_at;
	__u32 payload_bytes;
	bool is_in;
};

/* As the headers have them: addresses, then where the header of the transport begins, and its ports. */
struct ends {
	__u64 source[2];
	__u64 target[2];
	__u32 transport_at;
	__u16 ports[2];
};

/* The headers that nearly every packet has: without options, and ports after them. */
struct ip4_header {
	__u8 version;
	__u8 before[8];
	__u8 protocol;
	__u16 checksum;
	__u32 addresses[2];
	__u16 ports[2];
};

struct ip6_header {
	__u64 source[2];
	__u64 target[2];
	__u16 ports[2];
};

static __always_inline bool load_ends(struct __sk_buff *skb, struct ends *ends, __u8 protocol)
{
	struct ip4_header head;

	if (bpf_skb_load_bytes(skb, 0, &head, sizeof(head)))
		return false;
	if (head.version >> 4 == 4) {
		__u32 mapped = __builtin_bswap32(0xffff);
		if (head.protocol != protocol)
			return false;
		ends->source[0] = ends->target[0] = 0;
		ends->source[1] = (__u64)head.addresses[0] << 32 | mapped;
		ends->target[1] = (__u64)head.addresses[1] << 32 | mapped;
		ends->ports[0] = head.ports[0];
		ends->ports[1] = head.ports[1];
		ends->transport_at = (head.version & 15) * 4;
		return ends->transport_at == 20 ||
		       !bpf_skb_load_bytes(skb, ends->transport_at, ends->ports, sizeof(ends->ports));
	}
	struct ip6_header rest;
	if (bpf_skb_load_bytes(skb, 8, &rest, sizeof(rest)))
		return false;
	__builtin_memcpy(ends->source, rest.source, 16);
	__builtin_memcpy(ends->target, rest.target, 16);
	ends->ports[0] = rest.ports[0];
	ends->ports[1] = rest.ports[1];
	ends->transport_at = 40;
	/* Of an IPv6 header, the seventh byte. */
	__u8 next = head.before[5];
	if (next == protocol)
		return true;
	__u32 at = 40;
	for (int headers = 0; headers < 4 && next != protocol; headers++) {
		__u8 extension[2];
		/* Hop by hop, routing, fragment, for the destination. */
		if (next != 0 && next != 43 && next != 44 && next != 60)
			return false;
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)))
			return false;
		at += next == 44 ? 8 : (extension[1] + 1) * 8;
		next = extension[0];
	}
	ends->transport_at = at;
	return next == protocol && !bpf_skb_load_bytes(skb, at, ends->ports, sizeof(ends->ports));
}

/* A global function is verified once, whatever led to it: the ways through it do not multiply those of its callers. */
__noinline int load_packet(struct __sk_buff *skb, struct packet *packet, __u8 protocol)
{
	struct ends ends = {};
	__u8 words = 0;

	if (!packet || !load_ends(skb, &ends, protocol))
		return false;
	__u32 at = ends.transport_at;
	if (protocol == IPPROTO_TCP && bpf_skb_load_bytes(skb, at + 12, &words, 1))
		return false;
	at += protocol == IPPROTO_TCP ? (words >> 4) * 4 : 8;
	packet->payload_at = at;
	packet->payload_bytes = skb->len > at ? skb->len - at : 0;
	struct flow *flow = &packet->flow;
	flow->begun_ns = flow->seen_ns = bpf_ktime_get_boot_ns();
	if (packet->is_in) {
		flow->remote[0] = ends.source[0];
		flow->remote[1] = ends.source[1];
		flow->local[0] = ends.target[0];
		flow->local[1] = ends.target[1];
		flow->remote_port = __builtin_bswap16(ends.ports[0]);
		flow->local_port = __builtin_bswap16(ends.ports[1]);
		flow->role = PROBITY_ACCEPT;
		flow->bytes_in = packet->payload_bytes;
		flow->packets_in = 1;
	} else {
		flow->remote[0] = ends.target[0];
		flow->remote[1] = ends.target[1];
		flow->local[0] = ends.source[0];
		flow->local[1] = ends.source[1];
		flow->remote_port = __builtin_bswap16(ends.ports[1]);
		flow->local_port = __builtin_bswap16(ends.ports[0]);
		flow->role = PROBITY_CONNECT;
		flow->bytes_out = packet->payload_bytes;
		flow->packets_out = 1;
	}
	return true;
}

#endif
