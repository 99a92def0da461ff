// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Who takes more rights, or takes hold of others: changes of credentials and namespaces by system calls, ptrace, and
 * signals for Probity's own processes.
 *
 * Programs on rare calls only. What counts is the effect: credentials are noted at the entry of a call and compared at
 * its exit; whom a tracer traces is what the kernel has linked to it. Calls in the i386 way do not pass these programs;
 * what they change is in the next record of the process.
 */
#define PROBITY_SCRATCH_RECORD 1024
#include "scratch.h"
#include "ids.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PTRACE_TRACEME 0
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
/* Signals that mean nothing to who did not ask for them. */
#define SIGCHLD 17
#define SIGURG 23
#define SIGWINCH 28
/* Values of a signal's information that point nowhere: from a process, from the kernel. */
#define INFO_NONE 0
#define INFO_KERNEL 1
#define CODE_KERNEL 0x80
/* Writes of a thread into the memory of the same process are told again after this time. */
#define TOLD_AGAIN_NS 10000000000ULL

struct groups {
	__u32 count;
	__u32 padding;
	__u32 ids[PROBITY_GROUPS];
};

/* What is kept of a call between its entry and its exit, with the thread. */
struct intent {
	__u32 is_noted;
	/* Of ptrace. */
	__u32 request;
	__u64 asked_pid;
	/* Into whose memory the thread wrote when that was last told, and with what error. */
	__u64 told_ns;
	__u64 told_pid;
	__u32 told_error;
	__u32 padding;
	struct probity_ids before;
	struct groups groups;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct intent);
} intents SEC(".maps");

static __always_inline struct intent *intent_of(struct task_struct *task, __u64 flags)
{
	return bpf_task_storage_get(&intents, task, NULL, flags);
}

static __always_inline __u32 fill_groups(__u32 *ids, struct task_struct *task)
{
	struct group_info *groups = task->cred->group_info;
	__u32 count = groups->ngroups;
	__u32 told = count < PROBITY_GROUPS ? count : PROBITY_GROUPS;

	bpf_probe_read_kernel(ids, told * sizeof(__u32), (void *)groups + bpf_core_field_offset(struct group_info, gid));
	return count;
}

static __always_inline int on_credentials_enter(struct call_enter *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct intent *intent = intent_of(task, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!intent) {
		lose(PROBITY_CALL_CREDENTIALS);
		return 0;
	}
	__builtin_memset(&intent->groups, 0, sizeof(intent->groups));
	fill_current_ids(&intent->before);
	intent->groups.count = fill_groups(intent->groups.ids, task);
	intent->is_noted = 1;
	return 0;
}

/* Whether two pieces of memory differ; their size is a multiple of 4. */
static __always_inline bool is_different(volatile __u32 *left, volatile __u32 *right, __u32 bytes)
{
	bool differs = false;

	for (__u32 place = 0; place < bytes / sizeof(__u32); place++)
		differs |= left[place] != right[place];
	return differs;
}

static __always_inline bool is_changed(struct probity_credentials *record)
{
	return is_different((void *)&record->before, (void *)&record->after, sizeof(record->before)) ||
	       record->groups_before_count != record->groups_after_count ||
	       is_different(record->groups_before, record->groups_after, sizeof(record->groups_before));
}

static __always_inline int on_credentials_exit(struct call_exit *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct intent *intent = intent_of(task, 0);
	/* No note: the call began before the programs. */
	if (!intent || !intent->is_noted)
		return 0;
	intent->is_noted = 0;
	struct probity_counters *counts = meet(PROBITY_CALL_CREDENTIALS);
	if (!counts)
		return 0;
	__u32 weight = admit(counts, PROBITY_CALL_CREDENTIALS);
	if (!weight)
		return 0;
	struct scratch *scratch = take_scratch(counts);
	if (!scratch)
		return 0;
	struct probity_credentials *record = (void *)scratch->record;
	__builtin_memset(record, 0, sizeof(*record));
	fill_current(&record->header, PROBITY_CALL_CREDENTIALS);
	record->call = call->number;
	record->error = call->result < 0 ? -call->result : 0;
	record->before = intent->before;
	fill_current_ids(&record->after);
	record->groups_before_count = intent->groups.count;
	__builtin_memcpy(record->groups_before, intent->groups.ids, sizeof(record->groups_before));
	record->groups_after_count = fill_groups(record->groups_after, task);
	if (record->error || is_changed(record))
		emit_admitted(counts, &record->header, sizeof(*record), weight);
	else
		COUNT(counts, filtered);
	give_back(scratch);
	return 0;
}

static __always_inline bool is_ours(struct task_struct *task)
{
	struct probity_settings *now = settings_now();

	return now && is_own(task, now);
}

/* Whether a number that a process of the initial pid namespace gave is that of one of Probity's own. */
static __always_inline bool is_own_number(__u32 pid)
{
	struct probity_settings *now = settings_now();

	return now && pid && (pid == now->own_pid[0] || pid == now->own_pid[1]);
}

static __always_inline int note_request(__u32 request, __u64 asked_pid)
{
	struct intent *intent = intent_of(bpf_get_current_task_btf(), BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!intent) {
		lose(PROBITY_PTRACE);
		return 0;
	}
	intent->is_noted = 1;
	intent->request = request;
	intent->asked_pid = asked_pid;
	return 0;
}

/* long ptrace(long request, long pid, …): of the many requests, those by which it begins. */
static __always_inline int on_ptrace_enter(struct call_enter *call)
{
	__u64 request = call->arguments[0];

	if (request != PTRACE_TRACEME && request != PTRACE_ATTACH && request != PTRACE_SEIZE)
		return 0;
	return note_request(request, call->arguments[1]);
}

static __always_inline int on_writev_enter(struct call_enter *call)
{
	return note_request(PROBITY_VM_WRITEV, call->arguments[0]);
}

/* Whom the call took hold of: what the kernel put first among those that the thread traces. NULL: not known. */
static __always_inline struct task_struct *target_of(struct task_struct *task, __u32 request)
{
	if (request == PTRACE_TRACEME)
		return task;
	if (request != PTRACE_ATTACH && request != PTRACE_SEIZE)
		return NULL;
	void *first = task->ptraced.next;
	if (first == (void *)task + bpf_core_field_offset(struct task_struct, ptraced))
		return NULL;
	return first - bpf_core_field_offset(struct task_struct, ptrace_entry);
}

/*
 * Programs that work by writing into each other's memory do so all the time: one event in a while tells as much. One that
 * ended in another way is another event.
 */
static __always_inline bool is_told_already(struct intent *intent, __u32 error)
{
	return intent->request == PROBITY_VM_WRITEV && intent->told_pid == intent->asked_pid &&
	       intent->told_error == error && bpf_ktime_get_boot_ns() - intent->told_ns < TOLD_AGAIN_NS;
}

static __always_inline void note_told(struct intent *intent, __u32 error)
{
	if (intent->request != PROBITY_VM_WRITEV)
		return;
	intent->told_pid = intent->asked_pid;
	intent->told_error = error;
	intent->told_ns = bpf_ktime_get_boot_ns();
}

static __always_inline int on_ptrace_exit(struct call_exit *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct intent *intent = intent_of(task, 0);
	struct probity_ptrace record = {};

	if (!intent || !intent->is_noted)
		return 0;
	intent->is_noted = 0;
	struct probity_counters *counts = meet(PROBITY_PTRACE);
	if (!counts)
		return 0;
	__u32 error = call->result < 0 ? -call->result : 0;
	if (is_told_already(intent, error)) {
		COUNT(counts, filtered);
		return 0;
	}
	__u32 weight = admit(counts, PROBITY_PTRACE);
	if (!weight)
		return 0;
	note_told(intent, error);
	fill_current(&record.header, PROBITY_PTRACE);
	record.request = intent->request;
	record.asked_pid = intent->asked_pid;
	record.is_initial = task->thread_pid->level == 0;
	record.error = error;
	struct task_struct *target = error ? NULL : target_of(task, record.request);
	if (target) {
		record.target_pid = KERNEL_READ(target, tgid);
		record.target_start_ns = KERNEL_READ(target, group_leader, start_boottime);
		record.is_own = is_ours(target);
	} else if (record.is_initial) {
		record.is_own = is_own_number(record.asked_pid);
	}
	return emit_admitted(counts, &record.header, sizeof(record), weight);
}

/* TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result) */
static __always_inline int on_signal(bool typed, __u64 *ctx)
{
	__u32 signal = ctx[0];
	struct kernel_siginfo *info = (void *)ctx[1];
	struct task_struct *target = (void *)ctx[2];
	struct probity_signal record = {};

	if (signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH || !is_ours(target))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 target_pid = KERNEL_READ(target, tgid);
	/* Programs do as they like with themselves: timers, threads, abort. */
	if (task->tgid == target_pid && signal != 9)
		return 0;
	struct probity_counters *counts = meet(PROBITY_SIGNAL);
	if (!counts)
		return 0;
	fill_current(&record.header, PROBITY_SIGNAL);
	record.signal = signal;
	if ((__u64)info == INFO_KERNEL)
		record.code = CODE_KERNEL;
	else if ((__u64)info != INFO_NONE)
		record.code = KERNEL_READ(info, si_code);
	record.target_pid = target_pid;
	record.target_start_ns = KERNEL_READ(target, group_leader, start_boottime);
	record.result = ctx[4];
	return emit(counts, &record.header, sizeof(record), NULL);
}

#define CREDENTIAL_CALLS                                                                                             \
	"setuid,setgid,setreuid,setregid,setresuid,setresgid,setfsuid,setfsgid,setgroups,capset,setns,unshare"

/* Entries first: an exit without its entry is passed over. */
PROBITY_CALL_ENTER(credentials, CREDENTIAL_CALLS, on_credentials_enter)
PROBITY_CALL_ENTER(ptrace, "ptrace", on_ptrace_enter)
PROBITY_CALL_ENTER(writev, "process_vm_writev", on_writev_enter)
PROBITY_CALL_EXIT(credentials, CREDENTIAL_CALLS, on_credentials_exit)
PROBITY_CALL_EXIT(ptrace, "ptrace,process_vm_writev", on_ptrace_exit)

/* What a call in the i386 way is called in the other; -1: of no interest. The numbers of 16-bit ids come first. */
static __always_inline long native_of(long number)
{
	switch (number) {
	case 23:
	case 213:
		return 105; /* setuid */
	case 46:
	case 214:
		return 106; /* setgid */
	case 70:
	case 203:
		return 113; /* setreuid */
	case 71:
	case 204:
		return 114; /* setregid */
	case 81:
	case 206:
		return 116; /* setgroups */
	case 164:
	case 208:
		return 117; /* setresuid */
	case 170:
	case 210:
		return 119; /* setresgid */
	case 138:
	case 215:
		return 122; /* setfsuid */
	case 139:
	case 216:
		return 123; /* setfsgid */
	case 185:
		return 126; /* capset */
	case 310:
		return 272; /* unshare */
	case 346:
		return 308; /* setns */
	}
	return -1;
}

#define I386_PTRACE 26
#define I386_VM_WRITEV 348

static __always_inline int on_compat_enter(struct pt_regs *regs, long number)
{
	struct call_enter call = {};

	if (number != I386_PTRACE && number != I386_VM_WRITEV)
		return native_of(number) < 0 ? 0 : on_credentials_enter(&call);
	/* Registers of 32 bits; a pid is an int. */
	call.arguments[0] = (__u32)KERNEL_READ(regs, bx);
	call.arguments[1] = (__u32)KERNEL_READ(regs, cx);
	return number == I386_PTRACE ? on_ptrace_enter(&call) : on_writev_enter(&call);
}

static __always_inline int on_compat_exit(struct pt_regs *regs, long result)
{
	long number = KERNEL_READ(regs, orig_ax);
	struct call_exit call = { .number = native_of(number), .result = result };

	if (number == I386_PTRACE || number == I386_VM_WRITEV)
		return on_ptrace_exit(&call);
	return call.number < 0 ? 0 : on_credentials_exit(&call);
}

PROBITY_COMPAT(control_enter, "sys_enter", on_compat_enter)
PROBITY_COMPAT(control_exit, "sys_exit", on_compat_exit)
PROBITY_HOOK(signal_generate, "signal_generate", on_signal)
