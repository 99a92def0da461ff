/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What every program shares: the ring, the settings, the counters, the header of a record, and the one way out.
 *
 * Invariant: a hook that meets an event counts `attempted` (meet), then exactly one of the outcomes. Filters and limits
 * (admit.h) are asked by `emit` at the latest; a hook in the context of the process that acts asks early, by `admit`, and
 * saves the work of filling a record that nobody gets.
 * Wakeups are the reader's business: it polls, so that no traced process pays for waking it.
 */
#ifndef PROBITY_EMIT_H
#define PROBITY_EMIT_H

#include <linux/bpf.h>
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "events.h"

/*
 * One hook, two programs: `btf_<name>` gets typed pointers (tp_btf), `raw_<name>` the same arguments as plain numbers
 * (raw_tp). Both call `<body>(typed, arguments…)`; `typed` is a constant in each. The reader loads one of the two.
 */
#define PROBITY_HOOK(name, tracepoint, body)                                                                         \
	SEC("tp_btf/" tracepoint)                                                                                    \
	int btf_##name(__u64 *ctx)                                                                                   \
	{                                                                                                            \
		return body(true, ctx);                                                                              \
	}                                                                                                            \
	SEC("raw_tp/" tracepoint)                                                                                    \
	int raw_##name(__u64 *ctx)                                                                                   \
	{                                                                                                            \
		return body(false, ctx);                                                                             \
	}

/* What a program on the exit of a system call gets (events/syscalls/sys_exit_<call>/format in the trace filesystem). */
struct call_exit {
	__u64 common;
	__s64 number;
	__s64 result;
};

/* What a program on the entry of a system call gets; it may read no more arguments than the call has. */
struct call_enter {
	__u64 common;
	__s64 number;
	__u64 arguments[6];
};

/* As PROBITY_CALL_EXIT, on the entry. */
#define PROBITY_CALL_ENTER(name, calls, body)                                                                        \
	SEC("tracepoint/syscalls/sys_enter_{" calls "}")                                                             \
	int call_enter_##name(struct call_enter *call)                                                               \
	{                                                                                                            \
		return body(call);                                                                                   \
	}

/*
 * A program on the exit of some system calls, `open,openat` for example, and of no other; calls in the i386 way do not
 * pass it. Calls that a kernel lacks are left out. The kernel does not run it while the same CPU is in another program
 * of this type: that is counted, and told as a loss. One program for many calls: the verifier is slow.
 */
#define PROBITY_CALL_EXIT(name, calls, body)                                                                         \
	SEC("tracepoint/syscalls/sys_exit_{" calls "}")                                                              \
	int call_exit_##name(struct call_exit *call)                                                                 \
	{                                                                                                            \
		return body(call);                                                                                   \
	}

/*
 * A program on all system calls (`sys_enter` or `sys_exit`), of which it takes those in the i386 way: by the gate of a
 * 64-bit process, or by a 32-bit process. They pass no tracepoint of their own, and what has no other effect to be seen
 * by is seen only here. Every call of the host pays for it: it is loaded only when that is asked for.
 */
#define PROBITY_COMPAT(name, tracepoint, body)                                                                       \
	SEC("raw_tp/" tracepoint)                                                                                    \
	int compat_##name(__u64 *ctx)                                                                                \
	{                                                                                                            \
		return is_i386_call() ? body((struct pt_regs *)ctx[0], (long)ctx[1]) : 0;                            \
	}

/*
 * Kernels since 6.2 let a program say which type a pointer has; null on older ones. What it gives may be loaded from
 * plainly: a load from nowhere gives 0.
 */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/*
 * A member of a kernel object, whatever is known of the pointer: KERNEL_READ(inode, i_sb, s_dev). By plain loads where
 * the kernel has bpf_rdonly_cast, else by calls, of which each costs ten times as much. Parts of an exec's program keep
 * to the calls (BPF_CORE_READ): with plain loads all over it, the verifier's ways through it multiply beyond its limit.
 */
#define CAST(object) \
	((typeof(object))bpf_rdonly_cast((object), bpf_core_type_id_kernel(typeof(*(object)))))
#define KERNEL_READ(object, ...)                                                                                     \
	(bpf_rdonly_cast ? ___arrow(CAST(object), __VA_ARGS__) : BPF_CORE_READ(object, __VA_ARGS__))

/*
 * The same where the verifier may know the pointer's type (`is_typed`, a constant): then without a cast.
 */
#define READ(is_typed, direct, ...) ((is_typed) ? (direct) : KERNEL_READ(__VA_ARGS__))

#define UNSET 4294967295U
#define CLOCK_TICK_NS 10000000ULL
#define PF_KTHREAD 0x00200000
#define TS_COMPAT 0x0002

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	/* Set anew before loading. */
	__uint(max_entries, 4096);
} events SEC(".maps");

/* One slot per class. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROBITY_CLASSES);
	__type(key, __u32);
	__type(value, struct probity_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sequences SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct probity_settings);
} settings SEC(".maps");

/* Written by user space only. Slot 0: losses already reported, slot 1: losses that are not in these counters. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct probity_losses);
} ledger SEC(".maps");

/*
 * Written by user space once: path of the data folder that the reader works for, ending in NUL; empty when it is not
 * known or too long. Whoever finds programs whose folder is gone may end them.
 */
struct owner_path {
	char path[PROBITY_OWNER_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner_path);
} owner SEC(".maps");

#define IS_OUTCOME(outcome, name) \
	(__builtin_offsetof(struct probity_counters, outcome) == __builtin_offsetof(struct probity_counters, name))
#define IS_LOSS(outcome)                                                                                             \
	(IS_OUTCOME(outcome, ring_full) || IS_OUTCOME(outcome, throttled) || IS_OUTCOME(outcome, read_fault) ||      \
	 IS_OUTCOME(outcome, recursion))

/* Counts one event; of a loss, also when it was. */
#define COUNT(counts, outcome)                                                                                       \
	do {                                                                                                         \
		__sync_fetch_and_add(&(counts)->outcome, 1);                                                         \
		if (IS_LOSS(outcome))                                                                                \
			note_loss(counts);                                                                           \
	} while (0)

static __always_inline void note_loss(struct probity_counters *counts)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();
	if (now_ns - counts->lost_to_ns > PROBITY_QUIET_NS)
		counts->lost_from_ns = now_ns;
	counts->lost_to_ns = now_ns;
}

static __always_inline __u32 class_of(__u32 kind)
{
	return kind % PROBITY_CLASSES;
}

/* Of the task's call that is being executed; x86-64 alone has two ways at once. */
static __always_inline bool is_i386_call(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return bpf_core_field_exists(task->thread_info.status) && task->thread_info.status & TS_COMPAT;
}

static __always_inline struct probity_settings *settings_now(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&settings, &zero);
}

/*
 * Counts an event that the program met, by the kind of record that it gives. NULL: not within the time of these programs:
 * nothing to do.
 */
static __always_inline struct probity_counters *meet(enum probity_kind kind)
{
	__u32 class = class_of(kind);
	struct probity_settings *now = settings_now();
	struct probity_counters *counts = bpf_map_lookup_elem(&counters, &class);
	if (!now || !counts)
		return NULL;
	if (now->from_ns | now->until_ns) {
		__u64 time_ns = bpf_ktime_get_boot_ns();
		if (time_ns < now->from_ns || (now->until_ns && time_ns >= now->until_ns))
			return NULL;
	}
	COUNT(counts, attempted);
	return counts;
}

/* Counts an event, by the kind of record that it would have given, for which the kernel gives no memory now. */
static __always_inline void lose(enum probity_kind kind)
{
	struct probity_counters *counts = meet(kind);

	if (counts)
		COUNT(counts, recursion);
}

static __always_inline __u64 next_sequence(void)
{
	__u32 zero = 0;
	__u64 *sequence = bpf_map_lookup_elem(&sequences, &zero);
	return sequence ? __sync_fetch_and_add(sequence, 1) + 1 : 0;
}

/*
 * Two lanes share the ring of processes: starts and ends without an exec (bulk) leave the last quarter of it to execs and
 * changes of credentials (critical). The other rings hold one lane each.
 */
static __always_inline bool has_room(__u8 kind)
{
	if (kind != PROBITY_FORK && kind != PROBITY_EXIT)
		return true;
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) < bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 4 * 3;
}

/*
 * The way out of an event that was admitted: at most `size` bytes of a filled record, of which the header's length is made
 * true. `weight` is what `admit` gave.
 */
static __always_inline int emit_admitted(struct probity_counters *counts, struct probity_header *record, __u64 size,
					 __u32 weight)
{
	record->length = size;
	record->weight = weight;
	record->cpu = bpf_get_smp_processor_id();
	record->sequence = next_sequence();
	__u16 flags = record->flags;
	if (!has_room(record->kind) || bpf_ringbuf_output(&events, record, size, BPF_RB_NO_WAKEUP)) {
		COUNT(counts, ring_full);
		return 0;
	}
	COUNT(counts, submitted);
	if (flags & PROBITY_TRUNCATED)
		COUNT(counts, truncated);
	return 0;
}

static __always_inline void fill_time(struct probity_header *header, __u8 kind)
{
	header->version = PROBITY_RECORD_VERSION;
	header->kind = kind;
	header->flags = 0;
	header->weight = 1;
	header->time_ns = bpf_ktime_get_boot_ns();
}

/*
 * Fills the header for a task: the process it belongs to, its parent and its credentials now. `is_typed`: the pointer
 * is one whose type the verifier knows, as that of bpf_get_current_task_btf.
 */
static __always_inline void fill_header(bool is_typed, struct probity_header *header, __u8 kind,
					struct task_struct *task)
{
	struct task_struct *leader = READ(is_typed, task->group_leader, task, group_leader);
	struct task_struct *parent = READ(is_typed, task->real_parent, task, real_parent);
	const struct cred *cred = READ(is_typed, task->cred, task, cred);

	fill_time(header, kind);
	header->tid = READ(is_typed, task->pid, task, pid);
	header->exec_id = READ(is_typed, task->self_exec_id, task, self_exec_id);
	header->pid = READ(is_typed, task->tgid, task, tgid);
	header->start_ns = READ(is_typed, leader->start_boottime, leader, start_boottime);
	header->ppid = READ(is_typed, parent->tgid, parent, tgid);
	header->parent_start_ns =
		READ(is_typed, parent->group_leader->start_boottime, parent, group_leader, start_boottime);
	header->uid = READ(is_typed, cred->uid.val, cred, uid.val);
	header->euid = READ(is_typed, cred->euid.val, cred, euid.val);
	header->gid = READ(is_typed, cred->gid.val, cred, gid.val);
	header->auid = UNSET;
	header->session = UNSET;
	if (bpf_core_field_exists(task->loginuid)) {
		header->auid = READ(is_typed, task->loginuid.val, task, loginuid.val);
		header->session = READ(is_typed, task->sessionid, task, sessionid);
	}
	header->cgroup_id = READ(is_typed, task->cgroups->dfl_cgrp->kn->id, task, cgroups, dfl_cgrp, kn, id);
	bpf_probe_read_kernel(header->comm, sizeof(header->comm), &leader->comm);
}

/*
 * The same of the current task. A global function is verified once for all programs and ways that lead to it: at each
 * pointer that is read through a trusted one the verifier searches all the kernel's types by name, for milliseconds.
 */
__noinline int fill_current(struct probity_header *header, __u8 kind)
{
	if (header)
		fill_header(true, header, kind, bpf_get_current_task_btf());
	return 0;
}

static __always_inline bool is_own_pid(struct probity_settings *now, __u32 pid, __u64 start_ns)
{
	__u64 ticks = start_ns / CLOCK_TICK_NS;
	return (pid == now->own_pid[0] && ticks == now->own_start_ticks[0]) ||
	       (pid == now->own_pid[1] && ticks == now->own_start_ticks[1]);
}

/* The process that a thread's process was made by, or was given to since; NULL above the first. `task`: any. */
static __always_inline struct task_struct *process_above(struct task_struct *task)
{
	struct task_struct *leader = KERNEL_READ(task, real_parent, group_leader);

	return KERNEL_READ(leader, pid) ? leader : NULL;
}

/* Whether a task is of one of Probity's own processes, or of a child of one. `task`: any. */
static __always_inline bool is_own(struct task_struct *task, struct probity_settings *now)
{
	struct task_struct *leader = KERNEL_READ(task, group_leader);
	struct task_struct *parent = process_above(leader);

	return is_own_pid(now, KERNEL_READ(leader, pid), KERNEL_READ(leader, start_boottime)) ||
	       (parent && is_own_pid(now, KERNEL_READ(parent, pid), KERNEL_READ(parent, start_boottime)));
}

#include "admit.h"

/* The way out of an event that was not admitted yet: by what its header says, and `exe` (see admit_header). */
static __always_inline int emit(struct probity_counters *counts, struct probity_header *record, __u64 size,
				const struct executable *exe)
{
	__u32 weight = admit_header(counts, record, exe);

	return weight ? emit_admitted(counts, record, size, weight) : 0;
}

#endif
