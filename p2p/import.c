/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 *  ADMIT ─▶ CREATE ─▶ CLONE ─▶ WRITE ─▶ ANNOUNCE ─▶ COMMIT ─▶ (REFRESH) ─▶ REPORT ─▶ DONE
 *             ▲─────────┘ cannot be reflinked: again, with room for a copy
 *             └─▶ COMPARE ─▶ here already: ANNOUNCE ─▶ REFRESH …; else CREATE again, with the id
 *  any state ──▶ fail(): tell the scheduler if it was told, drop the lease, say why once.
 *
 * ADMIT looks at the source; CREATE asks the store for room; CLONE tries a reflink; WRITE copies and
 * hashes in slices, so that many imports share the pool; COMPARE: there is room only if something goes,
 * and a task of the same length is here, so the source is hashed before anything is removed. REFRESH: the content was here already, its
 * copy becomes a pinned one with the later expiry.
 *
 * While a work function runs on the pool, the fields under "of the work" are its own.
 */
#include "p2p/import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachefilesd/api/store.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "p2p/api/convert.h"
#include "p2p/foreign.h"
#include "p2p/histogram.h"
#include "p2p/labels.h"
#include "p2p/local.h"
#include "p2p/piece.h"
#include "p2p/sched.h"
#include "p2p/writer.h"

#define SECOND        UINT64_C(1000000000)
#define SLICE_BYTES   (64u << 20) /* of one turn on the pool */
#define BUFFER_BYTES  (256u << 10) /* small enough to be hashed while in the cache */
#define SCHED_TIMEOUT (15 * SECOND)
#define REPLICAS_MAX  1000

struct imports {
	struct imports_config c;
	struct list all;
	unsigned n_running;
	struct labels labels;
	struct imports_stats stats;
	struct histogram durations;
	bool has_no_reflink_dev;
	dev_t no_reflink_dev; /* the last device whose files could not be reflinked into the store */
};

enum import_state { ADMIT, CREATE, CLONE, COMPARE, WRITE, ANNOUNCE, COMMIT, REFRESH, REPORT, OVER };

struct import {
	struct imports *is;
	struct list link;
	unsigned label;
	char trace[API_TRACE_SIZE];
	enum import_state state;
	bool is_cancelled, was_announced, is_one_more, is_recreating;
	bool was_compared, is_here; /* the id is known; so is that it needs no writing */
	void (*fn)(void *arg, const struct outcome *why, const struct import_result *r);
	void *arg;
	struct foreign_op work;
	struct loop_op post;
	struct writer *writer;
	struct sched_call *call;
	struct local_change *change;
	struct outcome why;
	struct import_result result;
	uint64_t began, generation, expires_ns;
	/* wanted */
	int fd; /* the source; owned */
	char *content; /* owned */
	struct task_attrs attrs;
	bool has_piece_length;
	uint64_t replicas, ttl_ns;
	uid_t uid;
	char peer_id[PEER_ID_SIZE], id[TASK_ID_SIZE];
	uint8_t fingerprint[16];
	/* of the work */
	atomic_bool stop;
	struct stat st;
	bool is_clone; /* the data is there already: only hash it */
	bool is_dry; /* only hash the source */
	bool can_seek, is_changed;
	uint64_t pos, extent_end; /* until there, [pos, …) is all data or all hole */
	bool in_hole, piece_is_data;
	uint8_t *buf;
	struct digest_xxh3 *xxh;
	struct digest *sha; /* sha256 ids of file content only */
	struct fingerprint *print;
	uint32_t crc, file_crc, zero_length;
	struct digest_128 zero_hash;
	uint32_t n_hashed; /* pieces; crcs[] up to there are final */
	uint32_t *crcs;
	/* of the loop */
	uint32_t n_told;
	uint32_t piece_length, n_pieces;
	uint64_t length;
};

static void fail(struct import *i, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- on the pool --------------------------------------------------------------------------- */

static int work_admit(void *arg)
{
	struct import *i = arg;

	return fstat(i->fd, &i->st) < 0 ? -errno : 0;
}

static int work_clone(void *arg)
{
	struct import *i = arg;
	struct stat st;
	int r = fd_reflink(i->fd, writer_fd(i->writer));

	if (r < 0)
		return r;
	if (fstat(writer_fd(i->writer), &st) < 0)
		return -errno;
	i->is_clone = true;
	i->is_changed = st.st_size != i->st.st_size;
	return 0;
}

static const uint8_t zeros[64 << 10];

static void hash_zeros(struct import *i, uint64_t n)
{
	i->crc = digest_crc32_combine(i->crc, digest_crc32_zeros(n), n);
	for (uint64_t left = n; left;) {
		size_t k = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);

		digest_xxh3_update(i->xxh, zeros, k);
		if (i->sha)
			digest_update(i->sha, zeros, k);
		left -= k;
	}
}

/* zero_piece - a whole piece of zeros: hashed once for each length */
static void zero_piece(struct import *i, uint32_t n)
{
	if (i->sha || i->zero_length != n) {
		hash_zeros(i, n);
		i->zero_hash = digest_xxh3_final(i->xxh);
		i->zero_length = n;
		return;
	}
	i->crc = digest_crc32_zeros(n);
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return !*p && !memcmp(p, p + 1, n - 1);
}

static int find_extent(struct import *i, int fd)
{
	off_t at, length = (off_t)i->length;

	if (!i->can_seek) {
		i->in_hole = false;
		i->extent_end = i->length;
		return 0;
	}
	at = lseek(fd, (off_t)i->pos, SEEK_DATA);
	if (at < 0 && errno == ENXIO)
		at = length;
	if (at < 0) { /* not every file system knows; then all is data */
		i->can_seek = false;
		return find_extent(i, fd);
	}
	i->in_hole = (uint64_t)at > i->pos;
	if (!i->in_hole) {
		at = lseek(fd, (off_t)i->pos, SEEK_HOLE);
		if (at < 0) {
			i->can_seek = false;
			return find_extent(i, fd);
		}
	}
	i->extent_end = at > length ? i->length : (uint64_t)at;
	return 0;
}

static int copy_chunk(struct import *i, int from, int to, size_t n)
{
	ssize_t got = fd_pread_full(from, i->buf, n, i->pos);
	int r;

	if (got < 0)
		return (int)got;
	if ((size_t)got < n) {
		i->is_changed = true; /* it shrank under us */
		return -ECANCELED;
	}
	i->crc = digest_crc32(i->crc, i->buf, n);
	digest_xxh3_update(i->xxh, i->buf, n);
	if (i->sha)
		digest_update(i->sha, i->buf, n);
	if (i->is_clone || i->is_dry)
		return 0;
	if (is_zero(i->buf, n)) {
		/* the room that was reserved for it is given back */
		r = fd_punch_hole(to, i->pos, n);
		if (r != -EOPNOTSUPP)
			return r;
	}
	return fd_pwrite_full(to, i->buf, n, i->pos);
}

static void finish_piece(struct import *i, uint32_t size)
{
	struct digest_128 hash = i->piece_is_data ? digest_xxh3_final(i->xxh) : i->zero_hash;

	i->crcs[i->n_hashed++] = i->crc;
	fingerprint_piece(i->print, i->crc, hash);
	i->file_crc = digest_crc32_combine(i->file_crc, i->crc, size);
	i->crc = 0;
	i->piece_is_data = false;
	digest_xxh3_reset(i->xxh);
}

/* work_write - at most SLICE_BYTES further; 0, or -errno (-ECANCELED with is_changed) */
static int work_write(void *arg)
{
	struct import *i = arg;
	int to = i->is_dry ? -1 : writer_fd(i->writer), from = i->is_clone ? to : i->fd, r;
	uint64_t stop_at = i->pos + SLICE_BYTES;
	struct stat st;

	while (i->pos < i->length && i->pos < stop_at && !atomic_load(&i->stop)) {
		uint64_t start = piece_offset(i->n_hashed, i->piece_length);
		uint32_t size = piece_size(i->n_hashed, i->length, i->piece_length);
		uint64_t end = start + size, n;

		if (i->pos >= i->extent_end) {
			r = find_extent(i, from);
			if (r < 0)
				return r;
		}
		n = (i->extent_end < end ? i->extent_end : end) - i->pos;
		if (i->in_hole) {
			if (!i->is_clone && !i->is_dry) {
				r = fd_punch_hole(to, i->pos, n);
				if (r < 0 && r != -EOPNOTSUPP)
					return r;
			}
			if (n == size) {
				zero_piece(i, size);
			} else {
				i->piece_is_data = true;
				hash_zeros(i, n);
			}
		} else {
			if (n > BUFFER_BYTES)
				n = BUFFER_BYTES;
			i->piece_is_data = true;
			r = copy_chunk(i, from, to, (size_t)n);
			if (r < 0)
				return r;
		}
		i->pos += n;
		if (i->pos == end)
			finish_piece(i, size);
	}
	if (i->pos < i->length)
		return 0;
	if (fstat(i->fd, &st) < 0)
		return -errno;
	i->is_changed = st.st_size != i->st.st_size || st.st_mtim.tv_sec != i->st.st_mtim.tv_sec ||
			st.st_mtim.tv_nsec != i->st.st_mtim.tv_nsec ||
			st.st_ctim.tv_sec != i->st.st_ctim.tv_sec ||
			st.st_ctim.tv_nsec != i->st.st_ctim.tv_nsec;
	return i->is_changed ? -ECANCELED : 0;
}

/* ---- on the loop --------------------------------------------------------------------------- */

static void import_free(struct import *i)
{
	list_del(&i->link);
	i->is->n_running--;
	writer_close(i->writer);
	foreign_close(i->is->c.foreign, i->uid, i->fd);
	free(i->content);
	free(i->buf);
	free(i->crcs);
	digest_xxh3_free(i->xxh);
	digest_free(i->sha);
	fingerprint_free(i->print);
	free(i);
}

/* over - told once; the struct goes when nothing of it is in flight */
static void over(struct import *i)
{
	if (i->state != OVER) {
		i->state = OVER;
		labels_end(&i->is->labels, i->label, i->why.status != RPC_OK);
		if (i->why.status == RPC_OK)
			i->is->stats.n_done++;
		else
			i->is->stats.n_failed++;
		loop_post(i->is->c.loop, &i->post, 0);
	}
}

static void on_failed_told(void *arg, int status, const char *message, const struct sched_task *t)
{
}

static void fail(struct import *i, int status, const char *fmt, ...)
{
	char text[STATUS_TEXT];
	va_list ap;

	if (i->state == OVER)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	outcome_set(&i->why, status, "%s", text);
	log_info("import: failed id=%s uid=%u status=%s why=\"%s\"%s%s", *i->id ? i->id : "?",
		(unsigned)i->uid, rpc_status_name(status), i->why.text, *i->trace ? " trace=" : "",
		i->trace);
	if (i->was_announced)
		sched_upload_failed(i->is->c.sched, i->id, i->peer_id, i->why.text, SCHED_TIMEOUT,
			on_failed_told, NULL);
	over(i);
}

static void on_post(struct loop_op *op, int res)
{
	struct import *i = container_of(op, struct import, post);

	if (!i->is_cancelled)
		i->fn(i->arg, &i->why, i->why.status == RPC_OK ? &i->result : NULL);
	import_free(i);
}

void import_cancel(struct import *i)
{
	i->is_cancelled = true;
	if (i->state == REPORT || i->state == REFRESH)
		return; /* it is here and durable: what is left is to say so */
	atomic_store(&i->stop, true);
	if (i->call) {
		sched_call_cancel(i->call);
		i->call = NULL;
	}
	if (!foreign_op_is_active(&i->work))
		fail(i, RPC_CANCELLED, "the import was cancelled");
}

static void fill_result(struct import *i)
{
	struct import_result *r = &i->result;

	snprintf(r->id, sizeof(r->id), "%s", i->id);
	r->length = i->length;
	r->ttl_ns = i->ttl_ns;
	r->replicas_wanted = i->replicas;
	r->piece_length = i->piece_length;
	r->n_pieces = i->n_pieces;
	r->created_ns = (int64_t)i->attrs.created_ns;
	r->updated_ns = (int64_t)local_wall_ns();
	r->state = "Succeeded";
}

static void done(struct import *i)
{
	uint64_t ms = (loop_now(i->is->c.loop) - i->began) / (SECOND / 1000);

	i->is->stats.bytes += i->length;
	histogram_add(&i->is->durations, i->length, ms);
	log_info("import: done id=%s bytes=%" PRIu64 " uid=%u ms=%" PRIu64
		 " how=%s replicas=%" PRIu64 "/%" PRIu64 "%s%s",
		i->id, i->length, (unsigned)i->uid, ms, i->is_clone ? "reflink" : "copy",
		i->result.replicas_persistent, i->replicas, *i->trace ? " trace=" : "", i->trace);
	over(i);
}

static void on_reported(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct import *i = arg;

	i->call = NULL;
	if (status == RPC_OK && t) {
		i->result.replicas_persistent = t->replicas_persistent;
		i->result.replicas_all = t->replicas_all;
	} else if (status != RPC_OK && !i->is->c.is_embedded) {
		i->was_announced = false; /* it does not listen, or does not know it */
		local_delete(i->is->c.local, i->id, "the scheduler did not accept the import", NULL,
			NULL);
		fail(i, status, "the scheduler did not accept the import: %s", message);
		return;
	} else if (status != RPC_OK) {
		/* The copy is durable, and our inventory tells whoever schedules it next. */
		log_warning("import: the scheduler did not hear of it id=%s why=\"%s\"", i->id,
			message);
	}
	if (!i->result.replicas_persistent)
		i->result.replicas_persistent = 1;
	if (!i->result.replicas_all)
		i->result.replicas_all = 1;
	done(i);
}

static void report(struct import *i)
{
	i->state = REPORT;
	fill_result(i);
	if (i->is_one_more)
		i->call = sched_stat_task(i->is->c.sched, i->id, SCHED_TIMEOUT, on_reported, i);
	else
		i->call = sched_upload_finished(
			i->is->c.sched, i->id, i->peer_id, i->trace, SCHED_TIMEOUT, on_reported, i);
	if (!i->call)
		on_reported(i, RPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
}

static void on_extended(void *arg, const struct outcome *why)
{
	struct import *i = arg;

	i->change = NULL;
	if (why->status != RPC_OK)
		fail(i, why->status, "task %s is here already, but its expiry cannot be set: %s",
			i->id, why->text);
	else
		report(i);
}

static void on_pinned(void *arg, const struct outcome *why)
{
	struct import *i = arg;

	i->change = NULL;
	if (why->status != RPC_OK) {
		fail(i, why->status, "task %s is here already, but cannot be pinned: %s", i->id,
			why->text);
		return;
	}
	/* the store keeps the later of the two expiries: an import never shortens a life */
	i->change = local_prolong(i->is->c.local, i->id, i->expires_ns, on_extended, i);
	if (!i->change)
		fail(i, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void refresh(struct import *i)
{
	i->state = REFRESH;
	i->change = local_pin(i->is->c.local, i->id, true, on_pinned, i);
	if (!i->change)
		fail(i, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void fail_different(struct import *i)
{
	fail(i, RPC_ALREADY_EXISTS,
		"task %s is here already with other content, which was left as it is: give "
		"--content-for-calculating-task-id, a tag or an application to get another id",
		i->id);
}

static void on_commit(void *arg, enum store_status status, const char *message)
{
	struct import *i = arg;
	struct sched_local l = {
		.id = i->id,
		.peer_id = i->peer_id,
		.tag = attrs_tag(&i->attrs),
		.application = attrs_application(&i->attrs),
		.generation = i->generation,
		.length = i->length,
		.replicas_wanted = i->replicas,
		.piece_length = i->piece_length,
		.n_pieces = i->n_pieces,
		.importer_uid = i->uid,
		.has_fingerprint = true,
		.expires_in_ns = local_expires_in(i->expires_ns),
		.created_ns = i->attrs.created_ns,
		.state = SCHED_LOCAL_COMPLETE,
		.persistent = true,
	};

	memcpy(l.fingerprint, i->fingerprint, sizeof(l.fingerprint));
	if (i->state == OVER)
		return;
	switch (status) {
	case STORE_OK:
		local_told(i->is->c.local, &l);
		report(i);
		return;
	case STORE_EXISTS_SAME:
		refresh(i);
		return;
	case STORE_EXISTS_DIFFERENT:
		fail_different(i);
		return;
	default:
		fail(i, status_from_store(status), "the store did not take the import: %s",
			message);
	}
}

static void fail_exists(struct import *i, bool is_other, const char *message)
{
	fail(i, RPC_ALREADY_EXISTS,
		"task %s exists already%s: %s; give --content-for-calculating-task-id, a tag or an "
		"application to get another id",
		i->id, is_other ? " with other content" : "", message);
}

/* Dragonfly's scheduler refuses an id that it has, and knows nothing of the content but its shape. What has
 * that shape is imported; our copy is dropped, because nobody could be sent to it. */
static void on_known(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct import *i = arg;

	i->call = NULL;
	if (status != RPC_OK || !t) {
		fail_exists(i, false, message);
	} else if (t->length != i->length || t->piece_length != i->piece_length) {
		fail_exists(i, true, "its length or its piece length differs");
	} else if (strcmp(t->state, "Succeeded") != 0) {
		fail_exists(i, false, "its import by another peer is not finished");
	} else {
		fill_result(i);
		on_reported(i, RPC_OK, "", t);
	}
}

static void on_announced(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct import *i = arg;

	i->call = NULL;
	if (status == RPC_ALREADY_EXISTS && t && t->has_fingerprint &&
		!memcmp(t->fingerprint, i->fingerprint, sizeof(i->fingerprint))) {
		i->is_one_more = true;
	} else if (status == RPC_ALREADY_EXISTS && !i->is->c.is_embedded && !i->is_here) {
		i->call = sched_stat_task(i->is->c.sched, i->id, SCHED_TIMEOUT, on_known, i);
		if (!i->call)
			fail(i, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	} else if (status == RPC_ALREADY_EXISTS && i->is_here && !i->is->c.is_embedded) {
		i->is_one_more = true;
	} else if (status == RPC_ALREADY_EXISTS) {
		fail_exists(i, t && t->has_fingerprint, message);
		return;
	} else if (status != RPC_OK) {
		fail(i, status, "the scheduler did not accept the import: %s", message);
		return;
	} else {
		i->was_announced = true;
	}
	if (i->is_here) {
		refresh(i);
		return;
	}
	i->state = COMMIT;
	writer_commit(i->writer, i->id, i->fingerprint);
}

static int make_id(struct import *i)
{
	struct task_id_inputs in = {
		.content = i->content,
		.tag = attrs_tag(&i->attrs),
		.application = attrs_application(&i->attrs),
		.has_piece_length = i->has_piece_length,
		.piece_length = i->piece_length,
	};

	if (i->is->c.id_form == TASK_ID_SHA256)
		return task_id_sha256(&in, i->sha, i->id);
	task_id_crc32(&in, i->file_crc, i->id);
	return 0;
}

static void announce(struct import *i)
{
	struct sched_task t = {0};

	i->state = ANNOUNCE;
	t.id = i->id;
	t.tag = attrs_tag(&i->attrs);
	t.application = attrs_application(&i->attrs);
	t.replicas_wanted = i->replicas;
	t.piece_length = i->piece_length;
	t.n_pieces = i->n_pieces;
	t.length = i->length;
	t.ttl_ns = i->ttl_ns;
	t.expires_in_ns = local_expires_in(i->expires_ns);
	t.has_fingerprint = true;
	memcpy(t.fingerprint, i->fingerprint, sizeof(t.fingerprint));
	t.generation = i->generation;
	t.importer_uid = i->uid;
	t.trace = i->trace;
	t.created_ns = (int64_t)i->attrs.created_ns;
	i->call = sched_upload_started(
		i->is->c.sched, &t, i->peer_id, SCHED_TIMEOUT, on_announced, i);
	if (!i->call)
		fail(i, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void create(struct import *i, bool for_clone);

/* everything was hashed */
static bool identify(struct import *i)
{
	if (make_id(i) < 0) {
		fail(i, RPC_INTERNAL, "the id cannot be computed");
		return false;
	}
	fingerprint_final(i->print, i->fingerprint);
	return true;
}

static void begin_write(struct import *i)
{
	i->state = WRITE;
	foreign_work(i->is->c.foreign, &i->work, i->uid, work_write, i);
}

/* prepare - for hashing from the beginning; again after COMPARE */
static bool prepare(struct import *i)
{
	i->pos = i->extent_end = 0;
	i->in_hole = i->piece_is_data = false;
	i->crc = i->file_crc = 0;
	i->n_hashed = 0;
	if (!i->buf)
		i->buf = malloc(BUFFER_BYTES);
	if (!i->crcs)
		i->crcs = calloc(i->n_pieces ? i->n_pieces : 1, sizeof(*i->crcs));
	if (!i->xxh)
		i->xxh = digest_xxh3_new();
	fingerprint_free(i->print);
	digest_free(i->sha);
	i->sha = NULL;
	i->print = fingerprint_new(i->length, i->piece_length);
	if (i->is->c.id_form == TASK_ID_SHA256 && !i->content) {
		i->sha = digest_new(DIGEST_SHA256);
		if (!i->sha)
			return false;
	}
	if (!i->buf || !i->crcs || !i->xxh || !i->print)
		return false;
	digest_xxh3_reset(i->xxh);
	i->can_seek = true;
	return true;
}

static void admitted(struct import *i)
{
	struct imports *is = i->is;

	if (!S_ISREG(i->st.st_mode)) {
		fail(i, RPC_INVALID_ARGUMENT,
			"the source is not a regular file: only regular files can be imported");
		return;
	}
	i->length = (uint64_t)i->st.st_size;
	if (!i->has_piece_length)
		i->piece_length = piece_length_for(i->length);
	i->n_pieces = piece_count(i->length, i->piece_length);
	if (i->n_pieces > STORE_MAX_PIECES) {
		fail(i, RPC_INVALID_ARGUMENT,
			"a file of %" PRIu64 " bytes has too many pieces of %" PRIu32
			" bytes: give a greater piece length",
			i->length, i->piece_length);
		return;
	}
	if (!prepare(i)) {
		fail(i, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	create(i, i->length && !(is->has_no_reflink_dev && is->no_reflink_dev == i->st.st_dev));
}

static void cloned(struct import *i, int res)
{
	struct imports *is = i->is;

	if (res == 0) {
		is->stats.n_reflinked++;
		begin_write(i);
		return;
	}
	if (res != -EOPNOTSUPP && res != -EXDEV && res != -EINVAL && res != -ENOTTY &&
		res != -EPERM && res != -ETXTBSY) {
		fail(i, status_from_errno(-res),
			"the source cannot be reflinked into the store: %s", strerror(-res));
		return;
	}
	if (res == -EOPNOTSUPP || res == -EXDEV || res == -ENOTTY) {
		is->has_no_reflink_dev = true;
		is->no_reflink_dev = i->st.st_dev;
	}
	i->writer = writer_close(i->writer);
	create(i, false);
}

/* the id is known, and nothing was written: the store says whether it has it */
static void compared(struct import *i)
{
	i->is_dry = false;
	i->was_compared = true;
	if (!prepare(i))
		fail(i, RPC_RESOURCE_EXHAUSTED, "out of memory");
	else
		create(i, false);
}

static void on_work(struct foreign_op *op, int res)
{
	struct import *i = container_of(op, struct import, work);

	if (i->is_cancelled) {
		fail(i, RPC_CANCELLED, "the import was cancelled");
		return;
	}
	if (i->state == OVER)
		return;
	if (i->why.status != RPC_OK) { /* the writer was lost meanwhile */
		fail(i, i->why.status, "%s", i->why.text);
		return;
	}
	if (i->is_changed) {
		fail(i, RPC_ABORTED,
			"the source changed while it was read; import it again when nobody writes to "
			"it");
		return;
	}
	if (i->state == CLONE) {
		cloned(i, res);
		return;
	}
	if (res < 0 && i->state == ADMIT) {
		fail(i, status_from_errno(-res), "the source cannot be examined: %s",
			strerror(-res));
		return;
	}
	if (res < 0) {
		fail(i, status_from_errno(-res),
			"the source cannot be copied to the store (at byte %" PRIu64 "): %s",
			i->pos, strerror(-res));
		return;
	}
	if (i->state == ADMIT) {
		admitted(i);
		return;
	}
	if (i->state == COMPARE) {
		if (i->pos < i->length)
			foreign_work(i->is->c.foreign, &i->work, i->uid, work_write, i);
		else if (identify(i))
			compared(i);
		return;
	}
	while (i->n_told < i->n_hashed) {
		writer_piece(i->writer, i->n_told, i->crcs[i->n_told]);
		i->n_told++;
	}
	if (i->pos < i->length)
		begin_write(i);
	else if (identify(i))
		announce(i);
}

static void on_open(void *arg, const struct store_reply *r)
{
	struct import *i = arg;

	if (i->state == OVER)
		return;
	if (r->status == STORE_NO_SPACE && r->info.id[0] && !i->was_compared) {
		i->writer = writer_close(i->writer);
		i->state = COMPARE;
		i->is_dry = true;
		foreign_work(i->is->c.foreign, &i->work, i->uid, work_write, i);
		return;
	}
	if (i->was_compared &&
		(r->status == STORE_EXISTS_SAME || r->status == STORE_EXISTS_DIFFERENT)) {
		i->is_here = !memcmp(r->info.fingerprint, i->fingerprint, sizeof(i->fingerprint));
		i->writer = writer_close(i->writer);
		if (i->is_here)
			announce(i);
		else
			fail_different(i);
		return;
	}
	if (r->status != STORE_OK) {
		fail(i, status_from_store(r->status), "the store cannot take the file: %s",
			r->message);
		return;
	}
	if (i->state == CREATE && i->is_recreating) {
		begin_write(i);
		return;
	}
	i->state = CLONE;
	foreign_work(i->is->c.foreign, &i->work, i->uid, work_clone, i);
}

static void on_lost(void *arg, enum store_status status, const char *message)
{
	struct import *i = arg;

	if (foreign_op_is_active(&i->work)) { /* the pool uses the descriptors: on_work goes on */
		atomic_store(&i->stop, true);
		outcome_set(&i->why, status_from_store(status),
			"the store does not take the import any more: %s", message);
		return;
	}
	fail(i, status_from_store(status), "the store does not take the import any more: %s",
		message);
}

/* create - room in the store: none for a reflink, else what the source occupies */
static void create(struct import *i, bool for_clone)
{
	static const struct writer_ops ops = {
		.on_open = on_open,
		.on_lost = on_lost,
		.on_commit = on_commit,
	};
	uint8_t attrs[ATTRS_ENCODED_MAX];
	uint64_t occupied = (uint64_t)i->st.st_blocks * 512;
	struct store_create rq = {
		.id = i->was_compared ? i->id : NULL,
		.reserve_bytes = for_clone              ? 0
				 : occupied < i->length ? occupied
							: i->length,
		.length = i->length,
		.piece_length = i->piece_length,
		.expires_ns = i->expires_ns,
		.pin = true,
		.uid = i->uid,
		.generation = i->generation,
		.attrs = attrs,
		.attrs_len = attrs_encode(&i->attrs, attrs),
		.wait_ns = i->is->c.room_wait_ns,
	};

	i->state = CREATE;
	i->is_recreating = !for_clone;
	i->writer = writer_new(i->is->c.writers, &rq, i->n_pieces, &ops, i);
	if (!i->writer)
		fail(i, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static bool may_begin(const struct imports *is, uid_t uid)
{
	unsigned n = 0;

	list_for_each (it, &is->all)
		n += list_entry(it, struct import, link)->uid == uid;
	return is->n_running < is->c.max_imports &&
	       (uid == 0 || uid == geteuid() || n < (is->c.max_imports + 1) / 2);
}

struct import *import_start(struct imports *is, const struct import_want *want,
	void (*fn)(void *arg, const struct outcome *why, const struct import_result *r), void *arg)
{
	int fd = want->fd;
	struct import *i;

	i = may_begin(is, want->uid) ? calloc(1, sizeof(*i)) : NULL;
	if (!i) {
		foreign_close(is->c.foreign, want->uid, fd);
		return NULL;
	}
	i->is = is;
	i->fn = fn;
	i->arg = arg;
	i->content = want->content ? strdup(want->content) : NULL;
	if ((want->content && !i->content) || attrs_set_tag(&i->attrs, want->tag) < 0 ||
		attrs_set_application(&i->attrs, want->application) < 0) {
		foreign_close(is->c.foreign, want->uid, fd);
		free(i->content);
		free(i);
		return NULL;
	}
	i->fd = fd;
	i->has_piece_length = want->piece_length != 0;
	i->piece_length = (uint32_t)want->piece_length;
	i->replicas = want->replicas ? want->replicas : 1;
	if (i->replicas > REPLICAS_MAX)
		i->replicas = REPLICAS_MAX;
	i->ttl_ns = want->ttl_ns;
	i->uid = want->uid;
	i->attrs.created_ns = local_wall_ns();
	i->expires_ns = want->ttl_ns ? i->attrs.created_ns + want->ttl_ns : 0;
	i->attrs.replicas_wanted = i->replicas;
	i->generation = sched_new_generation(is->c.sched);
	peer_id_make(is->c.ip, is->c.hostname, i->peer_id);
	snprintf(i->attrs.peer_id, sizeof(i->attrs.peer_id), "%s", i->peer_id);
	snprintf(i->attrs.importer_host_id, sizeof(i->attrs.importer_host_id), "%s", is->c.host_id);
	i->began = loop_now(is->c.loop);
	foreign_op_init(&i->work, on_work);
	loop_op_init(&i->post, on_post);
	list_init(&i->link);
	list_push(&is->all, &i->link);
	is->n_running++;
	api_parse_traceparent(want->trace, i->trace);
	i->label = labels_begin(&is->labels, want->tag, want->application);
	i->state = ADMIT;
	foreign_work(i->is->c.foreign, &i->work, i->uid, work_admit, i);
	return i;
}

int imports_new(struct imports **out, const struct imports_config *cfg)
{
	struct imports *is = calloc(1, sizeof(*is));

	if (!is)
		return -ENOMEM;
	is->c = *cfg;
	labels_init(&is->labels);
	if (!is->c.max_imports)
		is->c.max_imports = 16;
	if (!is->c.room_wait_ns)
		is->c.room_wait_ns = 30 * SECOND;
	list_init(&is->all);
	*out = is;
	return 0;
}

void imports_close(struct imports *is)
{
	list_for_each (it, &is->all) {
		struct import *i = list_entry(it, struct import, link);

		atomic_store(&i->stop, true);
		if (i->call) {
			sched_call_cancel(i->call);
			i->call = NULL;
		}
		if (i->change) {
			local_change_forget(i->change);
			i->change = NULL;
		}
		if (foreign_op_is_active(&i->work))
			outcome_set(&i->why, RPC_UNAVAILABLE, "dfdaemon is stopping");
		else
			fail(i, RPC_UNAVAILABLE, "dfdaemon is stopping");
	}
}

bool imports_is_idle(const struct imports *is)
{
	return list_empty(&is->all);
}

struct imports *imports_free(struct imports *is)
{
	if (is)
		labels_fini(&is->labels);
	free(is);
	return NULL;
}

const struct histogram *imports_durations(const struct imports *is)
{
	return &is->durations;
}

void imports_set_limits(struct imports *is, unsigned max_imports, uint64_t room_wait_ns)
{
	is->c.max_imports = max_imports;
	is->c.room_wait_ns = room_wait_ns;
}

const struct labels *imports_labels(const struct imports *is)
{
	return &is->labels;
}

struct imports_stats imports_get_stats(const struct imports *is)
{
	struct imports_stats s = is->stats;

	s.n_running = is->n_running;
	return s;
}
