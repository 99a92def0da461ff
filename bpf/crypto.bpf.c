// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Probes in user space (USDT) by which cryptographic libraries tell what they do, and the mappings by which new libraries
 * are found.
 *
 * Each place of a probe is attached to the one program with its number in `sites` as cookie: which probe it is and where
 * its arguments are stands there. A probe that tells several data becomes a record for each.
 *
 * Invariants: of each hit, every datum is told or counted. Text that is not in memory is fetched where the program may
 * sleep (`btf_`, Linux 6.0); where it may not (`raw_`) it is counted as a fault.
 */
#include "open-files.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PROT_EXEC 4
#define MAP_ANONYMOUS 0x20
#define RETELL_NS 1000000000ULL
#define PAGE_BYTES 4096ULL
/* Tells one hit by two names of the same place; far longer than from one program to the next. */
#define SAME_HIT_NS 1000000ULL
#define SLOTS_PER_CPU 2
#define SLOTS_TRIED 8
/* Sizes of an element that say what its value is. */
#define IS_STRING (~0ULL)
#define IS_WORD (~0ULL - 1)

/* An element of the array of probes that tell several data. */
struct element {
	__u64 key;
	__u64 value;
	__u64 size;
};

struct slot {
	__u32 is_taken;
	__u32 padding;
	struct element elements[PROBITY_CRYPTO_ELEMENTS];
	struct probity_crypto record;
	char tail[PROBITY_CRYPTO_KEY_MAX + PROBITY_CRYPTO_VALUE_MAX];
};

/* Set anew before loading, as that of scratch.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS_PER_CPU);
	__type(key, __u32);
	__type(value, struct slot);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROBITY_CRYPTO_SITES);
	__type(key, __u32);
	__type(value, struct probity_site);
} sites SEC(".maps");

struct mapped_key {
	__u64 inode;
	__u32 device;
	__u32 generation;
};

/* When a file was told last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct mapped_key);
	__type(value, __u64);
} mapped SEC(".maps");

struct hit {
	__u32 group;
	__u32 site;
	__u64 time_ns;
};

/* Of sites in groups: the latest hit that was told, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct hit);
} hits SEC(".maps");

/* What is known of a hit while its data are told. */
struct telling {
	struct slot *slot;
	__u32 count;
	__u32 weight;
};

/* A program that sleeps keeps its slot meanwhile, so those of other CPUs are tried, too. NULL: none is free. */
static __always_inline struct slot *take_slot(void)
{
	__u32 first = bpf_get_smp_processor_id() * SLOTS_PER_CPU;

	for (__u32 place = 0; place < SLOTS_TRIED; place++) {
		__u32 key = place < SLOTS_PER_CPU ? first + place : place - SLOTS_PER_CPU;
		struct slot *slot = bpf_map_lookup_elem(&scratches, &key);
		if (slot && __sync_val_compare_and_swap(&slot->is_taken, 0, 1) == 0)
			return slot;
	}
	return NULL;
}

static __always_inline void give_back(struct slot *slot)
{
	__sync_lock_test_and_set(&slot->is_taken, 0);
}

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

static __always_inline __u64 argument(bool may_sleep, void *context, struct probity_operand *operand)
{
	__u64 value = operand->value;
	__u32 unused_bits = (64 - operand->size * 8) & 63;

	if (operand->kind != PROBITY_CONSTANT) {
		__u64 base = register_at(context, operand->place);
		if (operand->kind == PROBITY_REGISTER) {
			value = base;
		} else {
			if (operand->kind == PROBITY_INDEXED)
				base += register_at(context, operand->index) * operand->scale;
			const void *address = (void *)(base + value);
			value = 0;
			if (read_user(may_sleep, &value, sizeof(value), address))
				bpf_probe_read_user(&value, 4, address);
		}
	}
	value <<= unused_bits;
	return operand->is_signed ? (__u64)((__s64)value >> unused_bits) : value >> unused_bits;
}

/*
 * Whether a hit was told already, as that of another site of the same group. Whoever is told first stays the one that is told, as
 * long as it is told again and again.
 */
static __always_inline bool is_told_already(__u32 group, __u32 site)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 now_ns = bpf_ktime_get_boot_ns();
	struct hit *last = bpf_map_lookup_elem(&hits, &thread);
	struct hit told = {.group = group, .site = site, .time_ns = now_ns};

	if (last && last->group == group && last->site != site && now_ns - last->time_ns < SAME_HIT_NS)
		return true;
	bpf_map_update_elem(&hits, &thread, &told, BPF_ANY);
	return false;
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

/* Data of which nothing is known but how many they are. */
static __always_inline void lose_data(__u32 count)
{
	struct probity_counters *counts = meet(PROBITY_CRYPTO_DATUM);

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

	slot->record.count = claimed > 255 ? 255 : claimed;
	if (!count)
		return;
	__u32 bytes = count * sizeof(struct element);
	if (bytes > sizeof(slot->elements))
		bytes = sizeof(slot->elements);
	if (read_user(may_sleep, slot->elements, bytes, (void *)array))
		lose_data(count);
	else if (may_sleep)
		bpf_loop(PROBITY_CRYPTO_ELEMENTS, tell_sleeping, &telling, 0);
	else
		bpf_loop(PROBITY_CRYPTO_ELEMENTS, tell_waking, &telling, 0);
}

static __always_inline void tell_hit(bool may_sleep, void *context, struct probity_site *site, struct slot *slot)
{
	struct probity_crypto *record = &slot->record;
	struct element *first = slot->elements;

	fill_current(&record->header, PROBITY_CRYPTO_DATUM);
	record->context = argument(may_sleep, context, &site->arguments[0]);
	record->file = site->file;
	record->place = 0;
	record->count = 1;
	record->padding = 0;
	__u64 second = argument(may_sleep, context, &site->arguments[1]);
	__u64 third = argument(may_sleep, context, &site->arguments[2]);
	switch (site->probe) {
	case PROBITY_NEW_CONTEXT:
		tell_context(slot, second);
		return;
	case PROBITY_NEW_CONTEXT_WITH_DATA:
		tell_context(slot, second);
		tell_elements(may_sleep, slot, third, argument(may_sleep, context, &site->arguments[3]));
		return;
	case PROBITY_DATA:
		tell_elements(may_sleep, slot, second, third);
		return;
	case PROBITY_WORD_DATA:
		first->size = IS_WORD;
		break;
	case PROBITY_STRING_DATA:
		first->size = IS_STRING;
		break;
	case PROBITY_BLOB_DATA:
		first->size = argument(may_sleep, context, &site->arguments[3]);
		/* Sizes that would say something else. */
		if (first->size >= IS_WORD)
			first->size = IS_WORD - 1;
		break;
	default:
		return;
	}
	first->key = second;
	first->value = third;
	tell_datum(may_sleep, slot, 0);
}

static __always_inline int on_hit(bool may_sleep, struct pt_regs *context)
{
	__u32 key = bpf_get_attach_cookie(context);
	struct probity_site *site = bpf_map_lookup_elem(&sites, &key);

	if (!site || !site->probe)
		return 0;
	if (site->group && is_told_already(site->group, key))
		return 0;
	struct slot *slot = take_slot();
	if (!slot) {
		lose(PROBITY_CRYPTO_DATUM);
		return 0;
	}
	tell_hit(may_sleep, context, site, slot);
	give_back(slot);
	return 0;
}

SEC("uprobe.s")
int btf_usdt(struct pt_regs *context)
{
	return on_hit(true, context);
}

SEC("uprobe")
int raw_usdt(struct pt_regs *context)
{
	return on_hit(false, context);
}

static __always_inline int tell_mapped(struct inode *inode)
{
	struct mapped_key key = {
		.inode = KERNEL_READ(inode, i_ino),
		.device = KERNEL_READ(inode, i_sb, s_dev),
		.generation = KERNEL_READ(inode, i_generation),
	};
	__u64 now_ns = bpf_ktime_get_boot_ns();
	__u64 *told_ns = bpf_map_lookup_elem(&mapped, &key);

	if (told_ns && now_ns - *told_ns < RETELL_NS)
		return 0;
	struct probity_counters *counts = meet(PROBITY_CRYPTO_MAPPED);
	if (!counts)
		return 0;
	bpf_map_update_elem(&mapped, &key, &now_ns, BPF_ANY);
	struct probity_mapped record = {};
	fill_current(&record.header, PROBITY_CRYPTO_MAPPED);
	record.inode = key.inode;
	record.device = key.device;
	record.generation = key.generation;
	record.size = KERNEL_READ(inode, i_size);
	return emit_admitted(counts, &record.header, sizeof(record), 1);
}

/* mmap(address, length, protection, flags, descriptor, offset) */
static __always_inline int on_mmap(struct call_enter *call)
{
	if (!(call->arguments[2] & PROT_EXEC) || call->arguments[3] & MAP_ANONYMOUS)
		return 0;
	struct file *file = file_of(bpf_get_current_task_btf(), call->arguments[4]);
	return file ? tell_mapped(KERNEL_READ(file, f_inode)) : 0;
}

PROBITY_CALL_ENTER(mmap, "mmap", on_mmap)

/* TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm) */
static __always_inline int on_executed(bool typed, __u64 *ctx)
{
	struct linux_binprm *bprm = (void *)ctx[2];

	return tell_mapped(KERNEL_READ(bprm, file, f_inode));
}

PROBITY_HOOK(executed, "sched_process_exec", on_executed)
