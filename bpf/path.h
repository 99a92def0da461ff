/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Paths from kernel objects: a walk from a dentry up to the root of its mount namespace, through mount points. What a
 * process wrote in a system call (links, `..`, chroot, /proc/self/root) plays no part.
 *
 * Invariant: the text is the path's end when it is longer than PROBITY_PATH_MAX or deeper than PATH_DEPTH_MAX, and the
 * walk then says so.
 */
#ifndef PROBITY_PATH_H
#define PROBITY_PATH_H

#include "emit.h"

#define PATH_DEPTH_MAX 2048
#define NAME_LENGTH_MAX 255
/* The text grows from PATH_END downwards; the rest is room for one name, which the verifier wants to see. */
#define PATH_END PROBITY_PATH_MAX
#define PATH_MASK (PROBITY_PATH_MAX - 1)
#define PATH_BUFFER (PROBITY_PATH_MAX + NAME_LENGTH_MAX + 1)

struct path_walk {
	char *buffer;
	struct dentry *dentry;
	struct mount *mount;
	/* Root of `mount`. */
	struct dentry *root;
	/* Asked for: the folder whose passing is told; 0 for none. */
	__u64 folder_inode;
	__u32 folder_device;
	/* Where the text begins in the buffer; PATH_END: there is none. */
	__u32 start;
	/* The walk met the folder asked for. */
	__u32 is_inside;
	/* The walk reached the root. */
	__u32 is_whole;
};

static __always_inline bool is_inode(struct dentry *dentry, __u64 number, __u32 device)
{
	struct inode *inode = KERNEL_READ(dentry, d_inode);
	return KERNEL_READ(inode, i_ino) == number && KERNEL_READ(inode, i_sb, s_dev) == device;
}

/* Puts `/` and a name in front of the text; false when it does not fit. */
static __always_inline bool prepend_name(struct path_walk *walk, struct dentry *dentry)
{
	__u32 length = KERNEL_READ(dentry, d_name.len) & NAME_LENGTH_MAX;
	const unsigned char *name = KERNEL_READ(dentry, d_name.name);

	if (length + 1 > walk->start)
		return false;
	__u32 start = (walk->start - length - 1) & PATH_MASK;
	walk->buffer[start] = '/';
	bpf_probe_read_kernel(&walk->buffer[start + 1], length, name);
	walk->start = start;
	return true;
}

/* One step towards the root; 1 ends the walk. */
static long step_up(__u64 depth, void *context)
{
	struct path_walk *walk = context;
	struct dentry *dentry = walk->dentry;
	struct dentry *parent = KERNEL_READ(dentry, d_parent);
	struct mount *mount = walk->mount;

	if (walk->folder_inode && is_inode(dentry, walk->folder_inode, walk->folder_device))
		walk->is_inside = 1;
	if (dentry == walk->root) {
		struct mount *above = KERNEL_READ(mount, mnt_parent);
		if (above == mount) {
			walk->is_whole = 1;
			return 1;
		}
		walk->dentry = KERNEL_READ(mount, mnt_mountpoint);
		walk->mount = above;
		walk->root = KERNEL_READ(above, mnt.mnt_root);
		return 0;
	}
	if (dentry == parent) {
		walk->is_whole = 1;
		return 1;
	}
	if (!prepend_name(walk, dentry))
		return 1;
	walk->dentry = parent;
	return 0;
}

/*
 * Writes the path of (vfsmount, dentry) to the end of `buffer` (PATH_BUFFER bytes). What is asked for must be set in
 * `walk` before; the rest is filled here.
 */
static __always_inline void walk_path(struct path_walk *walk, char *buffer, struct vfsmount *vfsmount,
				      struct dentry *dentry)
{
	walk->buffer = buffer;
	walk->dentry = dentry;
	walk->mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	walk->root = KERNEL_READ(vfsmount, mnt_root);
	walk->start = PATH_END;
	walk->is_inside = 0;
	walk->is_whole = 0;
	bpf_loop(PATH_DEPTH_MAX, step_up, walk, 0);
}

/* Copies the text of a walk to `target`; the number of bytes, at most PROBITY_PATH_MAX. The root itself is "/". */
static __always_inline __u32 copy_path(char *target, struct path_walk *walk)
{
	__u32 length = PATH_END - walk->start;

	if (length == 0) {
		target[0] = '/';
		return 1;
	}
	if (length > PROBITY_PATH_MAX)
		return 0;
	bpf_probe_read_kernel(target, length, &walk->buffer[walk->start & PATH_MASK]);
	return length;
}

/* Name of a file that has no path: a memfd, or one of a mount that is in no namespace. */
static __always_inline __u32 copy_name(char *target, struct dentry *dentry)
{
	__u32 length = KERNEL_READ(dentry, d_name.len) & NAME_LENGTH_MAX;
	const unsigned char *name = KERNEL_READ(dentry, d_name.name);

	bpf_probe_read_kernel(target, length, name);
	return length;
}

static __always_inline bool is_unhashed(struct dentry *dentry)
{
	return KERNEL_READ(dentry, d_hash.pprev) == NULL;
}

#endif
