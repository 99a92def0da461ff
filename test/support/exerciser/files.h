/* Operations on files. Those that need a file find it there, by the operation's name. */
#include <sys/stat.h>

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
