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
#include "emit.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define DNS_PORT 53
#define DNS_HEADER 12
#define DNS_IS_ANSWER 0x80

/* Powers of two. */
#define FLOWS 16
#define QUERIES 16
#define IDLE_NS 30000000000ULL
#define REST_NS 10000000000ULL

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

struct datagram_socket {
	struct bpf_spin_lock lock;
	__u32 is_released;
	/* Of the flow that was not seen for longest: when, and its place. */
	__u64 oldest_ns;
	__u32 oldest;
	__u32 padding;
	struct probity_header owner;
	struct executable exe;
	__u64 net_cookie;
	/* Since when it is bound, 0: it is not; where. */
	struct flow bound;
	struct flow rest;
	struct flow flows[FLOWS];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct datagram_socket);
} datagram_sockets SEC(".maps");

/* Latest queries of a socket that are not answered: digest of the server and id; 0: none. */
struct query_log {
	__u32 next;
	__u32 padding;
	__u64 queries[QUERIES];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct query_log);
} query_logs SEC(".maps");

/* Working memory: answers arrive where nothing else of this CPU interrupts, else the flag keeps the second one out. */
struct answer {
	__u32 is_taken;
	__u32 padding;
	__u8 record[sizeof(struct probity_dns) + PROBITY_DNS_MAX];
} __attribute__((aligned(8)));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer);
} answers SEC(".maps");

/*
 * Working memory for a record, too large for the stack: programs that interrupt each other on one CPU get different
 * ones. The flag keeps a taken one from others.
 */
#define DRAFTS 4
struct draft {
	__u32 is_taken;
	__u32 padding;
	struct probity_close record;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DRAFTS);
	__type(key, __u32);
	__type(value, struct draft);
} drafts SEC(".maps");

/* NULL: none is free, and the event, of this kind, is counted as lost. */
static __always_inline struct draft *take_draft(enum probity_kind kind)
{
	for (__u32 place = 0; place < DRAFTS; place++) {
		__u32 key = place;
		struct draft *draft = bpf_map_lookup_elem(&drafts, &key);
		if (!draft || __sync_val_compare_and_swap(&draft->is_taken, 0, 1) != 0)
			continue;
		__builtin_memset(&draft->record, 0, sizeof(draft->record));
		return draft;
	}
	lose(kind);
	return NULL;
}

static __always_inline void give_back(struct draft *draft)
{
	__sync_lock_test_and_set(&draft->is_taken, 0);
}

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

static __always_inline void add_sums(struct flow *sums, const struct flow *one)
{
	sums->seen_ns = one->seen_ns;
	sums->bytes_in += one->bytes_in;
	sums->bytes_out += one->bytes_out;
	sums->packets_in += one->packets_in;
	sums->packets_out += one->packets_out;
}

/* The ends of a flow. On an IPv4 socket addresses are told as such. */
static __always_inline void fill_ends(struct probity_network *network, const struct flow *flow, __u32 family)
{
	network->family = family;
	network->protocol = IPPROTO_UDP;
	network->local_port = flow->local_port;
	network->remote_port = flow->remote_port;
	if (family == AF_INET) {
		*(__u32 *)network->local_address = flow->local[1] >> 32;
		*(__u32 *)network->remote_address = flow->remote[1] >> 32;
	} else {
		__builtin_memcpy(network->local_address, flow->local, 16);
		__builtin_memcpy(network->remote_address, flow->remote, 16);
	}
}

/* All of a close but its time; also under the lock. */
static __always_inline void fill_close(struct probity_close *record, const struct datagram_socket *socket,
				       const struct flow *flow, __u32 family)
{
	record->network.header = socket->owner;
	record->network.begun_ns = flow->begun_ns;
	record->network.net_cookie = socket->net_cookie;
	fill_ends(&record->network, flow, family);
	record->bytes_in = flow->bytes_in;
	record->bytes_out = flow->bytes_out;
	record->packets_in = flow->packets_in;
	record->packets_out = flow->packets_out;
	record->role = flow->role;
}

/* The time is now; what is said of the process, and its executable, stays. */
static __always_inline void tell(struct probity_header *header, __u8 kind, __u64 size, const struct executable *exe)
{
	__u16 flags = header->flags & PROBITY_NO_PROCESS;

	fill_time(header, kind);
	header->flags = flags;
	struct probity_counters *counts = meet(kind);
	if (counts)
		emit(counts, header, size, exe);
}

/*
 * Adds to the flow of a packet under the lock; false: there is none. Then `oldest` is the place to take. It is kept in
 * the socket because the verifier would go on with each of its values if it were in a register.
 */
static __always_inline bool add_to_flow(struct datagram_socket *socket, const struct flow *one)
{
	socket->oldest_ns = ~0ULL;
	for (__u32 place = 0; place < FLOWS; place++) {
		struct flow *known = &socket->flows[place];
		if (known->seen_ns && known->remote_port == one->remote_port && known->remote[1] == one->remote[1] &&
		    known->remote[0] == one->remote[0]) {
			add_sums(known, one);
			return true;
		}
		if (known->seen_ns < socket->oldest_ns) {
			socket->oldest_ns = known->seen_ns;
			socket->oldest = place;
		}
	}
	return false;
}

/* A packet of a peer that the socket does not know (any more). */
static __always_inline void begin_flow(struct datagram_socket *socket, const struct packet *packet, __u32 family)
{
	const struct flow *one = &packet->flow;
	bool is_new = true, is_told = false;
	/* The packet of a flow that is counted as lost begins nothing: the next one does. */
	struct draft *draft = take_draft(packet->is_in ? PROBITY_ACCEPT : PROBITY_CONNECT);

	if (!draft)
		return;
	struct probity_close *record = &draft->record;
	struct probity_network *network = &record->network;
	struct probity_header *header = &network->header;
	bpf_spin_lock(&socket->lock);
	if (socket->is_released || add_to_flow(socket, one)) {
		bpf_spin_unlock(&socket->lock);
		give_back(draft);
		return;
	}
	struct flow *slot = &socket->flows[socket->oldest & (FLOWS - 1)];
	if (slot->seen_ns && slot->seen_ns + IDLE_NS > one->seen_ns) {
		/* All places are of peers that are still active. */
		is_new = false;
		slot = &socket->rest;
		is_told = slot->seen_ns && slot->begun_ns + REST_NS < one->seen_ns;
	} else {
		is_told = slot->seen_ns != 0;
	}
	if (is_told)
		fill_close(record, socket, slot, family);
	if (is_new || is_told || !slot->seen_ns) {
		*slot = *one;
	} else {
		add_sums(slot, one);
		slot->remote[0] = one->remote[0];
		slot->remote[1] = one->remote[1];
		slot->remote_port = one->remote_port;
	}
	bpf_spin_unlock(&socket->lock);

	if (is_told) {
		record->is_aggregate = !is_new;
		tell(header, PROBITY_CLOSE, sizeof(*record), &socket->exe);
	}
	if (is_new) {
		/* Who sends is in this context; who receives is not. */
		if (!packet->is_in) {
			fill_current(header, PROBITY_CONNECT);
			fill_executable(&socket->exe, bpf_get_current_task_btf());
		}
		bpf_spin_lock(&socket->lock);
		if (packet->is_in)
			*header = socket->owner;
		else
			socket->owner = *header;
		bpf_spin_unlock(&socket->lock);
		network->net_cookie = socket->net_cookie;
		network->begun_ns = 0;
		fill_ends(network, one, family);
		tell(header, one->role, sizeof(*network), &socket->exe);
	}
	give_back(draft);
}

/*
 * The network namespace of any socket, also of one without a note. Not every kernel has the helper for this in programs
 * that see packets, and the verifier lets nobody follow this pointer: its value is read back from where it was put.
 */
static __always_inline __u64 net_cookie_of(struct bpf_sock *sk)
{
	struct bpf_sock *volatile held = sk;
	struct sock *sock = NULL;

	bpf_probe_read_kernel(&sock, sizeof(sock), (void *)&held);
	return KERNEL_READ(sock, __sk_common.skc_net.net, net_cookie);
}

static __always_inline __u64 query_key(const struct flow *flow, __u16 id)
{
	__u64 digest = (flow->remote[0] ^ flow->remote[1]) * 0x9e3779b97f4a7c15ULL;
	/* Never 0. */
	return (digest & ~0x1ffffULL) | 1 << 16 | id;
}

/* Notes what a socket asked, or passes on what it was answered to just that. `at`: of the DNS header. */
__noinline int on_dns(struct __sk_buff *skb, const struct packet *packet, __u32 at)
{
	__u8 head[4];
	__u32 zero = 0;
	__s64 length = (__s64)skb->len - at;
	struct bpf_sock *sk = skb->sk;

	if (!packet || !sk || length < DNS_HEADER || bpf_skb_load_bytes(skb, at, head, sizeof(head)))
		return 0;
	bool is_answer = head[2] & DNS_IS_ANSWER;
	__u64 key = query_key(&packet->flow, head[0] << 8 | head[1]);
	if (is_answer != packet->is_in)
		return 0;
	struct query_log *log = bpf_sk_storage_get(&query_logs, sk, 0, is_answer ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	if (!log) {
		if (!is_answer)
			lose(PROBITY_DNS);
		return 0;
	}
	if (!is_answer) {
		log->queries[__sync_fetch_and_add(&log->next, 1) & (QUERIES - 1)] = key;
		return 0;
	}
	bool is_asked = false;
	for (int place = 0; place < QUERIES && !is_asked; place++) {
		is_asked = log->queries[place] == key;
		if (is_asked)
			log->queries[place] = 0;
	}
	struct answer *answer = is_asked ? bpf_map_lookup_elem(&answers, &zero) : NULL;
	struct probity_counters *counts = answer ? meet(PROBITY_DNS) : NULL;
	if (!counts)
		return 0;
	if (__sync_val_compare_and_swap(&answer->is_taken, 0, 1) != 0) {
		COUNT(counts, recursion);
		return 0;
	}
	struct probity_dns *record = (void *)answer->record;
	fill_time(&record->header, PROBITY_DNS);
	record->header.flags = PROBITY_NO_PROCESS | (length > PROBITY_DNS_MAX ? PROBITY_TRUNCATED : 0);
	record->net_cookie = net_cookie_of(sk);
	__u64 size = length > PROBITY_DNS_MAX ? PROBITY_DNS_MAX : length;
	asm volatile("" : "+r"(size));
	if (size >= DNS_HEADER && size <= PROBITY_DNS_MAX && !bpf_skb_load_bytes(skb, at, record->payload, size)) {
		record->payload_length = size;
		emit(counts, &record->header, sizeof(*record) + size, NULL);
	} else {
		COUNT(counts, read_fault);
	}
	__sync_lock_test_and_set(&answer->is_taken, 0);
	return 0;
}

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

/* The end of one flow of a socket that ends. */
static __always_inline void end_flow(struct datagram_socket *socket, struct flow *flow, __u32 family, bool is_aggregate)
{
	if (!flow->seen_ns)
		return;
	struct draft *draft = take_draft(PROBITY_CLOSE);
	if (!draft)
		return;
	struct probity_close *record = &draft->record;
	bpf_spin_lock(&socket->lock);
	fill_close(record, socket, flow, family);
	bpf_spin_unlock(&socket->lock);
	record->is_aggregate = is_aggregate;
	tell(&record->network.header, PROBITY_CLOSE, sizeof(*record), &socket->exe);
	give_back(draft);
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
