/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What is not told, by the rules in use: filters, then limits. Included by emit.h.
 *
 * Invariants: whatever is not told is counted, as filtered or as throttled. A limit never silences: of the events beyond
 * it each n-th is told, as a sample of weight n. An event is judged by one set of rules: which of the two is in use is read
 * once, and the other is filled only long after it was left.
 */
#ifndef PROBITY_ADMIT_H
#define PROBITY_ADMIT_H

#define FOLDER_DEPTH_MAX 256
/* By how much the time that a program has read may be behind that of others. */
#define CLOCK_SLACK_NS 1000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct probity_rules);
} rules SEC(".maps");

/* Bit n of the value: filter n asks for the folder. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * PROBITY_FILTERS_MAX);
	__type(key, struct probity_folder);
	__type(value, __u32);
} folders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct probity_bucket_key);
	__type(value, struct probity_bucket);
} buckets SEC(".maps");

/* Kept with a socket beside its owner, for events that come in anybody's context. */
struct executable {
	__u64 inode;
	__u32 device;
	__u32 padding;
};

/* Whom an event is charged to, and what filters ask for. */
struct subject {
	__u64 cgroup_id;
	struct executable exe;
	__u32 uid;
	__u32 padding;
	__u64 start_ns;
	__u32 pid;
	/* Bit n: the object lies below the folder of filter n. */
	__u32 folders;
};

struct judgement {
	struct probity_rules *rules;
	struct subject subject;
	__u32 class;
	__u32 is_filtered;
};

static __always_inline void fill_executable(struct executable *executable, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	struct file *file = KERNEL_READ(mm, exe_file);
	struct inode *inode = KERNEL_READ(file, f_inode);

	executable->inode = KERNEL_READ(inode, i_ino);
	executable->device = KERNEL_READ(inode, i_sb, s_dev);
}

static __always_inline void fill_subject(struct subject *subject, struct task_struct *task)
{
	subject->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	subject->uid = task->cred->euid.val;
	subject->pid = task->tgid;
	subject->start_ns = task->group_leader->start_boottime;
	fill_executable(&subject->exe, task);
}

static long ask_filter(__u64 place, void *context)
{
	struct judgement *judgement = context;
	struct subject *subject = &judgement->subject;

	if (place >= PROBITY_FILTERS_MAX || place >= judgement->rules->filter_count)
		return 1;
	struct probity_filter *filter = &judgement->rules->filters[place];
	__u16 by = filter->by;
	if (!(filter->classes & 1 << judgement->class))
		return 0;
	if (by & PROBITY_BY_UID && filter->uid != subject->uid)
		return 0;
	if (by & PROBITY_BY_EXE &&
	    (filter->exe_inode != subject->exe.inode || filter->exe_device != subject->exe.device))
		return 0;
	if (by & PROBITY_BY_CGROUP && filter->cgroup_id != subject->cgroup_id)
		return 0;
	if (by & PROBITY_BY_FOLDER && !(subject->folders & 1 << place))
		return 0;
	judgement->is_filtered = 1;
	return 1;
}

/* An event beyond the limit: 0, or the weight of the sample that it is. */
static __always_inline __u32 take_sample(struct probity_bucket *bucket, struct judgement *judgement, __u64 now_ns)
{
	__u64 from_ns = bucket->from_ns;
	__u32 every = judgement->rules->sample_every;

	if (!from_ns || (__s64)(now_ns - bucket->last_ns) > (__s64)PROBITY_QUIET_NS) {
		/* One of those that come at once begins the run. */
		if (__sync_val_compare_and_swap(&bucket->from_ns, from_ns, now_ns) == from_ns) {
			bucket->beyond = 0;
			bucket->samples = 0;
			bucket->pid = judgement->subject.pid;
			bucket->start_ns = judgement->subject.start_ns;
		}
	}
	bucket->last_ns = now_ns;
	__u64 beyond = __sync_fetch_and_add(&bucket->beyond, 1) + 1;
	if (every == 0 || beyond % every != 0)
		return 0;
	__sync_fetch_and_add(&bucket->samples, 1);
	return every;
}

/*
 * Takes a token: 1, or what `take_sample` says (a bucket is the time up to which tokens are spent: the generic cell rate
 * algorithm). Of two events that come at once one may go free.
 */
static __always_inline __u32 take_token(struct probity_bucket_key *key, struct probity_limit *limit,
					struct judgement *judgement, __u64 now_ns)
{
	__u64 interval_ns = limit->interval_ns;
	struct probity_bucket *bucket = bpf_map_lookup_elem(&buckets, key);

	if (!bucket) {
		struct probity_bucket fresh = {};
		fresh.next_ns = now_ns + interval_ns;
		bpf_map_update_elem(&buckets, key, &fresh, BPF_NOEXIST);
		return 1;
	}
	__u64 known_ns = bucket->next_ns;
	__u64 next_ns = known_ns > now_ns ? known_ns : now_ns;
	/* Spent further ahead than this limit lets anybody: that was under another one. */
	if (next_ns - now_ns > limit->burst_ns + interval_ns + CLOCK_SLACK_NS)
		next_ns = now_ns;
	if (next_ns - now_ns > limit->burst_ns)
		return take_sample(bucket, judgement, now_ns);
	__sync_val_compare_and_swap(&bucket->next_ns, known_ns, next_ns + interval_ns);
	return 1;
}

/* What an executable has left is asked first: one that floods does not use up what its cgroup may tell. */
static __always_inline __u32 take_tokens(struct judgement *judgement)
{
	__u32 class = judgement->class % PROBITY_CLASSES;
	struct subject *subject = &judgement->subject;
	struct probity_limit *executable = &judgement->rules->executable[class];
	struct probity_limit *cgroup = &judgement->rules->cgroup[class];
	struct probity_bucket_key key = {};
	__u64 now_ns = bpf_ktime_get_boot_ns();
	__u32 weight = 1;

	key.class = class;
	if (executable->interval_ns && subject->exe.inode) {
		key.scope = PROBITY_OF_EXECUTABLE;
		key.id = subject->exe.inode;
		key.device = subject->exe.device;
		weight = take_token(&key, executable, judgement, now_ns);
	}
	if (weight == 1 && cgroup->interval_ns) {
		key.scope = PROBITY_OF_CGROUP;
		key.id = subject->cgroup_id;
		key.device = 0;
		weight = take_token(&key, cgroup, judgement, now_ns);
	}
	return weight;
}

/* The weight with which an event is told; 0: it is not, which is counted. */
static __attribute__((noinline)) __u32 judge(struct probity_counters *counts, struct judgement *judgement)
{
	struct probity_rules *in_use = judgement->rules;
	__u16 bit = 1 << judgement->class;
	__u32 weight = 1;

	if (!counts || !in_use)
		return 1;
	if (in_use->filtered & bit) {
		bpf_loop(PROBITY_FILTERS_MAX, ask_filter, judgement, 0);
		if (judgement->is_filtered) {
			COUNT(counts, filtered);
			return 0;
		}
	}
	if (in_use->limited & bit) {
		weight = take_tokens(judgement);
		if (!weight)
			COUNT(counts, throttled);
	}
	return weight;
}

/* The rules in use when they have something to say of a class, else NULL. */
static __always_inline struct probity_rules *rules_on(__u32 class, __u32 *slot)
{
	struct probity_settings *now = settings_now();

	*slot = now ? now->generation & 1 : 0;
	struct probity_rules *in_use = bpf_map_lookup_elem(&rules, slot);
	if (!in_use || !((in_use->filtered | in_use->limited) & 1 << class))
		return NULL;
	return in_use;
}

/*
 * For a hook that runs in the context of the process that acts: whether the event is to be told, before anything is filled.
 * The weight for `emit_admitted`; 0: it is not told, and was counted.
 */
static __always_inline __u32 admit(struct probity_counters *counts, enum probity_kind kind)
{
	struct judgement judgement = {};
	__u32 slot;

	judgement.class = class_of(kind);
	judgement.rules = rules_on(judgement.class, &slot);
	if (!judgement.rules)
		return 1;
	fill_subject(&judgement.subject, bpf_get_current_task_btf());
	return judge(counts, &judgement);
}

struct folder_walk {
	struct dentry *dentry;
	struct mount *mount;
	__u32 slot;
	__u32 found;
};

static long ask_folder(__u64 depth, void *context)
{
	struct folder_walk *walk = context;
	struct dentry *dentry = walk->dentry;
	struct dentry *parent = KERNEL_READ(dentry, d_parent);
	struct inode *inode = KERNEL_READ(dentry, d_inode);
	struct mount *mount = walk->mount;
	struct probity_folder key = {};

	key.inode = KERNEL_READ(inode, i_ino);
	key.device = KERNEL_READ(inode, i_sb, s_dev);
	key.slot = walk->slot;
	__u32 *filters = bpf_map_lookup_elem(&folders, &key);
	if (filters)
		walk->found |= *filters;
	if (dentry == KERNEL_READ(mount, mnt.mnt_root)) {
		struct mount *above = KERNEL_READ(mount, mnt_parent);
		if (above == mount)
			return 1;
		walk->dentry = KERNEL_READ(mount, mnt_mountpoint);
		walk->mount = above;
		return 0;
	}
	if (dentry == parent)
		return 1;
	walk->dentry = parent;
	return 0;
}

/*
 * As `admit`, for an event whose object is a file: filters by folder are asked too. `is_filtered` becomes 1 when one of
 * them is why it is not told.
 */
static __always_inline __u32 admit_file(struct probity_counters *counts, enum probity_kind kind, struct file *file,
					__u32 *is_filtered)
{
	struct judgement judgement = {};
	__u32 slot;

	judgement.class = class_of(kind);
	judgement.rules = rules_on(judgement.class, &slot);
	if (!judgement.rules)
		return 1;
	fill_subject(&judgement.subject, bpf_get_current_task_btf());
	if (judgement.rules->filtered_by_folder & 1 << judgement.class) {
		struct folder_walk walk = {};
		walk.slot = slot;
		walk.dentry = KERNEL_READ(file, f_path.dentry);
		walk.mount = (void *)KERNEL_READ(file, f_path.mnt) - bpf_core_field_offset(struct mount, mnt);
		bpf_loop(FOLDER_DEPTH_MAX, ask_folder, &walk, 0);
		judgement.subject.folders = walk.found;
	}
	__u32 weight = judge(counts, &judgement);
	*is_filtered = judgement.is_filtered;
	return weight;
}

/*
 * For hooks that run in anybody's context: by what the header says, and by the executable that was noted with it. NULL:
 * none was; it is known when its process runs now.
 */
static __always_inline __u32 admit_header(struct probity_counters *counts, struct probity_header *header,
					  const struct executable *exe)
{
	struct judgement judgement = {};
	__u32 slot;

	judgement.class = class_of(header->kind);
	judgement.rules = rules_on(judgement.class, &slot);
	if (!judgement.rules)
		return 1;
	judgement.subject.cgroup_id = header->cgroup_id;
	judgement.subject.uid = header->euid;
	judgement.subject.pid = header->pid;
	judgement.subject.start_ns = header->start_ns;
	struct task_struct *task = bpf_get_current_task_btf();
	if (exe)
		judgement.subject.exe = *exe;
	else if (task->tgid == header->pid)
		fill_executable(&judgement.subject.exe, task);
	return judge(counts, &judgement);
}

#endif
