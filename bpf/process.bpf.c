// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Processes: exec with its arguments, fork and exit. Threads and kernel threads are filtered.
 *
 * Arguments and environment are read where the kernel has just copied them: in the new image's own address space, before
 * its first instruction. No thread of the caller survives to change them.
 */
#include "exec-ancestors.h"
#include "exec-environment.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_GROUP_EXIT 0x4

static __always_inline void fill_tty(struct probity_exec *record, struct task_struct *task)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);

	__builtin_memset(record->tty, 0, sizeof(record->tty));
	if (tty)
		bpf_probe_read_kernel_str(record->tty, sizeof(record->tty), &tty->name);
}

/* The whole record but the arguments; the tail's length. */
static __always_inline __u32 fill_exec(struct probity_exec *record, struct scratch *scratch, struct task_struct *task,
				       struct linux_binprm *bprm)
{
	fill_current(&record->header, PROBITY_EXEC);
	fill_current_ids(&record->ids);
	record->marks = 0;
	record->padding = 0;
	record->caps_gained = 0;
	fill_tty(record, task);
	__u32 offset = fill_ancestors(record, task);
	__u32 length = append_exe(record, offset, scratch, BPF_CORE_READ(bprm, file));
	record->exe_length = length;
	offset += length;
	length = append_cwd(record, offset, scratch, task);
	record->cwd_length = length;
	offset += length;
	length = append_script(record, offset, scratch, bprm);
	record->script_length = length;
	offset += length;
	offset += append_ancestor_names(record, offset, scratch, task);
	length = append_environment(record, offset, task);
	record->env_length = length;
	return offset + length;
}

/* Ids or capabilities that an exec gave. */
static __always_inline bool is_privilege_changed(struct probity_ids *before, const struct cred *cred)
{
	return before->uid != cred->uid.val || before->euid != cred->euid.val || before->gid != cred->gid.val ||
	       before->egid != cred->egid.val || (CAPABILITIES(cred, cap_permitted) & ~before->permitted);
}

/* Tells an exec that changed what the process may do. */
static __always_inline void tell_change(struct task_struct *task, struct note *note)
{
	struct probity_counters *counts = meet(PROBITY_CREDENTIALS);
	if (!counts)
		return;
	__u32 weight = admit(counts, PROBITY_CREDENTIALS);
	if (!weight)
		return;
	struct scratch *scratch = take_scratch(counts);
	if (!scratch)
		return;
	struct probity_credentials *change = (void *)scratch->record;
	__builtin_memset(change, 0, sizeof(*change));
	fill_current(&change->header, PROBITY_CREDENTIALS);
	change->call = -1;
	change->before = note->before;
	fill_current_ids(&change->after);
	emit_admitted(counts, &change->header, sizeof(*change), weight);
	give_back(scratch);
}

/* An exec with more arguments than the working memory holds: put together in the ring. False: it has no room. */
static __always_inline bool emit_long(struct probity_counters *counts, struct probity_exec *record, __u32 offset,
				      struct mm_struct *mm)
{
	char *place = bpf_ringbuf_reserve(&events, LONG_RECORD, 0);
	__u32 length = record->argv_bytes;

	if (!place)
		return false;
	record->header.length = LONG_RECORD;
	record->header.cpu = bpf_get_smp_processor_id();
	record->header.sequence = next_sequence();
	record->marks |= PROBITY_PADDED;
	if (length > PROBITY_ARGV_MAX) {
		record->header.flags |= PROBITY_TRUNCATED;
		length = PROBITY_ARGV_MAX;
	}
	record->argv_length = length;
	if (offset > ARGV_AT_MAX)
		offset = 0;
	if (bpf_probe_read_user(place + sizeof(*record) + offset, length, (void *)mm->arg_start)) {
		record->header.flags |= PROBITY_TRUNCATED | PROBITY_ARGV_UNREAD;
		record->argv_length = 0;
	}
	__u16 flags = record->header.flags;
	bpf_probe_read_kernel(place, sizeof(*record) + offset, record);
	bpf_ringbuf_submit(place, BPF_RB_NO_WAKEUP);
	COUNT(counts, submitted);
	if (flags & PROBITY_TRUNCATED)
		COUNT(counts, truncated);
	return true;
}

static __always_inline __u32 append_argv(struct probity_exec *record, __u32 offset, struct mm_struct *mm)
{
	__u32 length = record->argv_bytes;

	if (length > ARGV_INLINE) {
		record->header.flags |= PROBITY_TRUNCATED;
		length = ARGV_INLINE;
	}
	if (offset > ARGV_AT_MAX)
		return 0;
	if (bpf_probe_read_user(record->tail + offset, length, (void *)mm->arg_start)) {
		record->header.flags |= PROBITY_TRUNCATED | PROBITY_ARGV_UNREAD;
		return 0;
	}
	return length;
}

/* Adds the arguments to a record, and tells it. */
static __always_inline void emit_exec(struct probity_counters *counts, struct probity_exec *record, __u32 offset,
				      struct mm_struct *mm)
{
	record->argv_bytes = mm->arg_end - mm->arg_start;
	if (record->argv_bytes > ARGV_INLINE && emit_long(counts, record, offset, mm))
		return;
	record->argv_length = append_argv(record, offset, mm);
	offset += record->argv_length;
	if (offset > ARGV_AT_MAX + ARGV_INLINE)
		COUNT(counts, read_fault);
	else
		emit_admitted(counts, &record->header, sizeof(*record) + offset, record->header.weight);
}

/* Tells an exec; `note` is the process's own, or NULL, and keeps the executable for those of its children. */
static __always_inline void tell_exec(struct task_struct *task, struct linux_binprm *bprm, struct note *note)
{
	struct probity_counters *counts = meet(PROBITY_EXEC);
	if (!counts)
		return;
	__u32 is_filtered = 0;
	__u32 weight = admit_file(counts, PROBITY_EXEC, BPF_CORE_READ(bprm, file), &is_filtered);
	if (!weight)
		return;
	struct scratch *scratch = take_scratch(counts);
	if (!scratch)
		return;
	struct probity_exec *record = (void *)scratch->record;
	__u32 offset = fill_exec(record, scratch, task, bprm);
	record->header.weight = weight;
	if (note) {
		__u32 exe_at = record->ancestor_count * sizeof(struct probity_ancestor);
		if (exe_at <= EXE_AT_MAX)
			note_exe(note, record->tail + exe_at, record->exe_length);
		if (note->is_before_known) {
			record->marks |= PROBITY_BEFORE_KNOWN;
			record->caps_gained = record->ids.permitted & ~note->before.permitted;
		}
	}
	emit_exec(counts, record, offset, task->mm);
	give_back(scratch);
}

/* TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm): p is the current task. */
static __always_inline int on_exec(bool typed, __u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct note *note = bpf_task_storage_get(&notes, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	/* Read once, before the ways part. */
	const struct cred *cred = task->cred;

	/* What it executed before is not its executable any more, also when this exec is not told. */
	if (note)
		note->version = 0;
	tell_exec(task, (void *)ctx[2], note);
	if (note && note->is_before_known) {
		if (is_privilege_changed(&note->before, cred))
			tell_change(task, note);
		note->is_before_known = 0;
	}
	return 0;
}

/* TP_PROTO(struct task_struct *task, struct linux_binprm *bprm): before the exec takes effect. */
static __always_inline int on_prepare(bool typed, __u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct note *note = bpf_task_storage_get(&notes, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!note) {
		/* What the exec changes cannot be told. */
		lose(PROBITY_CREDENTIALS);
		return 0;
	}
	fill_current_ids(&note->before);
	note->is_before_known = 1;
	return 0;
}

/* TP_PROTO(struct task_struct *parent, struct task_struct *child) */
static __always_inline int on_fork(bool typed, __u64 *ctx)
{
	struct task_struct *child = (void *)ctx[1];
	struct probity_fork record = {};

	if (KERNEL_READ(child, pid) != KERNEL_READ(child, tgid))
		return 0;
	struct probity_counters *counts = meet(PROBITY_FORK);
	if (!counts)
		return 0;
	if (KERNEL_READ(child, flags) & PF_KTHREAD) {
		COUNT(counts, filtered);
		return 0;
	}
	/* Who forks is the parent, and that is who runs now. */
	__u32 weight = admit(counts, PROBITY_FORK);
	if (!weight)
		return 0;
	fill_header(typed, &record.header, PROBITY_FORK, child);
	return emit_admitted(counts, &record.header, sizeof(record), weight);
}

/* Processes whose last threads are leaving at the same time on two CPUs: the first to enter is the one that tells. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} leaving SEC(".maps");

/* Whether the thread is the one that ends its process: `live` is counted down before the tracepoint. */
static __always_inline bool ends_process(struct task_struct *task)
{
	if (task->signal->live.counter != 0)
		return false;
	if (task->signal->nr_threads <= 1)
		return true;
	__u64 key = task->group_leader->start_boottime ^ ((__u64)task->tgid << 40);
	__u32 one = 1;
	return bpf_map_update_elem(&leaving, &key, &one, BPF_NOEXIST) == 0;
}

/* TP_PROTO(struct task_struct *p, …): p is the current task; newer kernels have a second argument, which is not used. */
static __always_inline int on_exit(bool typed, __u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct probity_exit record = {};

	if (!ends_process(task))
		return 0;
	struct probity_counters *counts = meet(PROBITY_EXIT);
	if (!counts)
		return 0;
	if (task->flags & PF_KTHREAD) {
		COUNT(counts, filtered);
		return 0;
	}
	__u32 weight = admit(counts, PROBITY_EXIT);
	if (!weight)
		return 0;
	fill_current(&record.header, PROBITY_EXIT);
	record.status = task->signal->flags & SIGNAL_GROUP_EXIT ? task->signal->group_exit_code :
								   task->group_leader->exit_code;
	return emit_admitted(counts, &record.header, sizeof(record), weight);
}

/* Linux 6.10 and later; without it, what an exec gained is not known. */
PROBITY_HOOK(sched_prepare_exec, "sched_prepare_exec", on_prepare)
PROBITY_HOOK(sched_process_exec, "sched_process_exec", on_exec)
PROBITY_HOOK(sched_process_fork, "sched_process_fork", on_fork)
PROBITY_HOOK(sched_process_exit, "sched_process_exit", on_exit)
