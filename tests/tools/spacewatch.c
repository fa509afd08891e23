// SPDX-License-Identifier: GPL-2.0-or-later
/* spacewatch — free space and the kernel's list of caches, sampled often and cheaply.
 *
 *	spacewatch DIR MS	samples every MS milliseconds until standard input ends, then prints
 *				"samples N lowest BLOCKS longest_gap MS gone N": the lowest number of
 *				free blocks seen, the longest time between two samples, and how often
 *				no cache was in state A (active)
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int has_active_cache(void)
{
	char text[8192];
	int fd = open("/proc/fs/fscache/caches", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, " A ") != NULL;
}

int main(int argc, char **argv)
{
	long interval = argc == 3 ? atol(argv[2]) : 0, last = now_ms(), longest = 0;
	unsigned long samples = 0, gone = 0, lowest = ~0ul;
	struct pollfd p = {.fd = 0, .events = POLLIN};

	if (interval <= 0)
		return 2;
	do {
		struct statvfs v;
		long now = now_ms();

		if (statvfs(argv[1], &v) < 0) {
			perror(argv[1]);
			return 1;
		}
		if (v.f_bavail < lowest)
			lowest = v.f_bavail;
		gone += !has_active_cache();
		longest = samples && now - last > longest ? now - last : longest;
		last = now;
		samples++;
	} while (poll(&p, 1, (int)interval) == 0);
	printf("samples %lu lowest %lu longest_gap %ld gone %lu\n", samples, lowest, longest, gone);
	return 0;
}
