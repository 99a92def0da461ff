/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The flows of a socket: begun, summed up, told and ended.
 *
 * Invariants: the sums change under the socket's lock only; what is told of them was copied under it. A packet belongs to
 * one flow, or to the rest.
 */
#ifndef PROBITY_FLOW_SOCKET_H
#define PROBITY_FLOW_SOCKET_H

#include "flow-packet.h"

/* Powers of two. */
#define FLOWS 16
#define IDLE_NS 30000000000ULL
#define REST_NS 10000000000ULL

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

#endif
