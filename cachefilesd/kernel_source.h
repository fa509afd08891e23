/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kernel_source.h — the kernel's objects as a cull_source: scan + lru + kcache.
 *
 * One scan fills the table with the oldest objects; then they are offered one by one. The table
 * outlives a cull run (objects used since are found out by recheck), until it is empty or old. A
 * table that was too small for all is followed by a pass over what is newer than it. Whether
 * an object is in use is not asked: the cull itself answers that. Every scan also takes away what no
 * kernel made, and directories of volumes that hold no object: by cull, so the kernel may refuse.
 * Created, called and freed on the culling thread.
 */
#ifndef CACHEFILESD_KERNEL_SOURCE_H
#define CACHEFILESD_KERNEL_SOURCE_H

#include <stdatomic.h>

#include "cachefilesd/dirnode.h"
#include "cachefilesd/kcache.h"
#include "cachefilesd/lru.h"
#include "cachefilesd/scan.h"
#include "cachefilesd/source.h"

#define KERNEL_SOURCE_DIRS 256 /* directories kept open: one volume's fan-out */

struct kernel_source_stats {
	uint64_t n_objects,
		object_bytes; /* of the last finished scan, less what was culled since */
	uint64_t scan_ns, scanned_at_ns; /* its duration; when it ended (wall clock; 0 = never) */
	uint64_t n_scans, n_aliens, n_empty_dirs, n_skipped, n_windows;
};

struct kernel_source {
	struct cull_source source;
	/* private */
	struct kcache *kc; /* not owned */
	struct dirnodes nodes;
	struct scan scan;
	struct lru lru;
	bool use_mtime;
	bool is_exhausted; /* everything was offered since the last begin() */
	bool is_dead; /* a command failed and the cache turned out to be dead */
	bool in_pass; /* a pass over the tree is under way or is being offered */
	uint64_t n_freed_in_pass;
	uint64_t floor_ns; /* this pass takes nothing older: it was offered already */
	uint64_t pass_started_ns; /* monotonic */
	uint64_t pass_ended_ns; /* monotonic */
	uint64_t begun_ns; /* monotonic: the last begin() */
	uint32_t window_dir; /* directory whose names are being learnt; LRU_NO_DIR = none */
	int window_fd;
	struct {
		uint32_t dir;
		int fd;
	} open_dirs[KERNEL_SOURCE_DIRS];
	uint64_t candidate_bytes; /* of the one that recheck() looked at */
	struct kernel_source_stats stats;
};

/* kernel_source_init - @culltable: log2 of the table. @kc must outlive it. 0 or -errno */
int kernel_source_init(struct kernel_source *ks, struct kcache *kc, unsigned culltable);
void kernel_source_fini(struct kernel_source *ks);
/* kernel_source_rebound - @kc is another cache now: forget everything */
void kernel_source_rebound(struct kernel_source *ks);
/* kernel_source_refresh - the table and the sizes are made anew at the next oldest(), which may be
 * called although nothing needs culling: until it is no longer WORKING */
void kernel_source_refresh(struct kernel_source *ks);
/* kernel_source_count - how many candidates are in the table */
static inline size_t kernel_source_count(const struct kernel_source *ks)
{
	return ks->lru.is_sealed ? ks->lru.n : 0;
}

#define KERNEL_SOURCE_LIST_MAX (1u << 18)
/* kernel_source_list - dry run: up to @max objects (at most KERNEL_SOURCE_LIST_MAX) in the order of
 * culling, with tables of its own, so it may run on any thread. @cache_fd is the cache directory.
 * 0, -ECANCELED (@stop, which may be NULL, became true) or -errno. */
int kernel_source_list(int cache_fd, size_t max, const atomic_bool *stop,
	bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label), void *arg);

#endif
