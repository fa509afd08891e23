/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source.h — cull_source: what the culling conductor needs from a tenant of the disk.
 *
 * Two implementations: the kernel's objects (kernel_source.c: scan, lru, kcache) and the tasks of
 * the piece store (store/). The conductor (cull.c) merges them by time of use, oldest first, and
 * never knows what an object is. All calls are made on the culling thread and may block on the
 * file system, but each does a bounded amount of work.
 */
#ifndef CACHEFILESD_SOURCE_H
#define CACHEFILESD_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cull_source;

enum cull_outcome {
	CULL_FREED, /* gone; *freed_bytes says how much the file system will get back */
	CULL_BUSY, /* somebody uses it; not now */
	CULL_GONE, /* was not there any more */
	CULL_SHARED, /* gone, but its blocks are shared (reflink, hard link): freed 0 */
	CULL_NEWER, /* used since it was offered: offer it again with the new time */
	CULL_FAILED, /* an error, logged by the source; skip it */
};

enum cull_offer {
	CULL_OFFER_READY, /* *used_ns is the time of use of the oldest candidate */
	CULL_OFFER_WORKING, /* not known yet: call again (a scan is running) */
	CULL_OFFER_NONE, /* nothing can be culled now */
};

struct cull_source_ops {
	const char *name; /* "kernel", "tasks": for logs and the eviction record */
	/* oldest - nanoseconds since the Epoch of the candidate that would go next. Trash, expired
	 * tasks and orphaned partials report 0: they always go first. @used_ns is set on READY. */
	enum cull_offer (*oldest)(struct cull_source *s, uint64_t *used_ns);
	/* recheck - is the candidate still as old as offered, and free? CULL_FREED = yes, go on to
	 * remove(). Any other outcome takes it off the offer (NEWER: offers it with its new time) */
	enum cull_outcome (*recheck)(struct cull_source *s);
	/* remove - the candidate that oldest() named; takes it off the offer whatever the outcome.
	 * @freed_bytes, @label (what it was, for the eviction record) are always set. */
	enum cull_outcome (*remove)(
		struct cull_source *s, uint64_t *freed_bytes, char *label, size_t label_cap);
	/* begin / end - a cull run starts (forget what an earlier run learnt) or is over */
	void (*begin)(struct cull_source *s);
	void (*end)(struct cull_source *s);
	/* list - dry run: call @emit for candidates in order until it returns false. The sizes are
	 * what remove would free. Does not remove. */
	int (*list)(struct cull_source *s,
		bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label),
		void *arg);
};

struct cull_source {
	const struct cull_source_ops *ops;
};

#endif
