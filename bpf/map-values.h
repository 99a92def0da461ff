/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The second half of contract 1: values of maps that user space and programs share: counters, losses, rules, settings.
 * For their layout holds what events.h says of records, which includes this file.
 */
#ifndef PROBITY_MAP_VALUES_H
#define PROBITY_MAP_VALUES_H

/*
 * What became of the events of one class (kind of record) on one CPU: attempted is the sum of the outcomes from submitted
 * to read_fault, and recursion.
 */
struct probity_counters {
	__u64 attempted;
	__u64 submitted;
	/* There was no room; for events of the bulk lane in the ring of processes: less than a quarter of it. */
	__u64 ring_full;
	__u64 filtered;
	/* A token bucket was empty, and the event was no sample. */
	__u64 throttled;
	/* A fact without which the event means nothing could not be read. */
	__u64 read_fault;
	/* Part of submitted. */
	__u64 truncated;
	/*
	 * No working memory was free: programs that interrupted each other on this CPU had it, or the kernel gave none to
	 * keep with a task or a socket.
	 */
	__u64 recursion;
	/* Boot time of the first and the last loss of the latest run; PROBITY_QUIET_NS without a loss end a run. */
	__u64 lost_from_ns;
	__u64 lost_to_ns;
};

/* What was lost, by why. Kept in a pinned map by user space, so that it survives the reader (see losses.ts). */
struct probity_losses {
	__u64 ring_full;
	__u64 throttled;
	__u64 read_fault;
	/* Programs that the kernel did not run because they interrupted themselves, or that found no working memory. */
	__u64 recursion;
	/* Records that the reader could not make sense of. */
	__u64 unreadable;
	__u64 padding[3];
};

/* What a filter asks for. */
enum probity_by {
	PROBITY_BY_UID = 1 << 0,
	PROBITY_BY_EXE = 1 << 1,
	PROBITY_BY_CGROUP = 1 << 2,
	PROBITY_BY_FOLDER = 1 << 3,
};

/* Events that are not told: of these classes, with everything that is asked for. */
struct probity_filter {
	__u64 cgroup_id;
	__u64 exe_inode;
	__u32 exe_device;
	/* Effective user. */
	__u32 uid;
	/* Bit n: class n of the family. */
	__u16 classes;
	/* enum probity_by. */
	__u16 by;
	__u32 padding;
};

/* Time between two events at the allowed rate, and how much of it may be saved up; 0: no limit. */
struct probity_limit {
	__u64 interval_ns;
	__u64 burst_ns;
};

/* What is not told. Two of them take turns: user space fills the one that is not in use, then names it. */
struct probity_rules {
	/* Bit n: class n of the family has a filter, a filter by folder, a limit. */
	__u16 filtered;
	__u16 filtered_by_folder;
	__u16 limited;
	__u16 filter_count;
	/* Of the events beyond a limit, each n-th is told. */
	__u32 sample_every;
	__u32 padding;
	struct probity_limit executable[PROBITY_CLASSES];
	struct probity_limit cgroup[PROBITY_CLASSES];
	struct probity_filter filters[PROBITY_FILTERS_MAX];
};

/* A folder that filters ask for, of one of the two sets of rules. */
struct probity_folder {
	__u64 inode;
	__u32 device;
	__u32 slot;
};

enum probity_scope {
	PROBITY_OF_EXECUTABLE = 1,
	PROBITY_OF_CGROUP = 2,
};

/* Whose tokens: inode and device of an executable, or id of a cgroup. */
struct probity_bucket_key {
	__u64 id;
	__u32 device;
	__u16 class;
	__u16 scope;
};

struct probity_bucket {
	/* Boot time up to which tokens are spent. */
	__u64 next_ns;
	/* The latest run of events beyond the limit: first and last of them; 0: there was none. */
	__u64 from_ns;
	__u64 last_ns;
	/* Of that run: events beyond the limit, and how many of them were told as samples. */
	__u64 beyond;
	__u64 samples;
	/* The process that began it. */
	__u64 start_ns;
	__u32 pid;
	__u32 padding;
};

/* Written by user space, also while programs run. The first two fields keep their place in every version. */
struct probity_settings {
	/* Boot time from which and until which programs take events (0: no bound): a seamless change of programs. */
	__u64 from_ns;
	__u64 until_ns;
	/* Probity's own processes: two, with their children. Starts are in clock ticks (10 ms), as in /proc/<pid>/stat. */
	__u64 own_start_ticks[2];
	__u32 own_pid[2];
	/* The data folder: file events of own processes inside it are filtered. */
	__u64 data_inode;
	__u32 data_device;
	/* Its lowest bit names the rules in use. */
	__u32 generation;
};

#endif
