// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Stores into watched files, by whatever way: every store makes the inode dirty, also one through a mapping, which no
 * other report shows. The program runs for each inode of the host that becomes dirty; for one that is not watched it
 * looks into a hash and leaves.
 *
 * Invariants: of one process, inode and way there is one record a second; those withheld are in the weight of the next,
 * and counted as filtered. Readers are not taken for writers: what only sets the time of access is passed over, as are
 * changes of attributes, which are told by name.
 */
#include "emit.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define WITHHOLD_NS 1000000000ULL
#define PF_IO_WORKER 0x00000010
#define PF_USER_WORKER 0x00004000
#define I_DIRTY_PAGES 0x4
#define X32_SYSCALL_BIT 0x40000000

/* Value: the generation, or 0 for any. Filled by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROBITY_WATCHED_MAX);
	__type(key, struct probity_watched);
	__type(value, __u32);
} watched SEC(".maps");

struct told_key {
	__u64 inode;
	__u32 device;
	__u32 pid;
	__u32 how;
	__u32 padding;
};

struct told {
	__u64 time_ns;
	__u32 withheld;
	__u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct told_key);
	__type(value, struct told);
} told SEC(".maps");

/*
 * What a system call does to a file, when it makes it dirty: 0 for what is no store. Numbers of x86-64. Of sendfile,
 * splice, copy_file_range and io_uring, the file that is read is taken for stored into when its time of access changes: a
 * store into a page that is dirty already looks the same, and the look at the file that follows tells them apart.
 */
static __always_inline __u32 how_of_x86(long call, bool has_pages)
{
	switch (call & ~X32_SYSCALL_BIT) {
	/* read, pread64, readv, preadv, preadv2, mmap, execve, execveat, readlink, readlinkat: the time of access, or a
	 * store into a mapping that the call was given. */
	case 0: case 17: case 19: case 295: case 327: case 9: case 59: case 322: case 89: case 267:
		return has_pages ? PROBITY_BY_MMAP : 0;
	/* close, munmap, msync, fsync, fdatasync, sync, syncfs, sync_file_range: writing back what is told already. */
	case 3: case 11: case 26: case 74: case 75: case 162: case 306: case 277:
		return 0;
	/* chmod, fchmod, chown, fchown, lchown, fchmodat, fchownat, fchmodat2, utime, utimes, futimesat, utimensat. */
	case 90: case 91: case 92: case 93: case 94: case 268: case 260: case 452: case 132: case 235: case 261: case 280:
	/* rename, link, unlink, unlinkat, renameat, linkat, renameat2; setxattr to fremovexattr. */
	case 82: case 86: case 87: case 263: case 264: case 265: case 316:
	case 188: case 189: case 190: case 197: case 198: case 199:
		return 0;
	/* truncate, ftruncate, fallocate; open, creat, openat, openat2 with O_TRUNC. */
	case 76: case 77: case 285: case 2: case 85: case 257: case 437:
		return PROBITY_BY_TRUNCATE;
	case 426:
		return PROBITY_BY_IO_URING;
	}
	return PROBITY_BY_WRITE;
}

static __always_inline __u32 how_of_arm64(long call, bool has_pages)
{
	switch (call) {
	case 63: case 67: case 65: case 69: case 286: case 222: case 221: case 281: case 78:
		return has_pages ? PROBITY_BY_MMAP : 0;
	case 57: case 215: case 227: case 82: case 83: case 81: case 267: case 84:
		return 0;
	case 52: case 53: case 54: case 55: case 452: case 88:
	case 35: case 37: case 38: case 276: case 5: case 6: case 7: case 14: case 15: case 16:
		return 0;
	case 45: case 46: case 47: case 56: case 437:
		return PROBITY_BY_TRUNCATE;
	case 426:
		return PROBITY_BY_IO_URING;
	}
	return PROBITY_BY_WRITE;
}

static __always_inline __u32 how_of(struct task_struct *task, bool has_pages)
{
	if (task->flags & (PF_IO_WORKER | PF_USER_WORKER))
		return PROBITY_BY_IO_URING;
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	if (bpf_core_field_exists(((struct pt_regs___arm64 *)0)->syscallno)) {
		int call = KERNEL_READ((struct pt_regs___arm64 *)regs, syscallno);
		return call < 0 ? PROBITY_BY_MMAP : how_of_arm64(call, has_pages);
	}
	long call = KERNEL_READ(regs, orig_ax);
	/* A fault: no call was made. */
	if (call < 0)
		return PROBITY_BY_MMAP;
	if (task->thread_info.status & TS_COMPAT)
		return has_pages ? PROBITY_BY_WRITE : 0;
	return how_of_x86(call, has_pages);
}

static __always_inline void fill_ancestors(struct probity_integrity *record, struct task_struct *task)
{
	struct task_struct *each = task;
	__u32 count = 0;

	for (int place = 0; place < PROBITY_ANCESTORS; place++) {
		each = process_above(each);
		if (!each)
			break;
		record->ancestors[place].pid = KERNEL_READ(each, pid);
		record->ancestors[place].start_ns = KERNEL_READ(each, start_boottime);
		count = place + 1;
	}
	record->ancestor_count = count;
}

/* 0: it was told a moment ago; else how many stores the record stands for. */
static __always_inline __u32 weight_of(struct probity_watched *key, __u32 pid, __u32 how)
{
	struct told_key told_key = { .inode = key->inode, .device = key->device, .pid = pid, .how = how };
	__u64 now_ns = bpf_ktime_get_boot_ns();
	struct told *last = bpf_map_lookup_elem(&told, &told_key);

	if (!last) {
		struct told fresh = { .time_ns = now_ns };
		bpf_map_update_elem(&told, &told_key, &fresh, BPF_ANY);
		return 1;
	}
	if (now_ns - last->time_ns < WITHHOLD_NS) {
		__sync_fetch_and_add(&last->withheld, 1);
		return 0;
	}
	__u32 withheld = last->withheld;
	last->time_ns = now_ns;
	last->withheld = 0;
	return withheld + 1;
}

static __always_inline int on_dirty(bool typed, __u64 *ctx)
{
	struct inode *inode = (void *)ctx[0];
	int flags = ctx[1];
	struct probity_watched key = {
		.inode = READ(typed, inode->i_ino, inode, i_ino),
		.device = READ(typed, inode->i_sb->s_dev, inode, i_sb, s_dev),
	};
	__u32 *generation = bpf_map_lookup_elem(&watched, &key);

	if (!generation)
		return 0;
	if (*generation && *generation != READ(typed, inode->i_generation, inode, i_generation))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	/* Writing back makes dirty again: nothing that anybody did. */
	if (task->flags & PF_KTHREAD)
		return 0;
	struct probity_counters *counts = meet(PROBITY_INODE_DIRTY);
	if (!counts)
		return 0;
	__u32 how = how_of(task, flags & I_DIRTY_PAGES);
	__u32 weight = how ? weight_of(&key, task->tgid, how) : 0;
	if (!weight) {
		COUNT(counts, filtered);
		return 0;
	}
	struct probity_integrity record = {};
	fill_current(&record.header, PROBITY_INODE_DIRTY);
	record.inode = key.inode;
	record.device = key.device;
	record.generation = READ(typed, inode->i_generation, inode, i_generation);
	record.how = how;
	fill_ancestors(&record, task);
	return emit_admitted(counts, &record.header, sizeof(record), weight);
}

PROBITY_HOOK(inode_dirty, "writeback_mark_inode_dirty", on_dirty)
