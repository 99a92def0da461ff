// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Processes: exec with its arguments, fork and exit. Threads and kernel threads are filtered.
 *
 * The arguments are read where the kernel has just copied them: in the new image's own address space, before its first
 * instruction. No thread of the caller survives to change them.
 */
#define PROBITY_SCRATCH_RECORD 65536
#include "scratch.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_GROUP_EXIT 0x4
#define MEMFD_PREFIX 0x3a64666d656dULL /* "memfd:" */
#define MEMFD_PREFIX_LENGTH 6

/* Where the next part of the tail goes; every part is bounded, so that the sum fits the record. */
#define TAIL_MAX (2 * PROBITY_PATH_MAX + PROBITY_SCRIPT_MAX + PROBITY_ARGV_MAX)
_Static_assert(sizeof(struct probity_exec) + TAIL_MAX < PROBITY_SCRATCH_RECORD, "the longest exec must fit");

/* Name of a file that has no path: a memfd, or one of a mount that is in no namespace. */
static __always_inline __u32 copy_name(char *target, struct dentry *dentry)
{
	__u32 length = BPF_CORE_READ(dentry, d_name.len) & NAME_LENGTH_MAX;
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);

	bpf_probe_read_kernel(target, length, name);
	return length;
}

static __always_inline bool is_memfd(struct dentry *dentry)
{
	__u64 prefix = 0;
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);

	bpf_probe_read_kernel(&prefix, MEMFD_PREFIX_LENGTH, name);
	return prefix == MEMFD_PREFIX && BPF_CORE_READ(dentry, d_parent) == dentry;
}

static __always_inline __u32 append_exe(struct probity_exec *record, struct scratch *scratch, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct path_walk walk = {};
	__u32 length;

	record->inode = BPF_CORE_READ(inode, i_ino);
	record->device = BPF_CORE_READ(inode, i_sb, s_dev);
	record->generation = BPF_CORE_READ(inode, i_generation);
	record->mode = BPF_CORE_READ(inode, i_mode);
	record->links = BPF_CORE_READ(inode, i_nlink);
	walk_path(&walk, scratch->path, BPF_CORE_READ(file, f_path.mnt), dentry);
	if (walk.start == PATH_END) {
		length = copy_name(record->tail, dentry);
		if (is_memfd(dentry))
			record->header.flags |= PROBITY_MEMFD;
	} else {
		length = copy_path(record->tail, &walk);
		if (is_unhashed(dentry))
			record->header.flags |= PROBITY_DELETED;
	}
	if (!walk.is_whole)
		record->header.flags |= PROBITY_TRUNCATED;
	return length;
}

static __always_inline __u32 append_cwd(struct probity_exec *record, __u32 offset, struct scratch *scratch,
					struct task_struct *task)
{
	struct fs_struct *fs = task->fs;
	struct path_walk walk = {};

	if (offset > PROBITY_PATH_MAX)
		return 0;
	walk_path(&walk, scratch->path, BPF_CORE_READ(fs, pwd.mnt), BPF_CORE_READ(fs, pwd.dentry));
	if (!walk.is_whole)
		record->header.flags |= PROBITY_TRUNCATED;
	return copy_path(record->tail + offset, &walk);
}

/* The script's name as given to execve, when the image is its interpreter; the kernel's own copy of the text. */
static __always_inline __u32 append_script(struct probity_exec *record, __u32 offset, struct linux_binprm *bprm)
{
	const char *filename = BPF_CORE_READ(bprm, filename);

	if (offset > 2 * PROBITY_PATH_MAX || filename == BPF_CORE_READ(bprm, interp))
		return 0;
	long length = bpf_probe_read_kernel_str(record->tail + offset, PROBITY_SCRIPT_MAX, filename);
	return length > 1 ? length - 1 : 0;
}

static __always_inline __u32 append_argv(struct probity_exec *record, __u32 offset, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	unsigned long from = mm->arg_start;
	unsigned long bytes = mm->arg_end - from;
	__u32 length = bytes;

	record->argv_bytes = bytes;
	if (bytes > PROBITY_ARGV_MAX) {
		record->header.flags |= PROBITY_TRUNCATED;
		length = PROBITY_ARGV_MAX;
	}
	if (offset > 2 * PROBITY_PATH_MAX + PROBITY_SCRIPT_MAX || length > PROBITY_ARGV_MAX)
		return 0;
	if (bpf_probe_read_user(record->tail + offset, length, (void *)from)) {
		record->header.flags |= PROBITY_TRUNCATED | PROBITY_ARGV_UNREAD;
		return 0;
	}
	return length;
}

static __always_inline void fill_ancestors(struct probity_exec *record, struct task_struct *task)
{
	struct task_struct *each = task;
	__u32 count = 0;

	for (int place = 0; place < PROBITY_ANCESTORS; place++) {
		struct task_struct *parent = BPF_CORE_READ(each, real_parent);
		struct task_struct *leader = BPF_CORE_READ(parent, group_leader);
		__u32 pid = BPF_CORE_READ(leader, pid);
		if (pid == 0)
			break;
		record->ancestors[place].pid = pid;
		record->ancestors[place].padding = 0;
		record->ancestors[place].start_ns = BPF_CORE_READ(leader, start_boottime);
		count = place + 1;
		each = leader;
	}
	record->ancestor_count = count;
}

static __always_inline void fill_tty(struct probity_exec *record, struct task_struct *task)
{
	struct tty_struct *tty = task->signal->tty;

	__builtin_memset(record->tty, 0, sizeof(record->tty));
	if (tty)
		bpf_probe_read_kernel_str(record->tty, sizeof(record->tty), &tty->name);
}

/* TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm): p is the current task. */
static __always_inline int on_exec(bool typed, __u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct linux_binprm *bprm = (void *)ctx[2];
	struct probity_counters *counts = meet(PROBITY_EXEC);
	if (!counts)
		return 0;
	__u32 weight = admit_file(counts, PROBITY_EXEC, BPF_CORE_READ(bprm, file));
	if (!weight)
		return 0;
	struct scratch *scratch = take_scratch(counts);
	if (!scratch)
		return 0;
	struct probity_exec *record = (void *)scratch->record;
	fill_header(true, &record->header, PROBITY_EXEC, task);
	fill_ancestors(record, task);
	fill_tty(record, task);
	__u32 offset = append_exe(record, scratch, BPF_CORE_READ(bprm, file));
	record->exe_length = offset;
	__u32 length = append_cwd(record, offset, scratch, task);
	record->cwd_length = length;
	offset += length;
	length = append_script(record, offset, bprm);
	record->script_length = length;
	offset += length;
	length = append_argv(record, offset, task);
	record->argv_length = length;
	offset += length;
	if (offset > TAIL_MAX)
		COUNT(counts, read_fault);
	else
		emit_admitted(counts, &record->header, sizeof(*record) + offset, weight);
	give_back(scratch);
	return 0;
}

/* TP_PROTO(struct task_struct *parent, struct task_struct *child) */
static __always_inline int on_fork(bool typed, __u64 *ctx)
{
	struct task_struct *child = (void *)ctx[1];
	struct probity_fork record = {};

	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0;
	struct probity_counters *counts = meet(PROBITY_FORK);
	if (!counts)
		return 0;
	if (BPF_CORE_READ(child, flags) & PF_KTHREAD) {
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
	fill_header(true, &record.header, PROBITY_EXIT, task);
	record.status = task->signal->flags & SIGNAL_GROUP_EXIT ? task->signal->group_exit_code :
								   task->group_leader->exit_code;
	return emit_admitted(counts, &record.header, sizeof(record), weight);
}

PROBITY_HOOK(sched_process_exec, "sched_process_exec", on_exec)
PROBITY_HOOK(sched_process_fork, "sched_process_fork", on_fork)
PROBITY_HOOK(sched_process_exit, "sched_process_exit", on_exit)
