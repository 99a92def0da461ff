/* An operation of the exerciser, and what all of them need: where their files are, and a request of io_uring. */
#include "ways.h"

struct operation {
	const char *name;
	long (*act)(void);
};

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
