/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cull.h — the conductor: which of all tenants' things goes next, and when to try at all.
 *
 *	IDLE ──wanted──▶ SCANNING ──candidates──▶ CULLING ──enough──▶ IDLE
 *	                    │ ▲ none                 │ drained, still wanted
 *	                    ▼ │ release, back-off    ▼
 *	                   RESTING ◀─────────────────┘
 *
 * Merges the sources by time of use, oldest first. Knows no object and no device; does no I/O and
 * reads no clock itself: culler.c tells what is wanted (struct cull_need) before every step and
 * gives the time. One step is a bounded amount of work: a batch of removals, or one step of a scan.
 * When everything that could go is in use it rests: until enough was released
 * (resume_thresholds), or anything was released and a moment passed, or a back-off that grows.
 * Not thread-safe; lives on the culling thread.
 */
#ifndef CACHEFILESD_CULL_H
#define CACHEFILESD_CULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/culler.h"
#include "cachefilesd/source.h"

#define CULL_MAX_SOURCES 4
#define CULL_N_RECORDS   256 /* eviction record */
#define CULL_LABEL       200

struct cull_need {
	bool is_wanted;
	const char *reason; /* for the record: "limits", "asked", "max-size", "max-age" */
	const struct cull_source *only; /* NULL = all sources */
	uint64_t deficit_bytes, deficit_files; /* missing; a batch removes no more than these */
	uint64_t older_than_ns; /* only what was last used before (wall clock); 0 = no such rule */
	uint64_t n_released, released_bytes; /* in use no more, since the last step */
	bool wake; /* something changed: do not rest any longer */
};

/* Counters since the last begin of a pass, to tell why nothing goes. */
struct cull_pass {
	uint64_t n_tried, n_freed, n_busy, n_gone, n_newer, n_failed, n_shared, freed_bytes;
};

enum cull_verdict {
	CULL_AGAIN, /* call again at once, the needs have not changed */
	CULL_BATCH, /* something was removed: look at the free space, then call again */
	CULL_WAIT, /* nothing to do until *wait_ns from now, or until the needs change */
};

struct cull_record {
	uint64_t at_ns, used_ns, bytes;
	const char *source, *reason;
	enum cull_outcome outcome;
	char label[CULL_LABEL];
};

struct cull {
	struct cull_source *sources[CULL_MAX_SOURCES];
	size_t n_sources;
	enum culler_phase phase;
	int64_t resume_bytes, resume_files; /* CULLER_RESUME_IGNORE = not a reason */
	/* private */
	struct cull_pass pass;
	uint64_t pass_started_ns; /* monotonic */
	uint64_t rest_until_ns, hurry_ns, backoff_ns;
	uint64_t n_released, released_bytes; /* since the rest began */
	bool is_woken;
	/* totals */
	struct cull_pass total;
	uint64_t n_runs, last_freed_ns;
	struct cull_record records[CULL_N_RECORDS]; /* ring */
	size_t n_records; /* ever */
};

void cull_init(struct cull *c, struct cull_source *const *sources, size_t n_sources);
/* cull_step - @now_ns monotonic, @wall_ns for the record. *wait_ns is set on CULL_WAIT. */
enum cull_verdict cull_step(struct cull *c, const struct cull_need *need, uint64_t now_ns,
	uint64_t wall_ns, uint64_t *wait_ns);
/* cull_trouble - why nothing goes although it is wanted; NONE when it does, or in a scan */
enum culler_trouble cull_trouble(const struct cull *c);

#endif
