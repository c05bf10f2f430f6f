/* Kills the process that it is loaded into, as kill -9 does, at one of its calls on a file: LD_PRELOAD has it take the
   place of the C library's pwrite and fsync. DYING_CALL says which of the two, DYING_AT the how manieth, counted over all
   threads, DYING_FILE what the file's name begins with. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static void count(const char *call, int file)
{
	const char *wanted = getenv("DYING_CALL"), *at = getenv("DYING_AT"), *begins = getenv("DYING_FILE");
	char link[64], path[PATH_MAX];
	if (!wanted || !at || !begins || strcmp(call, wanted))
		return;
	snprintf(link, sizeof link, "/proc/self/fd/%d", file);
	ssize_t length = readlink(link, path, sizeof path - 1);
	if (length < 0)
		return;
	path[length] = 0;
	const char *name = strrchr(path, '/');
	if (!name || strncmp(name + 1, begins, strlen(begins)))
		return;
	if (atomic_fetch_add(&calls, 1) + 1 == atol(at))
		kill(getpid(), SIGKILL);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset)
{
	static ssize_t (*next)(int, const void *, size_t, off64_t);
	count("pwrite", file);
	if (!next)
		next = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
	return next(file, bytes, length, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset)
{
	return pwrite64(file, bytes, length, offset);
}

int fsync(int file)
{
	static int (*next)(int);
	count("fsync", file);
	if (!next)
		next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	return next(file);
}
