/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Part of contract 1 (events.h, which includes this): records of probes in user space, and what their programs are told.
 *
 * What such a record tells was read from a process that may lie, and that may change it meanwhile: it is what the process
 * said, no fact of the kernel. Who said it is one.
 */
#ifndef PROBITY_CRYPTO_RECORDS_H
#define PROBITY_CRYPTO_RECORDS_H

/* Most bytes of a key and of a value in a record, a NUL included. */
#define PROBITY_CRYPTO_KEY_MAX 256
#define PROBITY_CRYPTO_VALUE_MAX 1024
/* Most data that one probe tells, by its contract. */
#define PROBITY_CRYPTO_ELEMENTS 16
#define PROBITY_CRYPTO_SITES 4096
#define PROBITY_CRYPTO_ARGUMENTS 4

/* Probes of the provider, in this order. */
enum probity_probe {
	PROBITY_NEW_CONTEXT = 1,
	PROBITY_WORD_DATA = 2,
	PROBITY_STRING_DATA = 3,
	PROBITY_BLOB_DATA = 4,
	PROBITY_DATA = 5,
	PROBITY_NEW_CONTEXT_WITH_DATA = 6,
};

enum probity_datum {
	PROBITY_WORD = 0,
	PROBITY_STRING = 1,
	PROBITY_BLOB = 2,
};

/* Where an argument of a probe is when it is hit. */
enum probity_operand_kind {
	PROBITY_CONSTANT = 0,
	PROBITY_REGISTER = 1,
	PROBITY_MEMORY = 2,
	PROBITY_INDEXED = 3,
};

/* `place` and `index`: of registers, in bytes from the beginning of struct pt_regs. */
struct probity_operand {
	/* The constant, or what is added to the address. */
	__s64 value;
	__u16 place;
	__u16 index;
	/* enum probity_operand_kind. */
	__u8 kind;
	/* What the index is multiplied with. */
	__u8 scale;
	/* In bytes, and whether a shorter number is signed. */
	__u8 size;
	__u8 is_signed;
};

/* A place in a file at which a probe may be hit. */
struct probity_site {
	/* enum probity_probe; 0: none. */
	__u32 probe;
	/* Number that the reader gave the file. */
	__u32 file;
	/* Sites that may be one place, of a file that two filesystems show (overlays): of a hit one of them tells. 0: none. */
	__u32 group;
	__u32 padding;
	struct probity_operand arguments[PROBITY_CRYPTO_ARGUMENTS];
};

/* Bits of probity_crypto.marks. */
enum probity_crypto_mark {
	PROBITY_KEY_CUT = 1 << 0,
	PROBITY_VALUE_CUT = 1 << 1,
	/* The probe tells more data than are taken; on the last of those. */
	PROBITY_DATA_CUT = 1 << 2,
};

/* A context begins, or a datum of one is told. Key and value follow, without NUL. */
struct probity_crypto {
	struct probity_header header;
	__s64 context;
	/* Of a context. */
	__s64 parent;
	/* Of a datum: the word; of a blob the size that it has. */
	__s64 word;
	__u32 file;
	__u16 key_length;
	__u16 value_length;
	/* enum probity_datum. */
	__u8 type;
	__u8 marks;
	/* Of a probe that tells several: the datum's place among them, and how many there are. */
	__u8 place;
	__u8 count;
	__u32 padding;
};

/* A file was mapped to be executed, or executed; told once a second. */
struct probity_mapped {
	struct probity_header header;
	__u64 inode;
	__u64 size;
	__u32 device;
	__u32 generation;
};

#endif
