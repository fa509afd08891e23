/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cleanup.h — scope-bound release of memory, descriptors and streams.
 *
 * A local is marked with the attribute, filled, and either handed over with take_fd()/take_ptr()
 * or released when the scope ends: success and failure share one way out.
 * Every type here has an empty form (NULL, fd -1) for which release does nothing.
 */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define container_of(ptr, type, member)                                                            \
	((type *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void cleanup_freep(void *p)
{
	int e = errno;
	free(*(void **)p);
	errno = e;
}

/* fd_close - close @fd unless it is the empty form; keeps errno; returns the empty form (-1) */
static inline int fd_close(int fd)
{
	if (fd >= 0) {
		int e = errno;
		close(fd);
		errno = e;
	}
	return -1;
}

static inline void cleanup_fdp(int *fd)
{
	*fd = fd_close(*fd);
}

static inline void cleanup_dirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static inline void cleanup_filep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_free_ CLEANUP(cleanup_freep)
#define _cleanup_fd_   CLEANUP(cleanup_fdp)
#define _cleanup_dir_  CLEANUP(cleanup_dirp)
#define _cleanup_file_ CLEANUP(cleanup_filep)

/* take_fd - move the descriptor out of @fd, leaving the empty form */
static inline int take_fd(int *fd)
{
	int r = *fd;
	*fd = -1;
	return r;
}

static inline void *take_ptr_(void *pp)
{
	void **p = pp, *r = *p;
	*p = NULL;
	return r;
}
#define take_ptr(pp) ((__typeof__(*(pp)))take_ptr_(pp))

#endif
