/*
 * Does every operation that changes files, processes or connections, once, in the way that it is told, so that a test
 * can see what of it is told. `exerciser <files|processes> <way> <folder> <prefix>`: names of files begin with the
 * prefix; those to be changed are there already. Says a line for each: `<operation> <0, or the negative errno>`, or
 * `<operation> -` where the way cannot do it.
 */
#include "ways.h"
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *folder, *prefix;

/* Path of an operation's file. */
static char *at(const char *operation, const char *suffix)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s%s%s", folder, prefix, operation, suffix);
	return low(path);
}

static long request(uint8_t opcode, struct io_uring_sqe fields)
{
	fields.opcode = opcode;
	return submit(&fields, 1);
}

#define TEXT "written by the exerciser\n"

static long do_open(const char *path, int flags, int mode)
{
	if (is_ring())
		return request(IORING_OP_OPENAT, (struct io_uring_sqe){ .fd = AT_FDCWD,
									.addr = (uintptr_t)path,
									.len = mode,
									.open_flags = flags });
	return plain((struct numbers){ SYS_openat, 295 }, AT_FDCWD, (long)path, flags, mode, 0, 0);
}

static long do_write(int fd)
{
	char *text = low(TEXT);
	if (is_ring())
		return request(IORING_OP_WRITE,
			       (struct io_uring_sqe){ .fd = fd, .addr = (uintptr_t)text, .len = strlen(text) });
	return plain((struct numbers){ SYS_write, 4 }, fd, (long)text, strlen(text), 0, 0, 0);
}

static long closing(int fd, long result)
{
	close(fd);
	return result < 0 ? result : 0;
}

static long create(void)
{
	long fd = do_open(at("create", ""), O_CREAT | O_EXCL | O_WRONLY, 0644);
	return fd < 0 ? fd : closing(fd, do_write(fd));
}

static long write_file(void)
{
	long fd = do_open(at("write", ""), O_WRONLY, 0);
	return fd < 0 ? fd : closing(fd, do_write(fd));
}

/* The store comes after the descriptor was closed. */
static long map_store(void)
{
	if (is_ring())
		return NOT_THIS_WAY;
	long fd = do_open(at("mmap", ""), O_RDWR, 0);
	if (fd < 0)
		return fd;
	char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		return -errno;
	memory[0] = '!';
	munmap(memory, 4096);
	return 0;
}

static long splice_in(void)
{
	int pipes[2];
	long fd = do_open(at("splice", ""), O_WRONLY, 0);
	if (fd < 0)
		return fd;
	if (pipe(pipes) || write(pipes[1], TEXT, strlen(TEXT)) < 0)
		return -errno;
	long result = is_ring() ?
			      request(IORING_OP_SPLICE, (struct io_uring_sqe){ .fd = fd,
									       .off = -1,
									       .splice_off_in = -1,
									       .splice_fd_in = pipes[0],
									       .len = strlen(TEXT) }) :
			      plain((struct numbers){ SYS_splice, 313 }, pipes[0], 0, fd, 0, strlen(TEXT), 0);
	close(pipes[0]);
	close(pipes[1]);
	return closing(fd, result);
}

static long copying(const char *operation, struct numbers numbers, int is_range)
{
	if (is_ring())
		return NOT_THIS_WAY;
	int from = open(at("source", ""), O_RDONLY);
	long fd = do_open(at(operation, ""), O_WRONLY, 0);
	if (from < 0 || fd < 0)
		return fd < 0 ? fd : -errno;
	long result = is_range ? plain(numbers, from, 0, fd, 0, 7, 0) : plain(numbers, fd, from, 0, 7, 0, 0);
	close(from);
	return closing(fd, result);
}

static long send_file(void)
{
	return copying("sendfile", (struct numbers){ SYS_sendfile, 239 }, 0);
}

static long copy_range(void)
{
	return copying("copy_file_range", (struct numbers){ SYS_copy_file_range, 377 }, 1);
}

static long moving(const char *from, const char *to, unsigned flags)
{
	if (is_ring())
		return request(IORING_OP_RENAMEAT, (struct io_uring_sqe){ .fd = AT_FDCWD,
									  .addr = (uintptr_t)from,
									  .len = AT_FDCWD,
									  .addr2 = (uintptr_t)to,
									  .rename_flags = flags });
	return plain((struct numbers){ SYS_renameat2, 353 }, AT_FDCWD, (long)from, AT_FDCWD, (long)to, flags, 0);
}

static long move(void)
{
	return moving(at("rename", "-from"), at("rename", ""), 0);
}

static long move_over(void)
{
	return moving(at("rename_over", "-from"), at("rename_over", ""), 0);
}

static long exchange(void)
{
	return moving(at("rename_exchange", "-from"), at("rename_exchange", ""), 2 /* RENAME_EXCHANGE */);
}

static long linking(int from, const char *old, const char *new, int flags)
{
	if (is_ring())
		return request(IORING_OP_LINKAT, (struct io_uring_sqe){ .fd = from,
									.addr = (uintptr_t)old,
									.len = AT_FDCWD,
									.addr2 = (uintptr_t)new,
									.hardlink_flags = flags });
	return plain((struct numbers){ SYS_linkat, 303 }, from, (long)old, AT_FDCWD, (long)new, flags, 0);
}

static long hard_link(void)
{
	return linking(AT_FDCWD, at("link", "-from"), at("link", ""), 0);
}

static long tmpfile_link(void)
{
	char *empty = low("");
	long fd = do_open(low(folder), O_TMPFILE | O_WRONLY, 0600);
	if (fd < 0)
		return fd;
	long result = do_write(fd);
	return closing(fd, result < 0 ? result : linking(fd, empty, at("tmpfile_link", ""), AT_EMPTY_PATH));
}

static long soft_link(void)
{
	char *target = low("target"), *path = at("symlink", "");
	if (is_ring())
		return request(IORING_OP_SYMLINKAT, (struct io_uring_sqe){ .fd = AT_FDCWD,
									   .addr = (uintptr_t)target,
									   .addr2 = (uintptr_t)path });
	return plain((struct numbers){ SYS_symlinkat, 304 }, (long)target, AT_FDCWD, (long)path, 0, 0, 0);
}

static long removing(const char *path, int flags)
{
	if (is_ring())
		return request(IORING_OP_UNLINKAT, (struct io_uring_sqe){ .fd = AT_FDCWD,
									  .addr = (uintptr_t)path,
									  .unlink_flags = flags });
	return plain((struct numbers){ SYS_unlinkat, 301 }, AT_FDCWD, (long)path, flags, 0, 0, 0);
}

static long remove_file(void)
{
	return removing(at("unlink", ""), 0);
}

static long remove_folder(void)
{
	return removing(at("rmdir", ""), AT_REMOVEDIR);
}

static long make_folder(void)
{
	char *path = at("mkdir", "");
	if (is_ring())
		return request(IORING_OP_MKDIRAT,
			       (struct io_uring_sqe){ .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = 0755 });
	return plain((struct numbers){ SYS_mkdirat, 296 }, AT_FDCWD, (long)path, 0755, 0, 0, 0);
}

static long cut(void)
{
	return plain((struct numbers){ SYS_truncate, 92 }, (long)at("truncate", ""), 3, 0, 0, 0, 0);
}

static long cut_open(void)
{
	long fd = do_open(at("ftruncate", ""), O_WRONLY, 0);
	if (fd < 0)
		return fd;
	return closing(fd, is_ring() ? request(55 /* IORING_OP_FTRUNCATE */, (struct io_uring_sqe){ .fd = fd, .off = 3 }) :
				       plain((struct numbers){ SYS_ftruncate, 93 }, fd, 3, 0, 0, 0, 0));
}

static long allocate(void)
{
	long fd = do_open(at("fallocate", ""), O_WRONLY, 0);
	if (fd < 0)
		return fd;
	if (is_ring())
		return closing(fd, request(IORING_OP_FALLOCATE,
					   (struct io_uring_sqe){ .fd = fd, .addr = 8192, .len = 0, .off = 0 }));
	long result = way == GATE ? plain((struct numbers){ NONE, 324 }, fd, 0, 0, 0, 8192, 0) :
				    plain((struct numbers){ SYS_fallocate, NONE }, fd, 0, 0, 8192, 0, 0);
	return closing(fd, result);
}

static long change_mode(void)
{
	return plain((struct numbers){ SYS_fchmodat, 306 }, AT_FDCWD, (long)at("chmod", ""), 0600, 0, 0, 0);
}

static long change_owner(void)
{
	return plain((struct numbers){ SYS_fchownat, 298 }, AT_FDCWD, (long)at("chown", ""), 65534, 65534, 0, 0);
}

static long set_attribute(void)
{
	char *path = at("setxattr", ""), *name = low("user.exerciser"), *value = low("1");
	if (is_ring())
		return request(IORING_OP_SETXATTR, (struct io_uring_sqe){ .addr = (uintptr_t)name,
									  .addr2 = (uintptr_t)value,
									  .addr3 = (uintptr_t)path,
									  .len = 1 });
	return plain((struct numbers){ SYS_setxattr, 226 }, (long)path, (long)name, (long)value, 1, 0, 0);
}

/* Into a slot of the ring, which is in no process's table of descriptors. */
static long open_direct(void)
{
	if (!is_ring())
		return NOT_THIS_WAY;
	int empty[1] = { -1 };
	char *path = at("open_direct", ""), *text = low(TEXT);
	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, empty, 1) < 0)
		return -errno;
	long result = request(IORING_OP_OPENAT, (struct io_uring_sqe){ .fd = AT_FDCWD,
								       .addr = (uintptr_t)path,
								       .open_flags = O_WRONLY,
								       .file_index = 1 });
	if (result >= 0)
		result = request(IORING_OP_WRITE, (struct io_uring_sqe){ .fd = 0,
									 .flags = IOSQE_FIXED_FILE,
									 .addr = (uintptr_t)text,
									 .len = strlen(text) });
	syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_FILES, NULL, 0);
	return result < 0 ? result : 0;
}

/* Opened, written and closed again in one submission: when it completes, no descriptor is left. */
static long open_write_close(void)
{
	if (!is_ring())
		return NOT_THIS_WAY;
	int fd = dup(0);
	char *path = at("open_write_close", ""), *text = low(TEXT);
	close(fd); /* The lowest free one, which the open will get. */
	struct io_uring_sqe requests[] = {
		{ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .open_flags = O_WRONLY },
		{ .opcode = IORING_OP_WRITE, .fd = fd, .addr = (uintptr_t)text, .len = strlen(text) },
		{ .opcode = IORING_OP_CLOSE, .fd = fd },
	};
	long result = submit(requests, 3);
	return result < 0 ? result : 0;
}

/* --- processes and connections --- */

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

struct operation {
	const char *name;
	long (*act)(void);
};

static const struct operation FILES[] = {
	{ "create", create },
	{ "write", write_file },
	{ "open_direct", open_direct },
	{ "open_write_close", open_write_close },
	{ "mmap", map_store },
	{ "splice", splice_in },
	{ "sendfile", send_file },
	{ "copy_file_range", copy_range },
	{ "truncate", cut },
	{ "ftruncate", cut_open },
	{ "fallocate", allocate },
	{ "rename", move },
	{ "rename_over", move_over },
	{ "rename_exchange", exchange },
	{ "link", hard_link },
	{ "tmpfile_link", tmpfile_link },
	{ "symlink", soft_link },
	{ "unlink", remove_file },
	{ "mkdir", make_folder },
	{ "rmdir", remove_folder },
	{ "chmod", change_mode },
	{ "chown", change_owner },
	{ "setxattr", set_attribute },
	{ 0 },
};

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

int main(int count, char **words)
{
	if (count != 5)
		return 2;
	while (way < GATE && strcmp(WAY_NAMES[way], words[2]))
		way++;
	folder = words[3];
	prefix = words[4];
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (is_ring())
		open_ring();
	printf("pid %d\n", getpid());
	for (const struct operation *each = strcmp(words[1], "files") ? PROCESSES : FILES; each->name; each++) {
		long result = each->act();
		if (result == NOT_THIS_WAY)
			printf("%s -\n", each->name);
		else
			printf("%s %ld\n", each->name, result < 0 ? result : 0);
	}
	return 0;
}
