/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The open file behind a descriptor. */
#ifndef PROBITY_OPEN_FILES_H
#define PROBITY_OPEN_FILES_H

#include "emit.h"

/* `task`: one whose type the verifier knows. NULL: there is none. */
static __always_inline struct file *file_of(struct task_struct *task, unsigned int fd)
{
	struct fdtable *table = task->files->fdt;
	struct file **slots = table->fd;
	struct file *file = NULL;

	if (fd < table->max_fds)
		bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]);
	return file;
}

#endif
