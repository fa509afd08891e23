/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kview.h — the kernel's part of the cache as it lies on the disk, for cachefilesctl.
 *
 * Walks cache/ itself, with the daemon's scan (scan.h), so it needs the right to read it, and no
 * daemon. Changes nothing. What the kernel still holds in unnamed files is not seen.
 */
#ifndef CACHEFILESD_KVIEW_H
#define CACHEFILESD_KVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One directory below cache/: a volume, or an index of a kernel before 5.17 ("@4a"). */
struct kview_volume {
	char *name; /* owned */
	uint64_t n_objects, bytes, used_ns; /* used: the latest of its objects */
};

/* kview_volumes - all volumes that hold objects, the largest first. @dirfd: the cache directory.
 * *@out is malloc'd, kview_free() releases it. 0, -ENOENT (there is no cache/ yet) or -errno */
int kview_volumes(int dirfd, struct kview_volume **out, size_t *n);
void kview_free(struct kview_volume *v, size_t n);
/* kview_objects - up to @max objects, least recently used first; stops when @emit returns false.
 * 0, -ENOENT or -errno */
int kview_objects(int dirfd, size_t max,
	bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label), void *arg);

#endif
