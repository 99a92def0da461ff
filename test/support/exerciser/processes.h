/* Operations on processes and connections. What a process does to itself is done by a child. */
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* What a child says: 0 or an errno. */
static long waited(pid_t child)
{
	int status = 0;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? (WEXITSTATUS(status) == 99 ? NOT_THIS_WAY : -WEXITSTATUS(status)) : -EIO;
}

static int exit_code(long result)
{
	return result == NOT_THIS_WAY ? 99 : (result < 0 ? -result : 0);
}

static long memory_exec(void)
{
	if (is_ring())
		return NOT_THIS_WAY;
	pid_t child = fork();
	if (child == 0) {
		char name[256], block[65536];
		snprintf(name, sizeof(name), "%smemfd_exec", prefix);
		long fd = plain((struct numbers){ SYS_memfd_create, 356 }, (long)low(name), 1, 0, 0, 0, 0);
		int from = open("/bin/true", O_RDONLY);
		for (ssize_t size; (size = read(from, block, sizeof(block))) > 0;)
			if (write(fd, block, size) != size)
				_exit(EIO);
		if (way == GATE) {
			uint32_t *arguments = (uint32_t *)low("01234567");
			arguments[0] = (uintptr_t)low(name);
			arguments[1] = 0;
			_exit(exit_code(plain((struct numbers){ NONE, 358 }, fd, (long)low(""), (long)arguments, 0, AT_EMPTY_PATH, 0)));
		}
		char *arguments[] = { name, NULL };
		_exit(exit_code(plain((struct numbers){ SYS_execveat, NONE }, fd, (long)"", (long)arguments, 0, AT_EMPTY_PATH, 0)));
	}
	return waited(child);
}

static long set_user(void)
{
	if (is_ring())
		return NOT_THIS_WAY;
	pid_t child = fork();
	if (child == 0)
		_exit(exit_code(plain((struct numbers){ SYS_setuid, 213 }, 65534, 0, 0, 0, 0, 0)));
	return waited(child);
}

/* Out of a namespace of its own, back into that of its parent. */
static long set_namespace(void)
{
	if (is_ring())
		return NOT_THIS_WAY;
	pid_t child = fork();
	if (child == 0) {
		int fd = open("/proc/self/ns/uts", O_RDONLY);
		if (unshare(CLONE_NEWUTS))
			_exit(errno);
		_exit(exit_code(plain((struct numbers){ SYS_setns, 346 }, fd, CLONE_NEWUTS, 0, 0, 0, 0)));
	}
	return waited(child);
}

static long trace(void)
{
	if (is_ring())
		return NOT_THIS_WAY;
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	long result = plain((struct numbers){ SYS_ptrace, 26 }, PTRACE_ATTACH, child, 0, 0, 0, 0);
	if (result >= 0)
		waitpid(child, NULL, __WALL);
	kill(child, SIGKILL);
	waitpid(child, NULL, __WALL);
	return result;
}

static struct sockaddr_in *server_address;
static int server, client;

static long listening(void)
{
	socklen_t length = sizeof(*server_address);
	server = socket(AF_INET, SOCK_STREAM, 0);
	server_address = (void *)low("a socket's address, in low memory");
	memset(server_address, 0, sizeof(*server_address));
	server_address->sin_family = AF_INET;
	server_address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(server, (void *)server_address, sizeof(*server_address)))
		return -errno;
	long result = is_ring() ? request(57 /* IORING_OP_LISTEN */, (struct io_uring_sqe){ .fd = server, .len = 8 }) :
				  plain((struct numbers){ SYS_listen, 363 }, server, 8, 0, 0, 0, 0);
	getsockname(server, (void *)server_address, &length);
	printf("port %d\n", ntohs(server_address->sin_port));
	return result;
}

static long connecting(void)
{
	client = socket(AF_INET, SOCK_STREAM, 0);
	return is_ring() ? request(IORING_OP_CONNECT, (struct io_uring_sqe){ .fd = client,
									     .addr = (uintptr_t)server_address,
									     .off = sizeof(*server_address) }) :
			   plain((struct numbers){ SYS_connect, 362 }, client, (long)server_address, sizeof(*server_address), 0,
				 0, 0);
}

static long accepting(void)
{
	long fd = is_ring() ? request(IORING_OP_ACCEPT, (struct io_uring_sqe){ .fd = server }) :
			      plain((struct numbers){ SYS_accept4, 364 }, server, 0, 0, 0, 0, 0);
	return fd < 0 ? fd : 0;
}

static long ending(void)
{
	return is_ring() ? request(IORING_OP_CLOSE, (struct io_uring_sqe){ .fd = client }) :
			   plain((struct numbers){ SYS_close, 6 }, client, 0, 0, 0, 0, 0);
}

/* On the number of the listening port. */
static long binding_datagrams(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return is_ring() ? request(56 /* IORING_OP_BIND */, (struct io_uring_sqe){ .fd = fd,
										   .addr = (uintptr_t)server_address,
										   .off = sizeof(*server_address) }) :
			   plain((struct numbers){ SYS_bind, 361 }, fd, (long)server_address, sizeof(*server_address), 0,
				 0, 0);
}

static long sending_datagrams(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char *text = low(TEXT);
	struct iovec part = { .iov_base = text, .iov_len = strlen(text) };
	struct msghdr message = { .msg_name = server_address,
				  .msg_namelen = sizeof(*server_address),
				  .msg_iov = &part,
				  .msg_iovlen = 1 };
	return is_ring() ? request(IORING_OP_SENDMSG, (struct io_uring_sqe){ .fd = fd,
									     .addr = (uintptr_t)&message,
									     .len = 1 }) :
			   plain((struct numbers){ SYS_sendto, 369 }, fd, (long)text, strlen(text), 0,
				 (long)server_address, sizeof(*server_address));
}

static const struct operation PROCESSES[] = {
	{ "memfd_exec", memory_exec },
	{ "setuid", set_user },
	{ "setns", set_namespace },
	{ "ptrace", trace },
	{ "listen", listening },
	{ "connect", connecting },
	{ "accept", accepting },
	{ "close", ending },
	{ "udp_bind", binding_datagrams },
	{ "udp_send", sending_datagrams },
	{ 0 },
};
