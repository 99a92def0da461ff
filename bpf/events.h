/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Contract 1: the records that cross from the kernel to user space.
 *
 * Fixed widths, explicit padding, little surprises: every structure has the same layout for clang's BPF target and for
 * the decoder (src/edge-agent/record-layout.ts); a test compares the two. Numbers are in host byte order unless said
 * otherwise. A change of layout raises PROBITY_RECORD_VERSION: readers refuse records of another version.
 *
 * Every fact comes from a kernel object (task, cred, file, dentry, inode, sock), never from a user pointer that another
 * thread may change. An exception is the argument region of an image just executed: the kernel has copied it into
 * the new address space and no user code has run there yet. What a probe in user space says of itself is no such fact:
 * it has records of its own (crypto-records.h).
 */
#ifndef PROBITY_EVENTS_H
#define PROBITY_EVENTS_H

#define PROBITY_RECORD_VERSION 2

/* Longest path in a record, in bytes; a longer one keeps its end. */
#define PROBITY_PATH_MAX 4096
/* Most bytes of arguments in a record; the true length is always told. */
#define PROBITY_ARGV_MAX 131072
/* Most bytes of chosen environment variables in a record. */
#define PROBITY_ENV_MAX 8192
/* Most bytes, with a NUL, of a script's name as it was given to execve; a longer one keeps its end. */
#define PROBITY_SCRIPT_MAX 1024
/* Longest path of a data folder that is noted with the programs, with its NUL. */
#define PROBITY_OWNER_MAX 512
#define PROBITY_ANCESTORS 8
/* Kinds of record of one family: 16 by 16. The class of a record is the place of its kind in its family. */
#define PROBITY_CLASSES 16
#define PROBITY_FILTERS_MAX 16
/* A time without losses, or without events beyond a limit, that ends a run of them. */
#define PROBITY_QUIET_NS 5000000000ULL
/* Longest executable of an ancestor in a record; instead of a longer one there is comm. */
#define PROBITY_ANCESTOR_EXE_MAX 255
/* Supplementary groups in a record. */
#define PROBITY_GROUPS 32
/* Bits by which chosen environment variables are found. */
#define PROBITY_ENV_BITS 4096
/* Files that the inode hook can watch. */
#define PROBITY_WATCHED_MAX 262144
/* process_vm_writev among the requests of ptrace. */
#define PROBITY_VM_WRITEV 65536
#define PROBITY_COMM 16
#define PROBITY_TTY 16
/* Most bytes of a DNS answer in a record. */
#define PROBITY_DNS_MAX 1280

enum probity_kind {
	PROBITY_EXEC = 1,
	PROBITY_FORK = 2,
	PROBITY_EXIT = 3,
	PROBITY_CREDENTIALS = 4,
	PROBITY_SNAPSHOT = 5,
	PROBITY_CONNECT = 16,
	PROBITY_ACCEPT = 17,
	PROBITY_LISTEN = 18,
	PROBITY_CLOSE = 19,
	PROBITY_DNS = 20,
	PROBITY_FILE_OPEN = 32,
	PROBITY_INODE_DIRTY = 48,
	PROBITY_CALL_CREDENTIALS = 80,
	PROBITY_PTRACE = 81,
	PROBITY_SIGNAL = 82,
	PROBITY_CRYPTO_CONTEXT = 96,
	PROBITY_CRYPTO_DATUM = 97,
	PROBITY_CRYPTO_MAPPED = 98,
};

/* Bits of probity_header.flags. */
enum probity_flag {
	/* Something was cut: the arguments of an exec, the beginning of a path. */
	PROBITY_TRUNCATED = 1 << 0,
	/* The file has no name any more. */
	PROBITY_DELETED = 1 << 1,
	/* The image lives in memory only (memfd_create). */
	PROBITY_MEMFD = 1 << 2,
	/* The open made the file. */
	PROBITY_CREATED = 1 << 3,
	/* The arguments could not be read; their length is right. */
	PROBITY_ARGV_UNREAD = 1 << 4,
	/* The process is not known: pid, credentials and comm are empty. */
	PROBITY_NO_PROCESS = 1 << 5,
	/* Not an event: a filter took it, and who sees the file's name by other means is not to tell it either. */
	PROBITY_UNTOLD = 1 << 6,
};

/* First part of every record. Credentials and comm are those of the moment, not of the exec. */
struct probity_header {
	__u8 version;
	__u8 kind;
	__u16 flags;
	/* Of the whole record, tail included. */
	__u32 length;
	/* Counts attempts of one CPU into one ring, from 1: a jump is a record that did not fit. */
	__u64 sequence;
	/* CLOCK_BOOTTIME. */
	__u64 time_ns;
	__u16 cpu;
	/* Counts the execs of the process and of those it descends from, in 16 bits: differs while another image runs. */
	__u16 exec_id;
	__u32 tid;
	/* Thread group, in the initial pid namespace. */
	__u32 pid;
	__u32 ppid;
	/* Boot time at which the group's leader started: with pid, the identity of a process. */
	__u64 start_ns;
	__u64 parent_start_ns;
	__u32 uid;
	__u32 euid;
	__u32 gid;
	/* Login user and session; 4294967295 when unset. */
	__u32 auid;
	__u32 session;
	/* Events that the record stands for: itself alone, or as a sample also those withheld since the sample before. */
	__u32 weight;
	/* Inode of the cgroup (version 2). */
	__u64 cgroup_id;
	char comm[PROBITY_COMM];
};

/* What a process may do: its ids, capabilities and namespaces. */
struct probity_ids {
	__u32 uid;
	__u32 euid;
	__u32 suid;
	__u32 fsuid;
	__u32 gid;
	__u32 egid;
	__u32 sgid;
	__u32 fsgid;
	__u64 permitted;
	__u64 effective;
	__u64 inheritable;
	__u64 ambient;
	/* Inodes of the namespaces, as /proc/<pid>/ns shows them. */
	__u32 pid_namespace;
	__u32 mount_namespace;
	__u32 network_namespace;
	__u32 user_namespace;
	__u32 uts_namespace;
	__u32 ipc_namespace;
	__u32 cgroup_namespace;
	__u32 padding;
};

/* A process above another. Its name is in the record's tail. */
struct probity_ancestor {
	__u64 start_ns;
	__u32 pid;
	__u16 name_length;
	/* The name is the executable as it was when the process executed it; else comm. */
	__u16 is_exe;
};

/* Bits of probity_exec.marks. */
enum probity_exec_mark {
	/* The credentials before the exec are known: caps_gained can be believed. */
	PROBITY_BEFORE_KNOWN = 1 << 0,
	/* Chosen variables are missing, or there were too many to look at all. */
	PROBITY_ENV_CUT = 1 << 1,
	/* The record ends before its length. */
	PROBITY_PADDED = 1 << 2,
};

/*
 * The tail holds the ancestors (parent first), then texts, one after the other: exe, cwd, script, the ancestors'
 * names, the chosen environment and argv. Strings of the environment and of argv end in NUL each, the others do
 * not.
 */
struct probity_exec {
	struct probity_header header;
	__u64 inode;
	/* major << 20 | minor. */
	__u32 device;
	__u32 generation;
	__u32 mode;
	__u32 links;
	/* True length of the argument region, and what of it is in the record. */
	__u32 argv_bytes;
	__u32 argv_length;
	/* True length of the environment. */
	__u32 env_bytes;
	__u32 env_length;
	__u16 exe_length;
	__u16 cwd_length;
	__u16 script_length;
	__u16 padding;
	__u32 ancestor_count;
	__u32 marks;
	char tty[PROBITY_TTY];
	/* Permitted now, and not before. */
	__u64 caps_gained;
	struct probity_ids ids;
	char tail[];
};

/*
 * Credentials or namespaces were changed, or that was tried in vain. The header's are those after. `call`: number of the
 * system call on this machine, -1 for an exec. `error`: 0 or an error number. Groups are told of calls only, at most
 * PROBITY_GROUPS of them.
 */
struct probity_credentials {
	struct probity_header header;
	__s32 call;
	__u32 error;
	struct probity_ids before;
	struct probity_ids after;
	__u32 groups_before_count;
	__u32 groups_after_count;
	__u32 groups_before[PROBITY_GROUPS];
	__u32 groups_after[PROBITY_GROUPS];
};

/* A process took hold of another, or tried to. The header is of the one that asked. */
struct probity_ptrace {
	struct probity_header header;
	/* Of ptrace(2), or PROBITY_VM_WRITEV. */
	__u32 request;
	__u32 error;
	/* Identity of the target; 0: not known. */
	__u64 target_start_ns;
	__u32 target_pid;
	/* As it was asked for, in the caller's namespace, and whether that is the initial one. */
	__u32 asked_pid;
	__u32 is_initial;
	/* The target is one of Probity's own processes, or, when it is known, a child of one. */
	__u32 is_own;
};

/* A signal for one of Probity's own processes. The header is of the task that ran when it was sent. */
struct probity_signal {
	struct probity_header header;
	__u32 signal;
	/* As in siginfo_t; above 0: the kernel's doing. */
	__s32 code;
	__u64 target_start_ns;
	__u32 target_pid;
	/* enum of include/trace/events/signal.h: 0 delivered, 1 ignored, 2 pending already, 3 and 4 lost. */
	__u32 result;
};

/* The header is the child's. */
struct probity_fork {
	struct probity_header header;
};

struct probity_exit {
	struct probity_header header;
	/* As wait(2) gives it: code << 8 | core flag (0x80) | signal. */
	__u32 status;
	__u32 padding;
};

/*
 * A process that is there when the reader starts; read through an iterator, one after the other, without a ring. Its
 * length is a multiple of 8.
 */
struct probity_snapshot {
	struct probity_header header;
	struct probity_ids ids;
	__u16 exe_length;
	__u16 padding[3];
	char exe[];
};

/* IPv4 addresses take the first four bytes; addresses are in network order, ports in host order. */
struct probity_network {
	struct probity_header header;
	__u16 family;
	__u16 protocol;
	__u16 local_port;
	__u16 remote_port;
	__u8 local_address[16];
	__u8 remote_address[16];
	/* Of a connect: boot time of the call, whether it failed, and why (0: the socket does not say). */
	__u64 begun_ns;
	__u32 error;
	__u32 is_failure;
	/* Cookie of the network namespace, unique until the next boot; 0 when it is not known. */
	__u64 net_cookie;
};

/*
 * The end of a connection, of a flow of datagrams, or of listening. Of the network part, `begun_ns` is when that began
 * (0: before the programs came), `error` why a connection broke. Bytes are those of the payload.
 */
struct probity_close {
	struct probity_network network;
	__u64 bytes_in;
	__u64 bytes_out;
	/* Datagrams; 0 for TCP. */
	__u64 packets_in;
	__u64 packets_out;
	/* How it began: PROBITY_CONNECT, PROBITY_ACCEPT or PROBITY_LISTEN; 0 when that was before the programs came. */
	__u32 role;
	/* The sums are of several peers, for which there was no room; the remote address is that of the latest. */
	__u32 is_aggregate;
};

/* An answer to a query that the same socket sent; the payload begins with the DNS header. */
struct probity_dns {
	struct probity_header header;
	__u64 net_cookie;
	__u16 payload_length;
	__u16 padding[3];
	__u8 payload[];
};

/* How a store into a watched file was made. */
enum probity_store {
	PROBITY_BY_WRITE = 1,
	PROBITY_BY_MMAP = 2,
	PROBITY_BY_IO_URING = 3,
	PROBITY_BY_TRUNCATE = 4,
};

/* A watched inode, as the map of them is asked. */
struct probity_watched {
	__u64 inode;
	__u32 device;
	__u32 padding;
};

/* What a process is known again by. */
struct probity_identity {
	__u64 start_ns;
	__u32 pid;
	__u32 padding;
};

/* A watched file became dirty. The header's weight counts the stores of a second. */
struct probity_integrity {
	struct probity_header header;
	__u64 inode;
	__u32 device;
	__u32 generation;
	/* `enum probity_store`. */
	__u32 how;
	__u32 ancestor_count;
	/* Parent first. */
	struct probity_identity ancestors[PROBITY_ANCESTORS];
};

struct probity_file {
	struct probity_header header;
	__u64 inode;
	__u64 size;
	__u32 device;
	__u32 generation;
	__u32 mode;
	__u32 links;
	/* As the open file keeps them: without O_CREAT, O_EXCL, O_NOCTTY and O_TRUNC. */
	__u32 open_flags;
	__u16 path_length;
	__u16 padding;
	char path[];
};

#include "crypto-records.h"
#include "map-values.h"

#endif
