// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Files opened for writing, or made: whatever returned the descriptor, what counts is the open file behind it. Programs
 * on the exit of the calls that open, and on the completion of io_uring's requests: those are executed by the
 * process, by its workers or by its polling thread, which all share its table of files and its thread group.
 */
#define PROBITY_SCRATCH_RECORD 8192
#include "scratch.h"
#include "open-files.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000
#define O_ACCMODE 3
#define I386_OPEN 5
#define I386_CREAT 8
#define I386_OPENAT 295
#define I386_OPEN_BY_HANDLE_AT 342
#define I386_OPENAT2 437
#define IORING_OP_OPENAT 18
#define IORING_OP_OPENAT2 28
/* The kernel chose the slot of the direct descriptor. */
#define IORING_FILE_INDEX_ALLOC 4294967295U
/* Low bits of a slot's pointer are flags. */
#define SLOT_MASK (~7UL)

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFCHR 0020000

/* Filesystems that are faces of the kernel, not storage. */
#define MAGIC_PROC 0x9fa0
#define MAGIC_SYSFS 0x62656572
#define MAGIC_CGROUP 0x27e0eb
#define MAGIC_CGROUP2 0x63677270
#define MAGIC_DEBUGFS 0x64626720
#define MAGIC_TRACEFS 0x74726163
#define MAGIC_BPFFS 0xcafe4a11
#define MAGIC_SECURITYFS 0x73636673
#define MAGIC_SELINUXFS 0xf97cff8c
#define MAGIC_DEVPTS 0x1cd1
#define MAGIC_PIPEFS 0x50495045
#define MAGIC_SOCKFS 0x534f434b
#define MAGIC_ANON_INODE 0x09041934

/* Character devices without memory: null, zero, full, random, urandom, kmsg; terminals; pseudo terminals. */
#define MAJOR_MEMORY 1
#define MINOR_NULL 3
#define MAJOR_TERMINAL 4
#define MAJOR_TERMINAL_AUX 5
#define MAJOR_PTY_FIRST 128
#define MAJOR_PTY_LAST 143

static __always_inline bool is_quiet_device(__u32 device)
{
	__u32 major = device >> 20, minor = device & 0xfffff;

	if (major == MAJOR_MEMORY)
		return minor >= MINOR_NULL;
	return major == MAJOR_TERMINAL || major == MAJOR_TERMINAL_AUX ||
	       (major >= MAJOR_PTY_FIRST && major <= MAJOR_PTY_LAST);
}

static __always_inline bool is_face_of_kernel(unsigned long magic)
{
	switch (magic) {
	case MAGIC_PROC:
	case MAGIC_SYSFS:
	case MAGIC_CGROUP:
	case MAGIC_CGROUP2:
	case MAGIC_DEBUGFS:
	case MAGIC_TRACEFS:
	case MAGIC_BPFFS:
	case MAGIC_SECURITYFS:
	case MAGIC_SELINUXFS:
	case MAGIC_DEVPTS:
	case MAGIC_PIPEFS:
	case MAGIC_SOCKFS:
	case MAGIC_ANON_INODE:
		return true;
	}
	return false;
}

/* Whether a write to the file says nothing: only regular files, block devices and devices with memory do. */
static __always_inline bool is_quiet(struct inode *inode)
{
	switch (KERNEL_READ(inode, i_mode) & S_IFMT) {
	case S_IFREG:
	case S_IFBLK:
		break;
	case S_IFCHR:
		if (is_quiet_device(KERNEL_READ(inode, i_rdev)))
			return true;
		break;
	default:
		return true;
	}
	return is_face_of_kernel(KERNEL_READ(inode, i_sb, s_magic));
}

static __always_inline void fill_file(struct probity_file *record, struct file *file, struct inode *inode)
{
	record->inode = KERNEL_READ(inode, i_ino);
	record->size = KERNEL_READ(inode, i_size);
	record->device = KERNEL_READ(inode, i_sb, s_dev);
	record->generation = KERNEL_READ(inode, i_generation);
	record->mode = KERNEL_READ(inode, i_mode);
	record->links = KERNEL_READ(inode, i_nlink);
	record->open_flags = KERNEL_READ(file, f_flags);
	record->padding = 0;
}

static __always_inline int emit_open(struct probity_counters *counts, struct scratch *scratch,
				     struct task_struct *task, struct file *file, __u32 weight)
{
	struct probity_file *record = (void *)scratch->record;
	struct probity_settings *now = settings_now();
	struct inode *inode = KERNEL_READ(file, f_inode);
	struct dentry *dentry = KERNEL_READ(file, f_path.dentry);
	struct path_walk walk = {};

	if (now && now->data_inode && is_own(task, now)) {
		walk.folder_inode = now->data_inode;
		walk.folder_device = now->data_device;
	}
	walk_path(&walk, scratch->path, KERNEL_READ(file, f_path.mnt), dentry);
	if (walk.is_inside) {
		COUNT(counts, filtered);
		return 0;
	}
	fill_header(true, &record->header, PROBITY_FILE_OPEN, task);
	fill_file(record, file, inode);
	if (!walk.is_whole)
		record->header.flags |= PROBITY_TRUNCATED;
	if (is_unhashed(dentry))
		record->header.flags |= PROBITY_DELETED;
	if (KERNEL_READ(file, f_mode) & FMODE_CREATED)
		record->header.flags |= PROBITY_CREATED;
	__u32 length = copy_path(record->path, &walk);
	record->path_length = length;
	return emit_admitted(counts, &record->header, sizeof(*record) + length, weight);
}

/*
 * Says that a filter took the event of a file that was made: its name is seen elsewhere, by a reader that cannot know who
 * the process was. When there is no room for this, the file's making is told from there.
 */
static __always_inline void note_untold(struct file *file)
{
	struct probity_file record = {};

	fill_current(&record.header, PROBITY_FILE_OPEN);
	fill_file(&record, file, KERNEL_READ(file, f_inode));
	record.header.flags = PROBITY_UNTOLD | PROBITY_CREATED;
	record.header.length = sizeof(record);
	record.header.cpu = bpf_get_smp_processor_id();
	record.header.sequence = next_sequence();
	bpf_ringbuf_output(&events, &record, sizeof(record), BPF_RB_NO_WAKEUP);
}

/* A file just opened; NULL: it could not be found any more. */
static __always_inline int on_opened(struct task_struct *task, struct file *file)
{
	if (file && !(KERNEL_READ(file, f_mode) & FMODE_WRITE))
		return 0;
	struct probity_counters *counts = meet(PROBITY_FILE_OPEN);
	if (!counts)
		return 0;
	if (!file) {
		COUNT(counts, read_fault);
		return 0;
	}
	if (is_quiet(KERNEL_READ(file, f_inode)) || task->flags & PF_KTHREAD) {
		COUNT(counts, filtered);
		return 0;
	}
	__u32 is_filtered = 0;
	__u32 weight = admit_file(counts, PROBITY_FILE_OPEN, file, &is_filtered);
	if (is_filtered && KERNEL_READ(file, f_mode) & FMODE_CREATED)
		note_untold(file);
	if (!weight)
		return 0;
	struct scratch *scratch = take_scratch(counts);
	if (!scratch)
		return 0;
	emit_open(counts, scratch, task, file, weight);
	give_back(scratch);
	return 0;
}

static __always_inline int on_descriptor(long fd)
{
	if (fd < 0 || fd > 0x7fffffff)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	return on_opened(task, file_of(task, fd));
}

static __always_inline int on_open_exit(struct call_exit *call)
{
	return on_descriptor(call->result);
}

PROBITY_CALL_EXIT(open, "open,creat,openat,openat2,open_by_handle_at", on_open_exit)

static __always_inline int on_compat_exit(struct pt_regs *regs, long result)
{
	switch (KERNEL_READ(regs, orig_ax)) {
	case I386_OPEN:
	case I386_CREAT:
	case I386_OPENAT:
	case I386_OPENAT2:
	case I386_OPEN_BY_HANDLE_AT:
		return on_descriptor(result);
	}
	return 0;
}

PROBITY_COMPAT(open_exit, "sys_exit", on_compat_exit)

/* File of a ring's direct descriptor, which is in no table of a process. */
static __always_inline struct file *file_of_slot(struct io_kiocb *request, __u32 slot)
{
	struct io_rsrc_node **nodes, *node = NULL;

	if (slot >= KERNEL_READ(request, ctx, file_table.data.nr))
		return NULL;
	nodes = KERNEL_READ(request, ctx, file_table.data.nodes);
	bpf_probe_read_kernel(&node, sizeof(node), &nodes[slot]);
	return node ? (struct file *)(KERNEL_READ(node, file_ptr) & SLOT_MASK) : NULL;
}

static __always_inline int on_io_uring_complete(bool typed, __u64 *ctx)
{
	struct io_kiocb *request = (void *)ctx[1];
	__u8 opcode = KERNEL_READ(request, opcode);

	if (opcode != IORING_OP_OPENAT && opcode != IORING_OP_OPENAT2)
		return 0;
	/* The request keeps its result and what it was asked for until it is done with. */
	if (!bpf_core_field_exists(request->cqe) || !bpf_core_type_exists(struct io_open))
		return 0;
	int result = KERNEL_READ(request, cqe.res);
	struct io_open *asked = (void *)request;
	if (result < 0 || !(KERNEL_READ(asked, how.flags) & O_ACCMODE))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = NULL;
	__u32 slot = KERNEL_READ(asked, file_slot);
	if (slot == 0)
		file = file_of(task, result);
	else if (bpf_core_field_exists(((struct io_rsrc_node *)0)->file_ptr))
		file = file_of_slot(request, slot == IORING_FILE_INDEX_ALLOC ? result : slot - 1);
	return on_opened(task, file);
}

PROBITY_HOOK(io_uring_complete, "io_uring_complete", on_io_uring_complete)
