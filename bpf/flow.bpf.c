// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Datagrams (UDP over IPv4 and IPv6): the first packet to or from a peer, the end of that flow with its sums, binding a
 * socket; and DNS answers, for the names of peers. Programs of the root cgroup, since datagrams change no state.
 *
 * Invariants: no packet, bind or socket is ever refused: every program returns 1. A socket remembers FLOWS peers; when
 * all of them were active within IDLE_NS, what others send is summed up and told every REST_NS at most. A flow ends with
 * its socket, or when another peer needs its place. Whom a socket belongs to is noted where that is certain, in the
 * caller's context: when it is made or bound, and when it sends to a new peer.
 */
#include "flow-socket.h"
#include "flow-dns.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void on_datagram(struct __sk_buff *skb, struct bpf_sock *sk, bool is_in)
{
	struct packet packet = {.is_in = is_in};

	if (!load_packet(skb, &packet, IPPROTO_UDP))
		return;
	struct datagram_socket *socket = bpf_sk_storage_get(&datagram_sockets, sk, 0, 0);
	if (!socket) {
		/* Older than the programs, or the kernel's. */
		socket = bpf_sk_storage_get(&datagram_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!socket)
			return lose(is_in ? PROBITY_ACCEPT : PROBITY_CONNECT);
		socket->owner.flags = PROBITY_NO_PROCESS;
		socket->net_cookie = net_cookie_of(sk);
	}
	if (packet.flow.remote_port == DNS_PORT)
		on_dns(skb, &packet, packet.payload_at);
	bpf_spin_lock(&socket->lock);
	bool is_known = add_to_flow(socket, &packet.flow);
	bpf_spin_unlock(&socket->lock);
	if (!is_known)
		begin_flow(socket, &packet, sk->family);
}

/* A part of a stream of the DNS: a message comes after its length, when one begins with the packet. */
static __always_inline void on_dns_segment(struct __sk_buff *skb, bool is_in)
{
	struct packet packet = {.is_in = is_in};

	if (load_packet(skb, &packet, IPPROTO_TCP) && packet.payload_bytes > 2)
		on_dns(skb, &packet, packet.payload_at + 2);
}

static __always_inline int on_packet(struct __sk_buff *skb, bool is_in)
{
	struct bpf_sock *sk = skb->sk;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk)
		return 1;
	if (sk->protocol == IPPROTO_UDP)
		on_datagram(skb, sk, is_in);
	else if (sk->protocol == IPPROTO_TCP && sk->dst_port == __builtin_bswap16(DNS_PORT))
		on_dns_segment(skb, is_in);
	return 1;
}

SEC("cgroup_skb/ingress")
int cgroup_ingress(struct __sk_buff *skb)
{
	return on_packet(skb, true);
}

SEC("cgroup_skb/egress")
int cgroup_egress(struct __sk_buff *skb)
{
	return on_packet(skb, false);
}

static __always_inline struct datagram_socket *note_socket(struct bpf_sock *ctx)
{
	struct probity_header header = {};
	struct datagram_socket *socket =
		bpf_sk_storage_get(&datagram_sockets, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!socket)
		return NULL;
	fill_current(&header, PROBITY_LISTEN);
	fill_executable(&socket->exe, bpf_get_current_task_btf());
	socket->net_cookie = bpf_get_netns_cookie(ctx);
	bpf_spin_lock(&socket->lock);
	socket->owner = header;
	bpf_spin_unlock(&socket->lock);
	return socket;
}

SEC("cgroup/sock_create")
int cgroup_sock_create(struct bpf_sock *ctx)
{
	if (ctx->protocol == IPPROTO_UDP)
		note_socket(ctx);
	return 1;
}

static __always_inline int on_bind(struct bpf_sock *ctx, const __u64 *address)
{
	struct probity_network record = {};
	struct datagram_socket *socket = note_socket(ctx);

	if (!socket) {
		lose(PROBITY_LISTEN);
		return 1;
	}
	struct flow *bound = &socket->bound;
	bound->local[0] = address[0];
	bound->local[1] = address[1];
	bound->local_port = ctx->src_port;
	bound->role = PROBITY_LISTEN;
	bound->begun_ns = bound->seen_ns = bpf_ktime_get_boot_ns();
	record.header = socket->owner;
	record.net_cookie = socket->net_cookie;
	fill_ends(&record, bound, ctx->family);
	tell(&record.header, PROBITY_LISTEN, sizeof(record), &socket->exe);
	return 1;
}

SEC("cgroup/post_bind4")
int cgroup_post_bind4(struct bpf_sock *ctx)
{
	__u64 address[2] = {0, (__u64)ctx->src_ip4 << 32 | __builtin_bswap32(0xffff)};

	return ctx->protocol == IPPROTO_UDP ? on_bind(ctx, address) : 1;
}

SEC("cgroup/post_bind6")
int cgroup_post_bind6(struct bpf_sock *ctx)
{
	__u64 address[2] = {(__u64)ctx->src_ip6[1] << 32 | ctx->src_ip6[0],
			    (__u64)ctx->src_ip6[3] << 32 | ctx->src_ip6[2]};

	return ctx->protocol == IPPROTO_UDP ? on_bind(ctx, address) : 1;
}

struct ending {
	struct datagram_socket *socket;
	__u64 family;
};

/* One of the flows, then the rest, then what it was bound to; 1 ends the walk. A loop would be verified in each round. */
static long end_one(__u64 place, void *context)
{
	struct ending *ending = context;
	struct datagram_socket *socket = ending->socket;

	if (place < FLOWS)
		end_flow(socket, &socket->flows[place & (FLOWS - 1)], ending->family, false);
	else if (place == FLOWS)
		end_flow(socket, &socket->rest, ending->family, true);
	else
		end_flow(socket, &socket->bound, ending->family, false);
	return 0;
}

SEC("cgroup/sock_release")
int cgroup_sock_release(struct bpf_sock *ctx)
{
	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	struct datagram_socket *socket = bpf_sk_storage_get(&datagram_sockets, ctx, 0, 0);
	if (!socket)
		return 1;
	struct ending ending = {.socket = socket, .family = ctx->family};
	bpf_spin_lock(&socket->lock);
	socket->is_released = 1;
	bpf_spin_unlock(&socket->lock);
	bpf_loop(FLOWS + 2, end_one, &ending, 0);
	return 1;
}
