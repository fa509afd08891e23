/* SPDX-License-Identifier: GPL-2.0-or-later */
/* scan.h — a resumable walk over the kernel's cache tree, one bounded step per call.
 *
 * Depth first, streaming: one block of directory entries at a time, a statx for each object and
 * nothing kept. Tells its owner about candidates, aliens and empty directories; decides and
 * removes nothing. Never follows a symbolic link, never enters a mount or another device. Knows
 * the names (objname.h) and the directories (dirnode.h), not the table and not the kernel.
 * Not thread-safe; a step blocks on the file system.
 */
#ifndef CACHEFILESD_SCAN_H
#define CACHEFILESD_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cachefilesd/dirnode.h"

/* Deeper trees than this are no cache of any kernel: a directory there is reported as an alien. */
#define SCAN_MAX_DEPTH 64

/* All are called from scan_step(); directory descriptors and names are valid during the call. */
struct scan_sink {
	/* an object: a file, or an old-format directory. To keep it, take a reference to @dir */
	void (*candidate)(
		void *arg, uint64_t used_ns, uint64_t bytes, uint32_t dir, const char *name);
	/* an entry that no kernel made: returns true when it was removed */
	bool (*alien)(void *arg, int dirfd, uint32_t dir, const char *name, bool is_dir);
	/* an index or volume directory without any object, or an empty intermediate directory of the
	 * old format (@is_index false): returns true when it was removed */
	bool (*empty)(void *arg, int dirfd, uint32_t dir, const char *name, bool is_index);
	/* something is mounted here, or it cannot be read: left alone */
	void (*skipped)(void *arg, uint32_t dir, const char *name, int err);
};

struct scan_frame;

struct scan {
	struct dirnodes *nodes;
	const struct scan_sink *sink;
	void *arg;
	int cache_fd; /* not owned */
	dev_t dev;
	bool use_mtime;
	unsigned depth; /* frames in use; 0 = not running */
	struct scan_frame *frames[SCAN_MAX_DEPTH]; /* owned, reused */
	uint64_t n_objects, n_bytes, n_dirs, n_skipped; /* of this walk */
};

void scan_init(struct scan *s, struct dirnodes *nodes, const struct scan_sink *sink, void *arg);
void scan_fini(struct scan *s);
/* scan_start - from the beginning. @cache_fd stays the caller's and open while the walk runs.
 * @use_mtime: the mount does not keep access times, so the later of atime and mtime counts.
 * 0 or -errno */
int scan_start(struct scan *s, int cache_fd, bool use_mtime);
void scan_stop(struct scan *s);
static inline bool scan_is_running(const struct scan *s)
{
	return s->depth > 0;
}
/* scan_step - one block of entries (about a thousand). 1 more to do, 0 finished. Cannot fail: what
 * cannot be read is reported as skipped. */
int scan_step(struct scan *s);

/* One object's facts, as the scan takes them; also for the check before a cull. 0 or -errno:
 * -EXDEV another device or a mount point, -ENOENT gone */
struct scan_facts {
	uint64_t used_ns, bytes;
	unsigned n_links;
	mode_t mode;
};
int scan_stat(int dirfd, const char *name, dev_t dev, bool use_mtime, struct scan_facts *out);

#endif
