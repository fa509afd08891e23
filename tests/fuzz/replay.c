/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay.c — main() for a fuzz target where there is no libFuzzer: every file named, and every file
 * below every directory named, is one input. Prints how many there were; a crash or a sanitizer's
 * report is the failure. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/path.h"

#define REPLAY_MAX ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static int replay(int dirfd, const char *name, unsigned long *n)
{
	_cleanup_buf_ struct buf b = {0};
	uint8_t *exact;
	struct stat st;
	int r;

	if (fstatat(dirfd, name, &st, 0) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_dir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
		struct dirent *e;

		if (!d)
			return -errno;
		while ((e = readdir(d))) {
			r = path_is_dots(e->d_name) ? 0 : replay(fd, e->d_name, n);
			if (r)
				return r;
		}
		return 0;
	}
	r = fd_read_file(dirfd, name, REPLAY_MAX, &b);
	if (r)
		return r;
	/* an allocation of exactly this size, so that reading one byte too far is seen */
	exact = malloc(b.len ? b.len : 1);
	if (!exact)
		return -ENOMEM;
	if (b.len)
		memcpy(exact, b.data, b.len);
	LLVMFuzzerTestOneInput(exact, b.len);
	free(exact);
	(*n)++;
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long n = 0;

	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		int r = replay(AT_FDCWD, argv[i], &n);

		if (r) {
			fprintf(stderr, "replay: cannot read %s: %s\n", argv[i], strerror(-r));
			return 1;
		}
	}
	printf("replayed %lu inputs\n", n);
	return 0;
}
