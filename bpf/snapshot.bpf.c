// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * The processes that are there now: an iterator over tasks, read like a file. The kernel walks its own list; /proc, which
 * hides processes from some readers and loses them between two looks, plays no part.
 */
#include "path.h"
#include "ids.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EXE_MAX PROBITY_PATH_MAX
#define ALIGNMENT 8

struct room {
	char path[PATH_BUFFER];
	char record[sizeof(struct probity_snapshot) + EXE_MAX + ALIGNMENT] __attribute__((aligned(8)));
};

/* One is enough: a snapshot has one reader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct room);
} rooms SEC(".maps");

static __always_inline __u32 fill_exe(struct probity_snapshot *record, struct room *room, struct task_struct *task)
{
	struct file *file = task->mm->exe_file;
	struct path_walk walk = {};

	if (!file)
		return 0;
	struct dentry *dentry = KERNEL_READ(file, f_path.dentry);
	walk_path(&walk, room->path, KERNEL_READ(file, f_path.mnt), dentry);
	if (walk.start == PATH_END)
		return copy_name(record->exe, dentry);
	return copy_path(record->exe, &walk);
}

SEC("iter/task")
int btf_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 zero = 0;
	struct room *room = bpf_map_lookup_elem(&rooms, &zero);

	if (!task || !room || task->pid != task->tgid)
		return 0;
	struct probity_snapshot *record = (void *)room->record;
	fill_header(true, &record->header, PROBITY_SNAPSHOT, task);
	fill_ids(&record->ids, task);
	__builtin_memset(record->padding, 0, sizeof(record->padding));
	__u32 length = fill_exe(record, room, task);
	if (length > EXE_MAX)
		length = 0;
	record->exe_length = length;
	__builtin_memset(&record->exe[length], 0, ALIGNMENT);
	__u32 size = (sizeof(*record) + length + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	record->header.length = size;
	bpf_seq_write(ctx->meta->seq, record, size);
	return 0;
}
