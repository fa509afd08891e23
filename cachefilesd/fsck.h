/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fsck.h — the piece store read from outside the daemon: does what is on disk verify, and does the
 * data still match its checksums? Used by cachefilesctl, in a process of its own.
 */
#ifndef CACHEFILESD_FSCK_H
#define CACHEFILESD_FSCK_H

#include <stdbool.h>
#include <stdint.h>

#define FSCK_REASON 256

struct fsck_finding {
	const char *kind; /* "task", "partial", "trash", "alien" */
	const char *name;
	char problem[200]; /* a sentence */
	bool is_mended;
};

struct fsck_result {
	uint64_t n_tasks, n_partials, n_problems, n_mended, n_leftovers;
	uint64_t bytes_read; /* scrub */
};

/* fsck_run - look at pieces/ in @dirfd. @repair: move what does not verify to trash/ and empty it;
 * needs that no daemon uses the directory (-EBUSY). Findings go to @emit. 0 or -errno and @reason
 * (FSCK_REASON bytes). -ENOENT: there is no piece store. */
int fsck_run(int dirfd, bool repair, void (*emit)(void *arg, const struct fsck_finding *f),
	void *arg, struct fsck_result *result, char *reason);

/* fsck_scrub - read every piece of every complete task (or of @only) and compare its crc32, at most
 * @rate_bytes a second (0 = no bound). A task that vanishes meanwhile is no problem. @emit returns
 * for each damaged task. */
int fsck_scrub(int dirfd, const char *only, uint64_t rate_bytes,
	void (*emit)(void *arg, const struct fsck_finding *f), void *arg,
	struct fsck_result *result, char *reason);

#endif
