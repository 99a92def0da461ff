/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The chosen variables of an exec's environment.
 *
 * Invariant: a variable that is not chosen is overwritten by the next one, and leaves the kernel only when its first four
 * bytes are those of a chosen one; the reader passes over it then.
 */
#ifndef PROBITY_EXEC_ENVIRONMENT_H
#define PROBITY_EXEC_ENVIRONMENT_H

#include "exec-texts.h"

#define VARIABLES_MAX 1024
/* A variable is looked at in pieces of this size; the first one is told. */
#define VARIABLE_PIECE 4096
#define VARIABLE_MASK (2 * VARIABLE_PIECE - 1)
_Static_assert(PROBITY_ENV_MAX == 2 * VARIABLE_PIECE, "a piece must fit behind the first half");

/* Written by user space: which first four bytes chosen variables have (see `environmentBits`). */
struct environment_bits {
	__u64 words[PROBITY_ENV_BITS / 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct environment_bits);
} environment SEC(".maps");

struct environment_walk {
	char *target;
	struct environment_bits *bits;
	unsigned long at;
	unsigned long end;
	__u32 length;
	__u32 is_cut;
	/* The piece before was not the end of its variable. */
	__u32 is_rest;
	__u32 padding;
};

static __always_inline bool is_chosen(struct environment_bits *bits, const char *text)
{
	__u32 prefix;

	__builtin_memcpy(&prefix, text, sizeof(prefix));
	__u32 bit = (prefix * 0x9e3779b1U) >> 20;
	return (bits->words[(bit >> 6) & 63] >> (bit & 63)) & 1;
}

/* One piece of the environment; 1 ends the walk. */
static long step_environment(__u64 index, void *context)
{
	struct environment_walk *walk = context;
	__u32 at = walk->length & VARIABLE_MASK;

	if (walk->at >= walk->end)
		return 1;
	if (at > VARIABLE_PIECE) {
		walk->is_cut = 1;
		return 1;
	}
	long length = bpf_probe_read_user_str(walk->target + at, VARIABLE_PIECE, (void *)walk->at);
	if (length <= 0) {
		walk->is_cut = 1;
		return 1;
	}
	__u32 is_rest = walk->is_rest;
	walk->is_rest = length == VARIABLE_PIECE;
	walk->at += walk->is_rest ? length - 1 : length;
	if (is_rest || length < 5 || !is_chosen(walk->bits, walk->target + at))
		return 0;
	if (walk->is_rest)
		walk->is_cut = 1;
	walk->length = at + length;
	return 0;
}

/* The chosen variables; also some that begin as they do, which the reader passes over. */
static __always_inline __u32 append_environment(struct probity_exec *record, __u32 offset, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__u32 zero = 0;
	struct environment_walk walk = {
		.at = BPF_CORE_READ(mm, env_start),
		.end = BPF_CORE_READ(mm, env_end),
	};

	record->env_bytes = walk.end - walk.at;
	walk.bits = bpf_map_lookup_elem(&environment, &zero);
	if (offset > ENV_AT_MAX || !walk.bits)
		return 0;
	walk.target = record->tail + offset;
	bpf_loop(VARIABLES_MAX, step_environment, &walk, 0);
	if (walk.is_cut || walk.at < walk.end)
		record->marks |= PROBITY_ENV_CUT;
	return walk.length <= PROBITY_ENV_MAX ? walk.length : 0;
}

#endif
