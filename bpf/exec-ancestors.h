/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The ancestors of a process, and what each of them executed: kept with the process, and gone with it.
 *
 * Invariant: a text that was changed while it was read is not told.
 */
#ifndef PROBITY_EXEC_ANCESTORS_H
#define PROBITY_EXEC_ANCESTORS_H

#include "exec-texts.h"
#include "ids.h"

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
		each = process_above(each);
		if (!each)
			break;
		ancestors[place].pid = KERNEL_READ(each, pid);
		ancestors[place].start_ns = KERNEL_READ(each, start_boottime);
		ancestors[place].name_length = 0;
		ancestors[place].is_exe = 0;
		record->ancestor_count = place + 1;
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

#endif
