/*
 * Does every operation that changes files, processes or connections, once, in the way that it is told, so that a test
 * can see what of it is told. `exerciser <files|processes> <way> <folder> <prefix>`: names of files begin with the
 * prefix; those to be changed are there already. Says a line for each: `<operation> <0, or the negative errno>`, or
 * `<operation> -` where the way cannot do it.
 */
#include "operation.h"
#include "files.h"
#include "processes.h"

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
