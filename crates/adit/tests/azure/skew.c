/* Sets the time of day that the process sees ahead of the system's by $SKEW_SECS, or behind: LD_PRELOAD has it take the place
   of the C library's clock_gettime. Clocks that nobody sets go on as they are. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int failed = (int)syscall(SYS_clock_gettime, clock, time);
	const char *skew = getenv("SKEW_SECS");
	if (!failed && skew && clock == CLOCK_REALTIME)
		time->tv_sec += atol(skew);
	return failed;
}
