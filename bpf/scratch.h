/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Working memory for records whose size is known only at the end.
 *
 * Invariant: a slot has one user. A program takes a free slot of its CPU and gives it back; programs that interrupt each
 * other get different slots, and when all are taken the event is counted as one of recursion.
 */
#ifndef PROBITY_SCRATCH_H
#define PROBITY_SCRATCH_H

#include "path.h"

/* Also in the loader (pinned-programs.ts). */
#define SCRATCH_SLOTS 2

/* PROBITY_SCRATCH_RECORD: bytes of the longest record of the family, a power of two. */
struct scratch {
	__u32 is_taken;
	__u32 padding;
	char path[PATH_BUFFER];
	char record[PROBITY_SCRATCH_RECORD];
};

/* Not a per-CPU map: those hold at most 32 KiB per entry. Set anew before loading: SCRATCH_SLOTS for every CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* NULL: none is free, which is counted. */
static __always_inline struct scratch *take_scratch(struct probity_counters *counts)
{
	__u32 first = bpf_get_smp_processor_id() * SCRATCH_SLOTS;

	for (__u32 slot = 0; slot < SCRATCH_SLOTS; slot++) {
		__u32 key = first + slot;
		struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
		if (scratch && __sync_val_compare_and_swap(&scratch->is_taken, 0, 1) == 0)
			return scratch;
	}
	COUNT(counts, recursion);
	return NULL;
}

static __always_inline void give_back(struct scratch *scratch)
{
	__sync_lock_test_and_set(&scratch->is_taken, 0);
}

#endif
