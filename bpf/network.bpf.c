// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * TCP: connect (told when its outcome is known), accept and listen, from the state changes of sockets. Whether a system
 * call, io_uring or the kernel itself moved the socket plays no part.
 *
 * Whom a socket belongs to is noted where that is certain, in the caller's context: at the start of a connect and at
 * listen. A connection accepted in interrupt context inherits its listener's note. With typed programs the note is
 * socket storage, which the kernel clones for the child and frees with the socket; without, two tables stand in.
 */
#include "emit.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PROGRAM_SET_STATE 0

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_LISTEN 10

/* Who asked for a connection, or listens: the header of a record, made when they did. */
struct owner {
	struct probity_header header;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} socket_owners SEC(".maps");

/* Stand-ins for untyped programs: connecting sockets by address, listeners by family and port. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct owner);
} plain_owners SEC(".maps");

static __always_inline __u64 plain_key(struct sock *sock, __u8 kind)
{
	if (kind == PROBITY_CONNECT)
		return (__u64)sock;
	return (__u64)BPF_CORE_READ(sock, __sk_common.skc_family) << 16 | BPF_CORE_READ(sock, __sk_common.skc_num);
}

static __always_inline void note_owner(bool typed, struct sock *sock, __u8 kind)
{
	struct owner owner = {};

	fill_header(true, &owner.header, kind, bpf_get_current_task_btf());
	if (typed) {
		bpf_sk_storage_delete(&socket_owners, sock);
		bpf_sk_storage_get(&socket_owners, sock, &owner, BPF_SK_STORAGE_GET_F_CREATE);
		return;
	}
	__u64 key = plain_key(sock, kind);
	bpf_map_update_elem(&plain_owners, &key, &owner, BPF_ANY);
}

static __always_inline struct owner *owner_of(bool typed, struct sock *sock, __u8 kind)
{
	if (typed)
		return bpf_sk_storage_get(&socket_owners, sock, 0, 0);
	__u64 key = plain_key(sock, kind);
	return bpf_map_lookup_elem(&plain_owners, &key);
}

static __always_inline void fill_addresses(struct probity_network *record, struct sock *sock)
{
	record->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	record->protocol = IPPROTO_TCP;
	record->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	record->remote_port = __builtin_bswap16(BPF_CORE_READ(sock, __sk_common.skc_dport));
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
	return 0;
}

/* TP_PROTO(const struct sock *sk, const int oldstate, const int newstate) */
static __always_inline int on_set_state(bool typed, __u64 *ctx)
{
	struct sock *sock = (void *)ctx[0];
	int before = ctx[1], after = ctx[2];
	struct probity_network record = {};
	__u8 kind = kind_of(before, after);

	if (BPF_CORE_READ(sock, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (after == TCP_SYN_SENT)
		note_owner(typed, sock, PROBITY_CONNECT);
	if (!kind)
		return 0;
	struct probity_counters *counts = begin(PROGRAM_SET_STATE);
	if (!counts)
		return 0;
	if (kind == PROBITY_LISTEN)
		note_owner(typed, sock, PROBITY_LISTEN);
	struct owner *owner = owner_of(typed, sock, kind);
	if (owner)
		record.header = owner->header;
	record.begun_ns = record.header.time_ns;
	fill_time(&record.header, kind);
	if (!owner)
		record.header.flags = PROBITY_NO_PROCESS;
	fill_addresses(&record, sock);
	if (after == TCP_CLOSE) {
		record.is_failure = 1;
		record.error = BPF_CORE_READ(sock, sk_err);
	}
	return emit(counts, &record.header, sizeof(record));
}

PROBITY_HOOK(inet_sock_set_state, "inet_sock_set_state", on_set_state)
