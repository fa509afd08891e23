/* SPDX-License-Identifier: GPL-2.0-or-later */
/* culler.h — the culling thread: the kernel's cache, the graveyard and the conductor (cull.h) run
 * here, so that the door thread never waits for a disk.
 *
 * main.c composes: preflight and bind (or adopt from the holder), culler_start(), then from its
 * loop: culler_event_fd() readable → culler_dispatch(). The thread has its own working directory.
 * Works without a kernel cache: the limits are then judged by statfs every second and only the
 * added sources are culled.
 * Thread-safe: every function below may be called from the door thread while the culler runs.
 * Capabilities: opening the device again after the cache died needs CAP_SYS_ADMIN; removing what
 * others own from the graveyard needs CAP_DAC_OVERRIDE and CAP_FOWNER. Without them the rest works
 * and the trouble is reported.
 */
#ifndef CACHEFILESD_CULLER_H
#define CACHEFILESD_CULLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/kcache.h"
#include "cachefilesd/limits.h"
#include "cachefilesd/source.h"
#include "common/buf.h"
#include "common/list.h"

struct culler;
struct holder;

#define CULLER_RESUME_IGNORE (-1)

struct culler_config {
	/* fixed while it runs */
	struct kcache_config kernel; /* copied; `dir` also when there is no kernel cache */
	const char *device; /* path; NULL = KCACHE_DEVICE */
	bool use_secctx; /* from kcache_preflight() */
	bool no_kernel; /* manage the added sources alone */
	bool is_bound_otherwise; /* an adopted cache was bound with other limits than kernel.limits */
	unsigned culltable; /* log2 of the cull table: 12..20 */
	/* may change with culler_reload() */
	bool no_cull; /* keyword nocull, option -N: no scan, no cull; the graveyard is reaped */
	int64_t resume_blocks; /* released blocks that start a new scan; CULLER_RESUME_IGNORE */
	int64_t resume_files; /* released files; default 5 */
	unsigned overshoot_permille; /* cull beyond run by this much of the file system; 0 = none */
	uint64_t kernel_max_bytes; /* of the kernel's part; 0 = no bound */
	uint64_t kernel_max_age_ns; /* since the last use; 0 = no bound */
};

#define CULLER_CONFIG_DEFAULT                                                                      \
	{                                                                                          \
		.kernel = {.limits = LIMITS_DEFAULT}, .culltable = 12,                             \
		.resume_blocks = CULLER_RESUME_IGNORE, .resume_files = 5,                          \
	}

/* Descriptors the thread works on. -1 where there is none (no_kernel: device, cache, graveyard). */
struct culler_fds {
	int device, root, cache, graveyard;
};

enum culler_phase { CULLER_IDLE, CULLER_SCANNING, CULLER_CULLING, CULLER_RESTING };

/* What is wrong, by name (DESIGN.md §6 rule 6). Order: the later is the worse. */
enum culler_trouble {
	CULLER_TROUBLE_NONE,
	CULLER_TROUBLE_ALL_BUSY, /* everything that could go is in use */
	CULLER_TROUBLE_NOTHING_CULLABLE, /* nothing to see: held by the kernel, pinned, or not ours */
	CULLER_TROUBLE_TOO_NARROW, /* cull and stop are too close for the rate of filling */
	CULLER_TROUBLE_NOT_FREEING, /* things go, free space does not come back */
	CULLER_TROUBLE_REFUSED, /* the kernel or the file system answers with errors */
	CULLER_TROUBLE_STARVED, /* the culling thread did not move for 5 s */
	CULLER_TROUBLE_CACHE_DEAD, /* the kernel gave the cache up; rebinding */
};
#define CULLER_N_TROUBLES (CULLER_TROUBLE_CACHE_DEAD + 1)
const char *culler_phase_name(enum culler_phase p);
const char *culler_trouble_name(enum culler_trouble t);

struct culler_status {
	bool has_kernel, is_bound, culling_wanted, below_stop, no_cull;
	enum culler_phase phase;
	enum culler_trouble trouble;
	char sentence[320]; /* the trouble in words with numbers, or "" */
	uint64_t trouble_since_ns; /* wall clock; 0 = none */
	/* the file system, blocks of block_size and inodes; files_total 0 = not limited */
	uint64_t block_size, blocks_total, blocks_avail, files_total, files_avail;
	struct limits_thresholds thresholds;
	/* the kernel's part as the last scan saw it */
	uint64_t n_objects, object_bytes, scan_ns, scanned_at_ns;
	uint64_t held_by_kernel_bytes; /* used, but in no visible file: unnamed temporary objects,
					  and whatever else lives on the file system */
	uint64_t n_candidates; /* left in the cull table */
	/* totals since the start */
	uint64_t n_culled, culled_bytes, n_busy, n_gone, n_newer, n_failed, n_shared, n_aliens,
		n_empty_dirs, n_scans, n_cull_runs, n_rebinds, n_state_reads, n_refusals;
	uint64_t n_reaped, n_unreapable; /* graveyard */
	uint64_t trouble_count[CULLER_N_TROUBLES];
	uint64_t last_freed_ns; /* wall clock of the last removal */
};

enum culler_event {
	CULLER_EVENT_BEGUN = 1, /* culling is wanted and goes on */
	CULLER_EVENT_OVER = 2,
	CULLER_EVENT_STOPPED = 4, /* below stop: nothing new may be stored */
	CULLER_EVENT_TROUBLE = 8, /* trouble or its absence changed */
	CULLER_EVENT_FAILED = 16, /* the thread ended by itself; culler_stop() tells why */
};

/* culler_start - @fds are taken (also on failure). @sources: @n_sources further tenants (the tasks
 * of the piece store); they outlive the culler, their ops run on the culling thread. @holder may
 * be NULL: tells it about descriptors made by a rebind. 0 or -errno. */
int culler_start(struct culler **out, const struct culler_config *cfg, struct culler_fds fds,
	struct cull_source *const *sources, size_t n_sources, struct holder *holder);
/* culler_stop - ends the thread between two steps, closes the descriptors (with the last copy of
 * the device the kernel withdraws the cache: this may take long). Returns NULL. */
struct culler *culler_stop(struct culler *c);
/* culler_reload - the changeable part of @cfg at once; returns the number of changed fields that
 * need a restart, each appended to @needs_restart as "keyword" lines */
size_t culler_reload(struct culler *c, const struct culler_config *cfg, struct buf *needs_restart);
/* culler_wake - look at the free space now (a reservation was made or refused) */
void culler_wake(struct culler *c);
void culler_get_status(struct culler *c, struct culler_status *out);
/* culler_is_alive - did the thread move within the last @max_ns? For the watchdog. */
bool culler_is_alive(struct culler *c, uint64_t max_ns);

int culler_event_fd(struct culler *c); /* readable = culler_dispatch() has something to say */
/* culler_dispatch - runs `done` of finished requests; returns a mask of enum culler_event */
unsigned culler_dispatch(struct culler *c);

enum culler_request_kind {
	CULLER_REQ_FREE, /* cull until @bytes are free (avail), oldest first, whatever the limits */
	CULLER_REQ_DRY_RUN, /* what FREE would remove with the same @bytes, in order (0 = all) */
	CULLER_REQ_EVICTIONS, /* the record of what went, newest first */
};

/* One line of a dry run or of the eviction record. */
struct culler_line {
	uint64_t used_ns, bytes, at_ns; /* at: when it went; 0 in a dry run */
	const char *source; /* "kernel", "tasks" */
	char reason[24]; /* "limits", "max-size", "max-age", "asked" … */
	char label[256];
};

/* Embedded in the owner; in flight until `done` runs (from culler_dispatch, or from culler_stop
 * with status -ECANCELED). */
struct culler_request {
	enum culler_request_kind kind;
	uint64_t bytes;
	size_t max_lines; /* DRY_RUN, EVICTIONS; 0 = as many as there are */
	void (*done)(struct culler_request *rq);
	/* result */
	int status; /* 0; -ENOSPC: nothing more can go; -ECANCELED; -ENOMEM */
	uint64_t freed_bytes; /* freed, or that would be freed */
	uint64_t n_objects;
	struct culler_line *lines; /* malloc'd, the owner frees */
	size_t n_lines;
	/* private */
	struct list link;
};
void culler_submit(struct culler *c, struct culler_request *rq);

#endif
