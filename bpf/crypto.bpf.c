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
#include "crypto-telling.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PROT_EXEC 4
#define MAP_ANONYMOUS 0x20
#define RETELL_NS 1000000000ULL
/* Tells one hit by two names of the same place; far longer than from one program to the next. */
#define SAME_HIT_NS 1000000ULL

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

/* What a probe said, before its texts are read. */
struct hit_facts {
	__u32 probe;
	__u32 file;
	__u64 arguments[PROBITY_CRYPTO_ARGUMENTS];
};

static __always_inline void tell_hit(bool may_sleep, struct slot *slot, struct hit_facts *facts)
{
	struct probity_crypto *record = &slot->record;
	struct element *first = slot->elements;

	fill_current(&record->header, PROBITY_CRYPTO_DATUM);
	record->context = facts->arguments[0];
	record->file = facts->file;
	record->place = 0;
	record->count = 1;
	record->padding = 0;
	switch (facts->probe) {
	case PROBITY_NEW_CONTEXT:
		tell_context(slot, facts->arguments[1]);
		return;
	case PROBITY_NEW_CONTEXT_WITH_DATA:
		tell_context(slot, facts->arguments[1]);
		tell_elements(may_sleep, slot, facts->arguments[2], facts->arguments[3]);
		return;
	case PROBITY_DATA:
		tell_elements(may_sleep, slot, facts->arguments[1], facts->arguments[2]);
		return;
	case PROBITY_WORD_DATA:
		first->size = IS_WORD;
		break;
	case PROBITY_STRING_DATA:
		first->size = IS_STRING;
		break;
	case PROBITY_BLOB_DATA:
		first->size = facts->arguments[3];
		/* Sizes that would say something else. */
		if (first->size >= IS_WORD)
			first->size = IS_WORD - 1;
		break;
	default:
		return;
	}
	first->key = facts->arguments[1];
	first->value = facts->arguments[2];
	tell_datum(may_sleep, slot, 0);
}

/* What a hit begins with: a context, or the first datum. */
static __always_inline enum probity_kind kind_of(__u32 probe)
{
	return probe == PROBITY_NEW_CONTEXT || probe == PROBITY_NEW_CONTEXT_WITH_DATA ? PROBITY_CRYPTO_CONTEXT :
											   PROBITY_CRYPTO_DATUM;
}

/* Never set; only the kernel's verifier knows. */
const volatile bool tail_calls = false;

/*
 * Keeps the kernel from giving this program a private stack (bpf_enable_priv_stack in kernel/bpf/verifier.c, Linux 6.13):
 * there is one for each processor, and a program that sleeps, or is preempted, would find there what another thread's hit
 * has left, which ends in an oops. A program with a tail call has its frames on the thread's own stack. The verifier takes
 * the call away as unreachable before anything else is made of it.
 */
static __always_inline void keep_own_stack(struct pt_regs *context)
{
	if (tail_calls)
		bpf_tail_call(context, (void *)0, 0);
}

static __always_inline int on_hit(bool may_sleep, struct pt_regs *context)
{
	keep_own_stack(context);
	__u32 key = bpf_get_attach_cookie(context);
	struct probity_site *site = bpf_map_lookup_elem(&sites, &key);
	struct hit_facts facts = {};

	if (!site || !site->probe)
		return 0;
	if (site->group && is_told_already(site->group, key))
		return 0;
	facts.probe = site->probe;
	facts.file = site->file;
	for (__u32 place = 0; place < PROBITY_CRYPTO_ARGUMENTS; place++) {
		if (read_argument(may_sleep, context, &site->arguments[place], &facts.arguments[place])) {
			lose_unread(kind_of(facts.probe), 1);
			return 0;
		}
	}
	struct slot *slot = own_slot();
	if (!slot) {
		lose(kind_of(facts.probe));
		return 0;
	}
	tell_hit(may_sleep, slot, &facts);
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

static long tell_area(struct task_struct *task, struct vm_area_struct *area, void *context)
{
	struct file *file = KERNEL_READ(area, vm_file);

	if (file)
		tell_mapped(KERNEL_READ(file, f_inode));
	return 0;
}

/* mprotect(address, length, protection): what was mapped may be executed from now on. */
static __always_inline int on_mprotect(struct call_enter *call)
{
	if (call->arguments[2] & PROT_EXEC)
		bpf_find_vma(bpf_get_current_task_btf(), call->arguments[0], tell_area, NULL, 0);
	return 0;
}

PROBITY_CALL_ENTER(mprotect, "mprotect,pkey_mprotect", on_mprotect)

/* TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm) */
static __always_inline int on_executed(bool typed, __u64 *ctx)
{
	struct linux_binprm *bprm = (void *)ctx[2];

	return tell_mapped(KERNEL_READ(bprm, file, f_inode));
}

PROBITY_HOOK(executed, "sched_process_exec", on_executed)
