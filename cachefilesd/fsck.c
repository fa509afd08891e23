/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fsck.c — see fsck.h */
#include "cachefilesd/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cachefilesd/store/layout.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"

#define SECOND   1000000000ull
#define CHUNK    (1u << 20)
#define PIECES_N 64

struct fsck {
	struct layout layout;
	bool repair;
	void (*emit)(void *arg, const struct fsck_finding *f);
	void *arg;
	struct fsck_result *result;
	/* scrub */
	const char *only;
	uint64_t rate_bytes, started_ns;
	uint8_t *buf;
};

static void say(struct fsck *k, const char *kind, const char *name, bool mended, const char *fmt,
	...) __attribute__((format(printf, 5, 6)));
static void say(
	struct fsck *k, const char *kind, const char *name, bool mended, const char *fmt, ...)
{
	struct fsck_finding f = {.kind = kind, .name = name, .is_mended = mended};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f.problem, sizeof(f.problem), fmt, ap);
	va_end(ap);
	k->result->n_problems++;
	k->result->n_mended += mended;
	k->emit(k->arg, &f);
}

static const char *problem_text(int error)
{
	switch (error) {
	case -EBADMSG:
		return "record, name and data do not fit together, or a checksum is wrong";
	case -ENOENT:
		return "its data or its record is missing";
	case -ENOTSUP:
		return "its record was made by a newer version";
	default:
		return strerror(-error);
	}
}

/* ---- fsck ------------------------------------------------------------------------------------ */

static bool mend(struct fsck *k, const struct layout_entry *e)
{
	char name[LAYOUT_TRASH_TEXT];
	uint8_t token[STORE_TOKEN_SIZE];

	if (!k->repair || e->error == -ENOTSUP)
		return false;
	if (!e->is_partial)
		return !layout_trash_task(&k->layout, e->name, 'd', name);
	return !layout_token_parse(e->name, token) &&
	       !layout_trash_partial(&k->layout, token, 'd', name);
}

/* a complete task has every piece in its table */
static int check_table(struct fsck *k, const struct layout_entry *e)
{
	_cleanup_fd_ int data = -1, record = -1;
	struct record_piece p[PIECES_N];
	int rc = layout_open_task(&k->layout, e->name, &data, &record);

	for (uint32_t first = 0; !rc && first < e->r->info.n_pieces; first += PIECES_N) {
		uint32_t n = e->r->info.n_pieces - first;

		n = n < PIECES_N ? n : PIECES_N;
		rc = record_read_pieces(record, e->r, first, n, p);
		for (uint32_t i = 0; !rc && i < n; i++)
			if (!p[i].present)
				return (int)(first + i) + 1;
	}
	return rc;
}

static int check_entry(void *arg, const struct layout_entry *e)
{
	struct fsck *k = arg;
	const char *kind = e->is_partial ? "partial" : "task";
	int rc;

	if (e->error == -EINVAL) {
		say(k, "alien", e->name, false, "a name that is not ours in %s",
			e->is_partial ? "incoming/" : "tasks/");
		return 0;
	}
	if (e->is_partial)
		k->result->n_partials++;
	else
		k->result->n_tasks++;
	/* a running daemon commits and culls meanwhile */
	if (e->error == -ENOENT && !k->repair &&
		!layout_is_there(&k->layout, e->is_partial, e->name))
		return 0;
	if (e->error) {
		say(k, kind, e->name, mend(k, e), "%s", problem_text(e->error));
		return 0;
	}
	rc = e->is_partial ? 0 : check_table(k, e);
	if (rc > 0)
		say(k, kind, e->name, mend(k, e), "piece %d of %u is not in its table", rc - 1,
			e->r->info.n_pieces);
	else if (rc && rc != -ENOENT)
		say(k, kind, e->name, false, "its piece table cannot be read: %s", strerror(-rc));
	return 0;
}

static int open_layout(struct fsck *k, int dirfd, bool lock, char *reason)
{
	if (faccessat(dirfd, "pieces", F_OK, 0)) {
		snprintf(reason, FSCK_REASON, "there is no piece store here");
		return -ENOENT;
	}
	return lock ? layout_open(&k->layout, dirfd, reason)
		    : layout_open_shared(&k->layout, dirfd, reason);
}

int fsck_run(int dirfd, bool repair, void (*emit)(void *arg, const struct fsck_finding *f),
	void *arg, struct fsck_result *result, char *reason)
{
	struct fsck k = {.repair = repair, .emit = emit, .arg = arg, .result = result};
	int rc = open_layout(&k, dirfd, repair, reason);

	*result = (struct fsck_result){0};
	if (rc)
		return rc;
	rc = layout_walk(&k.layout, check_entry, &k);
	if (rc)
		snprintf(reason, FSCK_REASON, "cannot read pieces/: %s", strerror(-rc));
	if (!rc && repair)
		result->n_leftovers = layout_empty_trash(&k.layout, true);
	layout_close(&k.layout);
	return rc;
}

/* ---- scrub ----------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* never ahead of the rate, measured from the start */
static void pace(struct fsck *k, size_t n)
{
	uint64_t due, now = now_ns();

	k->result->bytes_read += n;
	if (!k->rate_bytes)
		return;
	due = k->started_ns +
	      (uint64_t)((double)k->result->bytes_read / (double)k->rate_bytes * (double)SECOND);
	if (due > now) {
		struct timespec ts = {.tv_sec = (time_t)((due - now) / SECOND),
			.tv_nsec = (long)((due - now) % SECOND)};

		nanosleep(&ts, NULL);
	}
}

static int read_piece(struct fsck *k, int fd, uint64_t off, uint64_t len, uint32_t *crc)
{
	*crc = 0;
	while (len) {
		size_t n = len < CHUNK ? (size_t)len : CHUNK;
		ssize_t got = fd_pread_full(fd, k->buf, n, off);

		if (got < 0)
			return (int)got;
		if ((size_t)got != n)
			return -ENODATA;
		*crc = digest_crc32(*crc, k->buf, n);
		/* a scrub must not push out of memory what others read */
		posix_fadvise(fd, (off_t)off, (off_t)n, POSIX_FADV_DONTNEED);
		pace(k, n);
		off += n;
		len -= n;
	}
	return 0;
}

static void scrub_task(struct fsck *k, const struct layout_entry *e)
{
	_cleanup_fd_ int data = -1, record = -1;
	uint32_t crc;
	int rc = layout_open_task(&k->layout, e->name, &data, &record);

	if (rc == -ENOENT)
		return; /* culled meanwhile */
	for (uint32_t i = 0; !rc && i < e->r->info.n_pieces; i++) {
		uint64_t off = (uint64_t)i * e->r->info.piece_length;
		uint64_t left = e->r->info.length - off;
		struct record_piece p;

		rc = record_read_pieces(record, e->r, i, 1, &p);
		if (!rc)
			rc = read_piece(k, data, off,
				left < e->r->info.piece_length ? left : e->r->info.piece_length,
				&crc);
		if (!rc && (!p.present || crc != p.crc32)) {
			say(k, "task", e->name, false,
				p.present ? "piece %u does not match its checksum"
					  : "piece %u is not in its table",
				i);
			return;
		}
	}
	if (rc)
		say(k, "task", e->name, false, "cannot be read: %s", strerror(-rc));
}

static int scrub_entry(void *arg, const struct layout_entry *e)
{
	struct fsck *k = arg;

	if (e->is_partial || e->error || (k->only && strcmp(k->only, e->name) != 0))
		return 0;
	k->result->n_tasks++;
	scrub_task(k, e);
	return 0;
}

int fsck_scrub(int dirfd, const char *only, uint64_t rate_bytes,
	void (*emit)(void *arg, const struct fsck_finding *f), void *arg,
	struct fsck_result *result, char *reason)
{
	struct fsck k = {.emit = emit,
		.arg = arg,
		.result = result,
		.only = only,
		.rate_bytes = rate_bytes,
		.started_ns = now_ns()};
	int rc = open_layout(&k, dirfd, false, reason);

	*result = (struct fsck_result){0};
	if (rc)
		return rc;
	k.buf = malloc(CHUNK);
	rc = k.buf ? layout_walk(&k.layout, scrub_entry, &k) : -ENOMEM;
	if (rc)
		snprintf(reason, FSCK_REASON, "cannot read pieces/: %s", strerror(-rc));
	free(k.buf);
	layout_close(&k.layout);
	return rc;
}
