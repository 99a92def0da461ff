/*
 * Does one thing again and again and says what each time took, so that a bench can tell what watching it adds.
 *
 *   storm KIND COUNT FILE [PER_SECOND [FOLDER FILES]]
 *
 * KIND: `open` opens FILE for writing and closes it, `exec` starts /bin/true and waits for it, `connect` connects to a
 * listener of its own on loopback and closes, `write` writes 64 bytes to FILE, `getppid` enters the kernel and leaves.
 * `mixed` does all but the last two in rounds of 250: five execs, fifteen connects, one file of FOLDER written anew, and
 * opens; FOLDER holds FILES files, `<number / 1000>/file-<number>`.
 * With PER_SECOND it paces itself, in slices of a millisecond. Prints the nanoseconds of all and the count done.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static const char *path;
static int written, listener;
static struct sockaddr_in address;

static void open_once(void)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0)
		fail("open");
	close(fd);
}

static void write_once(void)
{
	static const char bytes[64] = "sixty-four bytes";
	if (pwrite(written, bytes, sizeof(bytes), 0) != sizeof(bytes))
		fail("write");
}

static void exec_once(void)
{
	static char *const argv[] = {"true", NULL}, *const envp[] = {NULL};
	pid_t child;
	int status;
	if (posix_spawn(&child, "/bin/true", NULL, NULL, argv, envp) != 0)
		fail("spawn");
	waitpid(child, &status, 0);
}

static void connect_once(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct linger reset = {1, 0};
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("connect");
	int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	/* Reset, so that no port waits. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	close(peer);
}

static const char *folder;
static long files, rewritten;

static void rewrite_once(void)
{
	/* A prime, so that the files come in no order and each in its turn. */
	long number = (++rewritten * 7919) % files;
	char name[4096], text[64];
	snprintf(name, sizeof(name), "%s/%ld/file-%ld", folder, number / 1000, number);
	int length = snprintf(text, sizeof(text), "line of change %ld by %d\n", rewritten, getpid());
	int fd = open(name, O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, text, length) != length)
		fail("rewrite");
	close(fd);
}

static void mixed_once(void)
{
	static long done;
	long place = done++ % 250;
	if (place == 4)
		rewrite_once();
	else if (place % 50 == 0)
		exec_once();
	else if (place % 50 <= 3)
		connect_once();
	else
		open_once();
}

static void getppid_once(void)
{
	syscall(SYS_getppid);
}

static void listen_on_loopback(void)
{
	socklen_t length = sizeof(address);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 128) != 0)
		fail("listen");
	getsockname(listener, (struct sockaddr *)&address, &length);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	const char *kind = argv[1];
	long count = atol(argv[2]), per_second = argc > 4 ? atol(argv[4]) : 0;
	void (*once)(void) = NULL;

	path = argv[3];
	if (strcmp(kind, "open") == 0)
		once = open_once;
	if (strcmp(kind, "exec") == 0)
		once = exec_once;
	if (strcmp(kind, "getppid") == 0)
		once = getppid_once;
	if (strcmp(kind, "connect") == 0) {
		listen_on_loopback();
		once = connect_once;
	}
	if (strcmp(kind, "mixed") == 0 && argc > 6) {
		listen_on_loopback();
		folder = argv[5];
		files = atol(argv[6]);
		once = mixed_once;
	}
	if (strcmp(kind, "write") == 0) {
		written = open(path, O_WRONLY | O_CREAT, 0600);
		once = write_once;
	}
	if (!once)
		return 2;
	long long begun = now_ns();
	for (long done = 0; done < count; done++) {
		while (per_second && done > (now_ns() - begun) / 1000000 * per_second / 1000)
			nanosleep(&(struct timespec){0, 200000}, NULL);
		once();
	}
	printf("%lld %ld\n", now_ns() - begun, count);
	return 0;
}
