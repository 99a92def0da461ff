/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Records of what a hit tells: one for a context, one for each datum.
 *
 * Invariants: of each hit, every datum is told or counted; what of it is not whole says so. A thread has working memory of
 * its own: a program may sleep while it fills a record, and one that is kept waiting costs nobody else a record.
 */
#ifndef PROBITY_CRYPTO_TELLING_H
#define PROBITY_CRYPTO_TELLING_H

#include "crypto-memory.h"

/* Sizes of an element that say what its value is. */
#define IS_STRING (~0ULL)
#define IS_WORD (~0ULL - 1)
#define COUNT_MAX 255

/* An element of the array of probes that tell several data. */
struct element {
	__u64 key;
	__u64 value;
	__u64 size;
};

struct slot {
	struct element elements[PROBITY_CRYPTO_ELEMENTS];
	struct probity_crypto record;
	char tail[PROBITY_CRYPTO_KEY_MAX + PROBITY_CRYPTO_VALUE_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct slot);
} slots SEC(".maps");

/* What is known of a hit while its data are told. */
struct telling {
	struct slot *slot;
	__u32 count;
	__u32 padding;
};

/* NULL: the kernel has no memory for it now. */
static __always_inline struct slot *own_slot(void)
{
	return bpf_task_storage_get(&slots, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline int tell_context(struct slot *slot, __s64 parent)
{
	struct probity_crypto *record = &slot->record;
	struct probity_counters *counts = meet(PROBITY_CRYPTO_CONTEXT);

	if (!counts)
		return 0;
	__u32 weight = admit(counts, PROBITY_CRYPTO_CONTEXT);
	if (!weight)
		return 0;
	record->header.kind = PROBITY_CRYPTO_CONTEXT;
	record->header.flags = 0;
	record->parent = parent;
	record->word = 0;
	record->key_length = 0;
	record->value_length = 0;
	record->type = 0;
	record->marks = 0;
	return emit_admitted(counts, &record->header, sizeof(*record), weight);
}

/* Tells one datum of the slot's elements. */
static __always_inline int tell_datum(bool may_sleep, struct slot *slot, __u32 place)
{
	struct probity_crypto *record = &slot->record;
	struct element *element = &slot->elements[place & (PROBITY_CRYPTO_ELEMENTS - 1)];
	const char *key = (void *)element->key;
	const char *value = (void *)element->value;
	char *tail = slot->tail;
	__u64 size = element->size;
	__u32 length = 0;

	struct probity_counters *counts = meet(PROBITY_CRYPTO_DATUM);
	if (!counts)
		return 0;
	__u32 weight = admit(counts, PROBITY_CRYPTO_DATUM);
	if (!weight)
		return 0;
	record->header.kind = PROBITY_CRYPTO_DATUM;
	record->header.flags = 0;
	record->parent = 0;
	record->word = 0;
	record->marks = 0;
	record->place = place;
	/* The last that is told of more: what is beyond is not looked at. */
	if (place == PROBITY_CRYPTO_ELEMENTS - 1 && record->count > PROBITY_CRYPTO_ELEMENTS)
		record->marks |= PROBITY_DATA_CUT;
	long key_bytes = read_text(may_sleep, tail, PROBITY_CRYPTO_KEY_MAX, key);
	if (key_bytes <= 0)
		goto fault;
	__u32 key_length = (__u32)(key_bytes - 1) & (PROBITY_CRYPTO_KEY_MAX - 1);
	if (key_length == PROBITY_CRYPTO_KEY_MAX - 1 && is_cut(may_sleep, key, PROBITY_CRYPTO_KEY_MAX))
		record->marks |= PROBITY_KEY_CUT;
	tail += key_length;
	if (size == IS_WORD) {
		record->type = PROBITY_WORD;
		record->word = (__s64)value;
	} else if (size == IS_STRING) {
		record->type = PROBITY_STRING;
		long value_bytes = read_text(may_sleep, tail, PROBITY_CRYPTO_VALUE_MAX, value);
		if (value_bytes <= 0)
			goto fault;
		length = (__u32)(value_bytes - 1) & (PROBITY_CRYPTO_VALUE_MAX - 1);
		if (length == PROBITY_CRYPTO_VALUE_MAX - 1 && is_cut(may_sleep, value, PROBITY_CRYPTO_VALUE_MAX))
			record->marks |= PROBITY_VALUE_CUT;
	} else {
		record->type = PROBITY_BLOB;
		record->word = size;
		length = PROBITY_CRYPTO_VALUE_MAX - 1;
		if (size <= length)
			length = size;
		else
			record->marks |= PROBITY_VALUE_CUT;
		length &= PROBITY_CRYPTO_VALUE_MAX - 1;
		if (length && read_user(may_sleep, tail, length, value))
			goto fault;
	}
	record->key_length = key_length;
	record->value_length = length;
	if (record->marks)
		record->header.flags |= PROBITY_TRUNCATED;
	return emit_admitted(counts, &record->header, sizeof(*record) + key_length + length, weight);
fault:
	COUNT(counts, read_fault);
	return 0;
}

static long tell_sleeping(__u64 place, void *context)
{
	struct telling *telling = context;

	if (place >= telling->count || !telling->slot)
		return 1;
	tell_datum(true, telling->slot, place);
	return 0;
}

static long tell_waking(__u64 place, void *context)
{
	struct telling *telling = context;

	if (place >= telling->count || !telling->slot)
		return 1;
	tell_datum(false, telling->slot, place);
	return 0;
}

/* Facts of which nothing is known but how many they are. */
static __always_inline void lose_unread(enum probity_kind kind, __u32 count)
{
	struct probity_counters *counts = meet(kind);

	if (!counts || !count)
		return;
	__sync_fetch_and_add(&counts->attempted, count - 1);
	__sync_fetch_and_add(&counts->read_fault, count - 1);
	COUNT(counts, read_fault);
}

static __always_inline void tell_elements(bool may_sleep, struct slot *slot, __u64 array, __u64 claimed)
{
	__u32 count = claimed > PROBITY_CRYPTO_ELEMENTS ? PROBITY_CRYPTO_ELEMENTS : claimed;
	struct telling telling = {.slot = slot, .count = count};

	slot->record.count = claimed > COUNT_MAX ? COUNT_MAX : claimed;
	if (!count)
		return;
	__u32 bytes = count * sizeof(struct element);
	if (bytes > sizeof(slot->elements))
		bytes = sizeof(slot->elements);
	if (read_user(may_sleep, slot->elements, bytes, (void *)array))
		lose_unread(PROBITY_CRYPTO_DATUM, count);
	else if (may_sleep)
		bpf_loop(PROBITY_CRYPTO_ELEMENTS, tell_sleeping, &telling, 0);
	else
		bpf_loop(PROBITY_CRYPTO_ELEMENTS, tell_waking, &telling, 0);
}

#endif
