// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * TCP: connect (told when its outcome is known), accept, listen and close, from the state changes of sockets. Whether a
 * system call, io_uring or the kernel itself moved the socket plays no part.
 *
 * Whom a socket belongs to is noted where that is certain, in the caller's context: at the start of a connect and at
 * listen. A connection accepted in interrupt context inherits its listener's note. With typed programs the note is
 * socket storage, which the kernel clones for the child and frees with the socket; without, a table stands in, which
 * forgets the oldest. A close is told with that note too: it mostly happens in the context of some other process.
 */
#include "emit.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_LISTEN 10

/* Who asked for a connection, or listens: the header of a record, made when they did. */
struct owner {
	struct probity_header header;
	struct executable exe;
	/* Boot time at which the connection stood; 0: not yet, or no more. */
	__u64 since_ns;
	/* PROBITY_CONNECT, PROBITY_ACCEPT or PROBITY_LISTEN. */
	__u32 role;
	__u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} socket_owners SEC(".maps");

/* Stand-in for untyped programs: sockets by address, listeners also by family and port. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct owner);
} plain_owners SEC(".maps");

static __always_inline __u64 listener_key(struct sock *sock)
{
	return (__u64)KERNEL_READ(sock, __sk_common.skc_family) << 16 | KERNEL_READ(sock, __sk_common.skc_num);
}

static __always_inline void note_owner(bool typed, struct sock *sock, __u8 kind)
{
	struct owner owner = {};

	fill_current(&owner.header, kind);
	fill_executable(&owner.exe, bpf_get_current_task_btf());
	owner.role = kind;
	if (typed) {
		bpf_sk_storage_delete(&socket_owners, sock);
		bpf_sk_storage_get(&socket_owners, sock, &owner, BPF_SK_STORAGE_GET_F_CREATE);
		return;
	}
	__u64 key = (__u64)sock;
	bpf_map_update_elem(&plain_owners, &key, &owner, BPF_ANY);
	if (kind == PROBITY_LISTEN) {
		key = listener_key(sock);
		bpf_map_update_elem(&plain_owners, &key, &owner, BPF_ANY);
	}
}

/*
 * The note of a socket; NULL when there is none. An accepted one has its listener's, or, when that listens since before
 * the programs came, one that says that nobody is known.
 */
static __always_inline struct owner *owner_of(bool typed, struct sock *sock, __u8 kind)
{
	struct owner unknown = {.header.flags = PROBITY_NO_PROCESS};

	if (typed)
		return bpf_sk_storage_get(&socket_owners, sock, &unknown,
					  kind == PROBITY_ACCEPT ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	__u64 key = (__u64)sock;
	if (kind == PROBITY_ACCEPT) {
		__u64 from = listener_key(sock);
		struct owner *listener = bpf_map_lookup_elem(&plain_owners, &from);
		bpf_map_update_elem(&plain_owners, &key, listener ?: &unknown, BPF_ANY);
	}
	return bpf_map_lookup_elem(&plain_owners, &key);
}

/* What is noted of a socket ends with it. */
static __always_inline void forget(bool typed, struct sock *sock, struct owner *owner)
{
	owner->since_ns = 0;
	if (typed)
		return;
	__u64 key = (__u64)sock;
	bpf_map_delete_elem(&plain_owners, &key);
}

static __always_inline void fill_addresses(struct probity_network *record, struct sock *sock)
{
	record->family = KERNEL_READ(sock, __sk_common.skc_family);
	record->protocol = IPPROTO_TCP;
	record->net_cookie = KERNEL_READ(sock, __sk_common.skc_net.net, net_cookie);
	record->local_port = KERNEL_READ(sock, __sk_common.skc_num);
	/* The number is given back before the state changes; its copy for packets stays. */
	if (!record->local_port)
		record->local_port = __builtin_bswap16(KERNEL_READ((struct inet_sock *)sock, inet_sport));
	record->remote_port = __builtin_bswap16(KERNEL_READ(sock, __sk_common.skc_dport));
	if (record->family == AF_INET) {
		BPF_CORE_READ_INTO((__u32 *)record->local_address, sock, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__u32 *)record->remote_address, sock, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO(&record->local_address, sock, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&record->remote_address, sock, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	}
}

/* What a change of state means; 0: nothing. */
static __always_inline __u8 kind_of(int before, int after)
{
	if (after == TCP_LISTEN)
		return PROBITY_LISTEN;
	if (before == TCP_SYN_RECV && after == TCP_ESTABLISHED)
		return PROBITY_ACCEPT;
	if (before == TCP_SYN_SENT && (after == TCP_ESTABLISHED || after == TCP_CLOSE))
		return PROBITY_CONNECT;
	/* A connection that never stood was never told of. */
	if (after == TCP_CLOSE && before != TCP_CLOSE && before != TCP_SYN_RECV)
		return PROBITY_CLOSE;
	return 0;
}

/* Bytes of the stream: what was sent again does not count, nor the number that the other side's end takes. */
static __always_inline void fill_sums(struct probity_close *record, struct sock *sock)
{
	struct tcp_sock *tcp = (void *)sock;
	__u64 is_done = KERNEL_READ(sock, __sk_common.skc_flags) >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
	__u64 received = KERNEL_READ(tcp, bytes_received);

	record->bytes_in = received - (received ? is_done : 0);
	record->bytes_out = KERNEL_READ(tcp, bytes_sent) - KERNEL_READ(tcp, bytes_retrans);
}

/* TP_PROTO(const struct sock *sk, const int oldstate, const int newstate) */
static __always_inline int on_set_state(bool typed, __u64 *ctx)
{
	struct sock *sock = (void *)ctx[0];
	int before = ctx[1], after = ctx[2];
	struct probity_close record = {};
	struct probity_network *network = &record.network;
	struct probity_header *header = &network->header;
	__u8 kind = kind_of(before, after);

	if (KERNEL_READ(sock, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (after == TCP_SYN_SENT)
		note_owner(typed, sock, PROBITY_CONNECT);
	if (!kind)
		return 0;
	if (kind == PROBITY_LISTEN)
		note_owner(typed, sock, PROBITY_LISTEN);
	struct owner *owner = owner_of(typed, sock, kind);
	if (owner)
		*header = owner->header;
	__u16 flags = owner ? header->flags : PROBITY_NO_PROCESS;
	network->begun_ns = header->time_ns;
	fill_time(header, kind);
	header->flags = flags;
	fill_addresses(network, sock);
	if (after == TCP_CLOSE) {
		network->error = KERNEL_READ(sock, sk_err);
		network->is_failure = kind == PROBITY_CONNECT || network->error;
	}
	if (kind == PROBITY_CLOSE) {
		network->begun_ns = owner ? owner->since_ns : 0;
		record.role = owner ? owner->role : before == TCP_LISTEN ? PROBITY_LISTEN : 0;
		if (before != TCP_LISTEN)
			fill_sums(&record, sock);
	}
	if (owner && after == TCP_CLOSE) {
		forget(typed, sock, owner);
	} else if (owner) {
		owner->since_ns = header->time_ns;
		owner->role = kind;
	}
	/* Notes are made also while other programs tell the events. */
	struct probity_counters *counts = meet(kind);
	if (!counts)
		return 0;
	return emit(counts, header, kind == PROBITY_CLOSE ? sizeof(record) : sizeof(*network),
		    owner ? &owner->exe : NULL);
}

PROBITY_HOOK(inet_sock_set_state, "inet_sock_set_state", on_set_state)
