/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Answers of the DNS, for the names of peers.
 *
 * Invariant: an answer is passed on only to the socket that asked that server just that, and once.
 */
#ifndef PROBITY_FLOW_DNS_H
#define PROBITY_FLOW_DNS_H

#include "flow-packet.h"

#define DNS_PORT 53
#define DNS_HEADER 12
#define DNS_IS_ANSWER 0x80
/* A power of two. */
#define QUERIES 16

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

#endif
