/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fakedev.h — a test's own fake /dev/cachefiles: tests/fakedev/fakedev.c in a temporary directory,
 * beside a directory for a cache. Needs root and /dev/fuse.
 */
#ifndef TESTS_LIB_FAKEDEV_H
#define TESTS_LIB_FAKEDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fakedev {
	char top[64]; /* temporary directory: mnt/, dir/, log */
	char device[96], dir[96], log[96];
	pid_t pid;
};

/* fakedev_start - false when it cannot work here (then the test skips) */
bool fakedev_start(struct fakedev *f);
/* fakedev_stop - unmounts, removes everything */
void fakedev_stop(struct fakedev *f);
/* fakedev_control - one command; 0 or -errno */
int fakedev_control(struct fakedev *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* fakedev_counter - a counter by name, UINT64_MAX when there is none */
uint64_t fakedev_counter(struct fakedev *f, const char *name);

#endif
