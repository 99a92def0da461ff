/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a process may do, read from its credentials and namespaces.
 */
#ifndef PROBITY_IDS_H
#define PROBITY_IDS_H

#include "emit.h"

/* A set of capabilities; before Linux 6.3 it was two words of 32 bits. */
#define CAPABILITIES(cred, name)                                                                                     \
	({                                                                                                           \
		__u64 _set = 0;                                                                                      \
		if (bpf_core_field_exists((cred)->name.val))                                                         \
			_set = (cred)->name.val;                                                                     \
		else                                                                                                 \
			bpf_probe_read_kernel(&_set, sizeof(_set), &(cred)->name);                                   \
		_set;                                                                                                \
	})

/* Inode of the namespace whose number the process itself has; that of its children may differ. */
static __always_inline __u32 pid_namespace_of(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;
	struct upid *own = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			   pid->level * bpf_core_type_size(struct upid);
	return KERNEL_READ(own, ns, ns.inum);
}

/* `task`: one whose type the verifier knows. */
static __always_inline void fill_ids(struct probity_ids *ids, struct task_struct *task)
{
	const struct cred *cred = task->cred;
	struct nsproxy *spaces = task->nsproxy;

	ids->uid = cred->uid.val;
	ids->euid = cred->euid.val;
	ids->suid = cred->suid.val;
	ids->fsuid = cred->fsuid.val;
	ids->gid = cred->gid.val;
	ids->egid = cred->egid.val;
	ids->sgid = cred->sgid.val;
	ids->fsgid = cred->fsgid.val;
	ids->permitted = CAPABILITIES(cred, cap_permitted);
	ids->effective = CAPABILITIES(cred, cap_effective);
	ids->inheritable = CAPABILITIES(cred, cap_inheritable);
	ids->ambient = CAPABILITIES(cred, cap_ambient);
	ids->pid_namespace = pid_namespace_of(task);
	ids->mount_namespace = spaces->mnt_ns->ns.inum;
	ids->network_namespace = spaces->net_ns->ns.inum;
	ids->user_namespace = cred->user_ns->ns.inum;
	ids->uts_namespace = spaces->uts_ns->ns.inum;
	ids->ipc_namespace = spaces->ipc_ns->ns.inum;
	ids->cgroup_namespace = spaces->cgroup_ns->ns.inum;
	ids->padding = 0;
}

/* Of the current task; global for the reason of fill_current. */
__noinline int fill_current_ids(struct probity_ids *ids)
{
	if (ids)
		fill_ids(ids, bpf_get_current_task_btf());
	return 0;
}

#endif
