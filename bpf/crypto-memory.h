/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Reading what a process has in its memory, and where a probe's arguments are.
 *
 * Invariant: to fetch a page may take as long as whoever serves it likes (`may_sleep`): nothing that another thread needs
 * is held meanwhile.
 */
#ifndef PROBITY_CRYPTO_MEMORY_H
#define PROBITY_CRYPTO_MEMORY_H

#include "emit.h"

#define PAGE_BYTES 4096ULL

static __always_inline long read_user(bool may_sleep, void *to, __u32 size, const void *from)
{
	long error = bpf_probe_read_user(to, size, from);

	return error && may_sleep ? bpf_copy_from_user(to, size, from) : error;
}

/* Bytes of a string with its NUL, at most `size`; negative: it cannot be read. */
static __always_inline long read_text(bool may_sleep, char *to, __u32 size, const char *from)
{
	long length = bpf_probe_read_user_str(to, size, from);
	__u64 next_page = ((__u64)from | (PAGE_BYTES - 1)) + 1;
	char byte;

	if (length >= 0 || !may_sleep || bpf_copy_from_user(&byte, 1, from))
		return length;
	if (next_page < (__u64)from + size)
		bpf_copy_from_user(&byte, 1, (void *)next_page);
	return bpf_probe_read_user_str(to, size, from);
}

/* Whether a string that fills its room goes on. */
static __always_inline bool is_cut(bool may_sleep, const char *from, __u32 size)
{
	char last = 0;

	return read_user(may_sleep, &last, 1, from + size - 1) || last;
}

static __always_inline __u64 register_at(void *context, __u16 place)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), context + (place & 0x1ff));
	return value;
}

/* What a probe's argument is; negative: it is nowhere in memory. */
static __always_inline long read_argument(bool may_sleep, void *context, struct probity_operand *operand, __u64 *to)
{
	__u64 value = operand->value;
	__u32 size = operand->size > sizeof(value) ? sizeof(value) : operand->size;
	__u32 unused_bits = (64 - size * 8) & 63;

	if (operand->kind != PROBITY_CONSTANT) {
		__u64 base = register_at(context, operand->place);
		if (operand->kind == PROBITY_REGISTER) {
			value = base;
		} else {
			if (operand->kind == PROBITY_INDEXED)
				base += register_at(context, operand->index) * operand->scale;
			const void *address = (void *)(base + value);
			value = 0;
			/* Not a byte more than it has: the next page may be another's, or none. */
			if (read_user(may_sleep, &value, size, address))
				return -1;
		}
	}
	value <<= unused_bits;
	*to = operand->is_signed ? (__u64)((__s64)value >> unused_bits) : value >> unused_bits;
	return 0;
}

#endif
