/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Where the texts of an exec lie in its record, and those of the image: executable, working directory and script.
 *
 * Invariant: every part of the tail is bounded, so that their sum fits the record.
 */
#ifndef PROBITY_EXEC_TEXTS_H
#define PROBITY_EXEC_TEXTS_H

#define PROBITY_SCRATCH_RECORD 65536
#include "scratch.h"

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

#endif
