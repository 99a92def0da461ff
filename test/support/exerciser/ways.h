/*
 * The ways into the kernel: a plain system call, a request of io_uring (executed inline, by a worker, or by the ring's
 * polling thread), and the i386 gate of a 64-bit process. Each takes an operation's own numbers; an operation that has
 * none for a way cannot be done that way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Beyond every errno. */
#define NOT_THIS_WAY -5000
#define NONE -1

enum way { CALL, INLINE, WORKER, POLLED, GATE };

static enum way way;

static const char *const WAY_NAMES[] = { "call", "inline", "worker", "polled", "gate" };

/* --- io_uring --- */

#define ENTRIES 8

static struct {
	int fd;
	struct io_uring_params params;
	unsigned char *queues;
	struct io_uring_sqe *requests;
} ring;

static unsigned *queue(unsigned offset)
{
	return (unsigned *)(ring.queues + offset);
}

static void open_ring(void)
{
	struct io_uring_params *params = &ring.params;

	if (way == POLLED) {
		params->flags = IORING_SETUP_SQPOLL;
		params->sq_thread_idle = 2000;
	}
	ring.fd = syscall(SYS_io_uring_setup, ENTRIES, params);
	if (ring.fd < 0) {
		perror("io_uring_setup");
		exit(3);
	}
	size_t submission = params->sq_off.array + params->sq_entries * sizeof(unsigned);
	size_t completion = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	ring.queues = mmap(NULL, submission > completion ? submission : completion, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	ring.requests = mmap(NULL, params->sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQES);
	if (ring.queues == MAP_FAILED || ring.requests == MAP_FAILED)
		exit(3);
}

/* Submits requests that follow each other, and waits for all; the result of the first that failed, else of the first. */
static long submit(struct io_uring_sqe *requests, unsigned count)
{
	struct io_uring_params *params = &ring.params;
	unsigned tail = *queue(params->sq_off.tail);
	unsigned mask = *queue(params->sq_off.ring_mask);
	long result = 0;

	for (unsigned n = 0; n < count; n++) {
		unsigned slot = (tail + n) & mask;
		ring.requests[slot] = requests[n];
		ring.requests[slot].user_data = n;
		if (way == WORKER)
			ring.requests[slot].flags |= IOSQE_ASYNC;
		if (n + 1 < count)
			ring.requests[slot].flags |= IOSQE_IO_LINK;
		queue(params->sq_off.array)[slot] = slot;
	}
	__atomic_store_n(queue(params->sq_off.tail), tail + count, __ATOMIC_SEQ_CST);
	unsigned flags = IORING_ENTER_GETEVENTS;
	if (way == POLLED && (__atomic_load_n(queue(params->sq_off.flags), __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP))
		flags |= IORING_ENTER_SQ_WAKEUP;
	if (syscall(SYS_io_uring_enter, ring.fd, way == POLLED ? 0 : count, count, flags, NULL, 0) < 0)
		return -errno;
	for (unsigned n = 0; n < count; n++) {
		unsigned head = *queue(params->cq_off.head);
		struct io_uring_cqe *done = (void *)(ring.queues + params->cq_off.cqes);
		struct io_uring_cqe *entry = &done[head & *queue(params->cq_off.ring_mask)];
		if ((entry->user_data == 0 && result >= 0) || (entry->res < 0 && result >= 0))
			result = entry->res;
		__atomic_store_n(queue(params->cq_off.head), head + 1, __ATOMIC_SEQ_CST);
	}
	return result;
}

/* --- the i386 gate: arguments in ebx, ecx, edx, esi, edi, ebp; pointers below 4 GiB --- */

#ifdef __x86_64__
long gate_call(long number, long a, long b, long c, long d, long e, long f);
__asm__(".globl gate_call\n"
	"gate_call:\n"
	"push %rbp\n"
	"push %rbx\n"
	"mov %rdi, %rax\n"
	"mov %rsi, %rbx\n"
	"mov %rcx, %r10\n"
	"mov %rdx, %rcx\n"
	"mov %r10, %rdx\n"
	"mov %r8, %rsi\n"
	"mov %r9, %rdi\n"
	"mov 24(%rsp), %rbp\n"
	"int $0x80\n"
	"cltq\n"
	"pop %rbx\n"
	"pop %rbp\n"
	"ret\n");
#else
static long gate_call(long number, long a, long b, long c, long d, long e, long f)
{
	return NOT_THIS_WAY;
}
#endif

/* --- one operation, the way that was asked for --- */

struct numbers {
	long call;
	/* i386; NONE: it has no such call, or one of another shape. */
	long gate;
};

static long plain(struct numbers numbers, long a, long b, long c, long d, long e, long f)
{
	if (way == GATE)
		return numbers.gate == NONE ? NOT_THIS_WAY : gate_call(numbers.gate, a, b, c, d, e, f);
	if (way != CALL)
		return NOT_THIS_WAY;
	long result = syscall(numbers.call, a, b, c, d, e, f);
	return result < 0 ? -errno : result;
}

static int is_ring(void)
{
	return way == INLINE || way == WORKER || way == POLLED;
}

/* Memory that the gate can address, with a copy of a text. */
static char *low(const char *text)
{
	static char *next;
	if (!next)
		next = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | 0x40 /* MAP_32BIT */, -1, 0);
	char *copy = strcpy(next, text);
	next += strlen(text) + 1;
	next = (char *)(((uintptr_t)next + 15) & ~15UL);
	return copy;
}
