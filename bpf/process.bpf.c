// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Processes: exec with its arguments, fork and exit. Threads and kernel threads are filtered.
 *
 * Arguments and environment are read where the kernel has just copied them: in the new image's own address space, before
 * its first instruction. No thread of the caller survives to change them.
 */
#define PROBITY_SCRATCH_RECORD 65536
#include "scratch.h"
#include "ids.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_GROUP_EXIT 0x4
#define MEMFD_PREFIX 0x3a64666d656dULL /* "memfd:" */
#define MEMFD_PREFIX_LENGTH 6

/* Longer arguments are copied into the ring without working memory between. */
#define ARGV_INLINE 32768
/* Where the next part of the tail goes; every part is bounded, so that the sum fits the record. */
#define EXE_AT_MAX (PROBITY_ANCESTORS * sizeof(struct probity_ancestor))
#define CWD_AT_MAX (EXE_AT_MAX + PROBITY_PATH_MAX)
#define SCRIPT_AT_MAX (CWD_AT_MAX + PROBITY_PATH_MAX)
#define ANCESTOR_NAMES_AT_MAX (SCRIPT_AT_MAX + PROBITY_SCRIPT_MAX)
#define ENV_AT_MAX (ANCESTOR_NAMES_AT_MAX + PROBITY_ANCESTORS * PROBITY_ANCESTOR_EXE_MAX)
#define ARGV_AT_MAX (ENV_AT_MAX + PROBITY_ENV_MAX)
_Static_assert(sizeof(struct probity_exec) + ARGV_AT_MAX + ARGV_INLINE < PROBITY_SCRATCH_RECORD,
	       "the longest exec must fit");
#define LONG_RECORD ((sizeof(struct probity_exec) + ARGV_AT_MAX + PROBITY_ARGV_MAX + 7) & ~7UL)

#define VARIABLES_MAX 1024
/* A variable is looked at in pieces of this size; the first one is told. */
#define VARIABLE_PIECE 4096
#define VARIABLE_MASK (2 * VARIABLE_PIECE - 1)
_Static_assert(PROBITY_ENV_MAX == 2 * VARIABLE_PIECE, "a piece must fit behind the first half");

/* What is kept with each process, and goes with it. */
struct note {
	/* Odd while `exe` is being written. */
	__u32 version;
	__u16 exe_length;
	__u16 is_before_known;
	struct probity_ids before;
	char exe[PROBITY_ANCESTOR_EXE_MAX + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct note);
} notes SEC(".maps");

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

static __always_inline bool is_memfd(struct dentry *dentry)
{
	__u64 prefix = 0;
	const unsigned char *name = KERNEL_READ(dentry, d_name.name);

	bpf_probe_read_kernel(&prefix, MEMFD_PREFIX_LENGTH, name);
	return prefix == MEMFD_PREFIX && KERNEL_READ(dentry, d_parent) == dentry;
}

static __always_inline __u32 append_exe(struct probity_exec *record, __u32 offset, struct scratch *scratch,
					struct file *file)
{
	struct dentry *dentry = KERNEL_READ(file, f_path.dentry);
	struct inode *inode = KERNEL_READ(file, f_inode);
	struct path_walk walk = {};
	__u32 length;

	if (offset > EXE_AT_MAX)
		return 0;
	record->inode = KERNEL_READ(inode, i_ino);
	record->device = KERNEL_READ(inode, i_sb, s_dev);
	record->generation = KERNEL_READ(inode, i_generation);
	record->mode = KERNEL_READ(inode, i_mode);
	record->links = KERNEL_READ(inode, i_nlink);
	walk_path(&walk, scratch->path, KERNEL_READ(file, f_path.mnt), dentry);
	if (walk.start == PATH_END) {
		length = copy_name(record->tail + offset, dentry);
		if (is_memfd(dentry))
			record->header.flags |= PROBITY_MEMFD;
	} else {
		length = copy_path(record->tail + offset, &walk);
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

	if (offset > CWD_AT_MAX)
		return 0;
	walk_path(&walk, scratch->path, KERNEL_READ(fs, pwd.mnt), KERNEL_READ(fs, pwd.dentry));
	if (!walk.is_whole)
		record->header.flags |= PROBITY_TRUNCATED;
	return copy_path(record->tail + offset, &walk);
}

/* The script's name as given to execve, when the image is its interpreter; the kernel's own copy of the text. */
static __always_inline __u32 append_script(struct probity_exec *record, __u32 offset, struct scratch *scratch,
					   struct linux_binprm *bprm)
{
	const char *filename = BPF_CORE_READ(bprm, filename);

	if (offset > SCRIPT_AT_MAX || filename == BPF_CORE_READ(bprm, interp))
		return 0;
	long length = bpf_probe_read_kernel_str(scratch->path, PROBITY_PATH_MAX, filename) - 1;
	long from = 0;
	if (length <= 0)
		return 0;
	if (length > PROBITY_SCRIPT_MAX - 1) {
		record->header.flags |= PROBITY_TRUNCATED;
		from = length - (PROBITY_SCRIPT_MAX - 1);
		length = PROBITY_SCRIPT_MAX - 1;
	}
	bpf_probe_read_kernel(record->tail + offset, length & (PROBITY_SCRIPT_MAX - 1), &scratch->path[from & PATH_MASK]);
	return length & (PROBITY_SCRIPT_MAX - 1);
}

/* Keeps the executable with the process, for what its children execute. `exe` is at least as long as a note's text. */
static __always_inline void note_exe(struct note *note, const char *exe, __u32 length)
{
	__sync_fetch_and_add(&note->version, 1);
	note->exe_length = 0;
	if (length <= PROBITY_ANCESTOR_EXE_MAX) {
		bpf_probe_read_kernel(note->exe, length, exe);
		note->exe_length = length;
	}
	__sync_fetch_and_add(&note->version, 1);
}

/* Notes the executable of a process that has executed it before these programs were there, or was forked since. */
static __always_inline void note_older(struct note *note, struct scratch *scratch, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct path_walk walk = {};

	if (!file)
		return;
	walk_path(&walk, scratch->path, BPF_CORE_READ(file, f_path.mnt), dentry);
	if (walk.start != PATH_END && walk.is_whole)
		note_exe(note, &walk.buffer[walk.start & PATH_MASK], PATH_END - walk.start);
}

static __always_inline struct note *note_of(struct task_struct *leader, struct scratch *scratch, struct file *file)
{
	struct note *note = bpf_task_storage_get(&notes, leader, NULL, 0);

	if (note && note->version)
		return note;
	note = bpf_task_storage_get(&notes, leader, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (note)
		note_older(note, scratch, file);
	return note;
}

/* Fills the ancestors at the beginning of the tail; their number. */
static __always_inline __u32 fill_ancestors(struct probity_exec *record, struct task_struct *task)
{
	struct probity_ancestor *ancestors = (void *)record->tail;
	struct task_struct *each = task;

	record->ancestor_count = 0;
	for (int place = 0; place < PROBITY_ANCESTORS; place++) {
		struct task_struct *parent = each->real_parent;
		if (!parent)
			break;
		struct task_struct *leader = parent->group_leader;
		if (!leader || leader->pid == 0)
			break;
		ancestors[place].pid = leader->pid;
		ancestors[place].start_ns = leader->start_boottime;
		ancestors[place].name_length = 0;
		ancestors[place].is_exe = 0;
		record->ancestor_count = place + 1;
		each = leader;
	}
	/* Read anew: the verifier would follow each number on its own. */
	__u32 count = *(volatile __u32 *)&record->ancestor_count;
	return count <= PROBITY_ANCESTORS ? count * sizeof(struct probity_ancestor) : 0;
}

struct exe_walk {
	struct probity_exec *record;
	struct scratch *scratch;
	struct task_struct *each;
	/* Where the next text goes. */
	__u32 at;
	__u32 padding;
};

/* Appends the executable of an ancestor; 0: it is not known. */
static __always_inline __u32 append_exe_of(struct task_struct *leader, struct exe_walk *walk, __u32 at)
{
	struct note *note = note_of(leader, walk->scratch, leader->mm->exe_file);

	if (!note || at > ENV_AT_MAX - PROBITY_ANCESTOR_EXE_MAX)
		return 0;
	__u32 version = *(volatile __u32 *)&note->version;
	__u32 length = note->exe_length & PROBITY_ANCESTOR_EXE_MAX;
	bpf_probe_read_kernel(walk->record->tail + at, length, note->exe);
	/* The process may be executing another one meanwhile. */
	return version == *(volatile __u32 *)&note->version && !(version & 1) ? length : 0;
}

/* The name of one ancestor; 1 ends the walk. */
static long step_ancestor(__u64 index, void *context)
{
	struct exe_walk *walk = context;
	struct probity_exec *record = walk->record;
	struct probity_ancestor *ancestors = (void *)record->tail;

	if (index >= PROBITY_ANCESTORS || index >= record->ancestor_count)
		return 1;
	struct task_struct *parent = walk->each->real_parent;
	if (!parent)
		return 1;
	struct task_struct *leader = parent->group_leader;
	if (!leader)
		return 1;
	walk->each = leader;
	__u32 at = walk->at;
	if (at > ENV_AT_MAX - PROBITY_ANCESTOR_EXE_MAX)
		return 1;
	__u32 length = append_exe_of(leader, walk, at);
	ancestors[index].is_exe = length > 0;
	if (!length) {
		long copied = bpf_probe_read_kernel_str(record->tail + at, PROBITY_COMM, &leader->comm);
		length = copied > 1 ? (copied - 1) & (PROBITY_COMM - 1) : 0;
	}
	ancestors[index].name_length = length;
	walk->at = at + length;
	return 0;
}

/* The names of the ancestors that fill_ancestors found. */
static __always_inline __u32 append_ancestor_names(struct probity_exec *record, __u32 offset, struct scratch *scratch,
						  struct task_struct *task)
{
	struct exe_walk walk = { .record = record, .scratch = scratch, .each = task, .at = offset };

	bpf_loop(PROBITY_ANCESTORS, step_ancestor, &walk, 0);
	return walk.at - offset;
}

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
