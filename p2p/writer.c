/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CREATING ─▶ OPEN ─▶ SYNCING ─▶ FLUSHING ─▶ COMMITTING ─▶ DONE
 *    any of OPEN … COMMITTING: when the session breaks, `is_lost` is set; when it is back the token is
 *    used to attach, all pieces are told again (the store may have lost the last ones; telling twice
 *    is harmless) and the state goes on from where it was. A commit whose answer was lost may have
 *    happened: then attach finds nothing, and a stat with our fingerprint is the proof that it did.
 *    any ─▶ FAILED (told once) ─▶ closed by the owner.
 *
 * One store operation at a time besides the one for pieces. A writer that is closed while one is in
 * flight stays until its answer: a create that is answered late has a lease to give back.
 */
#include "p2p/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"

#define SECOND        1000000000ull
#define RECONNECT_NS  (30 * SECOND) /* how long cachefilesd may be away */
#define BUSY_RETRY_NS (20 * 1000000ull)
#define BUSY_RETRIES  100

struct writers {
	struct loop *loop;
	struct store_client *store;
	struct list all;
};

enum writer_state { CREATING, OPEN, SYNCING, FLUSHING, COMMITTING, DONE, FAILED };

struct writer {
	struct writers *ws;
	struct list link;
	const struct writer_ops *ops;
	void *arg;
	enum writer_state state;
	bool is_closed, is_lost, is_attaching, is_asking; /* asking: stat after a lost commit */
	bool is_synced, is_timing_reconnect, is_kept;
	unsigned n_busy;
	int fd, read_fd; /* owned */
	bool has_lease;
	uint32_t lease;
	uint8_t token[STORE_TOKEN_SIZE];
	struct store_op op, pieces_op;
	bool op_busy, pieces_busy, sync_busy;
	struct loop_op timer, sync, post;
	size_t n_pieces, n_told, n_acked, n_sending;
	struct store_piece *pieces; /* owned, n_pieces */
	char id[STORE_ID_MAX + 1];
	uint8_t fingerprint[STORE_FPRINT_SIZE];
	enum store_status why;
	char message[STORE_MESSAGE_MAX];
};

static void pump(struct writer *w);

int writers_new(struct writers **out, struct loop *l, struct store_client *store)
{
	struct writers *ws = calloc(1, sizeof(*ws));

	if (!ws)
		return -ENOMEM;
	ws->loop = l;
	ws->store = store;
	list_init(&ws->all);
	*out = ws;
	return 0;
}

bool writers_is_idle(const struct writers *ws)
{
	return list_empty(&ws->all);
}

struct writers *writers_free(struct writers *ws)
{
	free(ws);
	return NULL;
}

static bool is_in_flight(const struct writer *w)
{
	return w->op_busy || w->pieces_busy || w->sync_busy || loop_op_is_active(&w->timer) ||
	       loop_op_is_active(&w->post);
}

static void send_pieces(struct writer *w)
{
	w->n_sending = w->n_told - w->n_acked;
	if (w->n_sending > STORE_PIECES_BATCH)
		w->n_sending = STORE_PIECES_BATCH;
	w->pieces_busy = true;
	store_pieces(w->ws->store, &w->pieces_op, w->lease, w->pieces + w->n_acked, w->n_sending);
}

/* the last step of a closed writer: everything came back */
static void finish_closed(struct writer *w)
{
	/* the store does one thing at a time with a lease */
	if (w->op_busy || w->pieces_busy || w->sync_busy)
		return;
	if (w->has_lease && !w->is_lost && w->state != DONE) {
		if (w->is_kept && w->n_acked < w->n_told) {
			send_pieces(w);
			return;
		}
		w->has_lease = false;
		w->op_busy = true;
		if (w->is_kept)
			store_release(w->ws->store, &w->op, w->lease);
		else
			store_abort(w->ws->store, &w->op, w->lease);
	}
	if (loop_op_is_active(&w->timer))
		loop_cancel(w->ws->loop, &w->timer);
	if (is_in_flight(w))
		return;
	list_del(&w->link);
	fd_close(w->fd);
	fd_close(w->read_fd);
	free(w->pieces);
	free(w);
}

static void on_post(struct loop_op *op, int res)
{
	struct writer *w = container_of(op, struct writer, post);

	if (w->is_closed)
		finish_closed(w);
	else
		w->ops->on_lost(w->arg, w->why, w->message);
}

static void fail(struct writer *w, enum store_status why, const char *message)
{
	enum writer_state was = w->state;

	if (was == FAILED || was == DONE || w->is_closed)
		return;
	w->state = FAILED;
	w->why = why;
	snprintf(w->message, sizeof(w->message), "%s", message);
	if (was == SYNCING || was == FLUSHING || was == COMMITTING)
		w->ops->on_commit(w->arg, why, w->message);
	else
		loop_post(w->ws->loop, &w->post, 0);
}

static void take_descriptors(struct writer *w, const struct store_reply *r)
{
	/* after an attach the old ones are as good: the file is the same */
	if (w->fd < 0 && !w->is_synced)
		w->fd = r->data_fd;
	else
		fd_close(r->data_fd);
	if (w->read_fd < 0)
		w->read_fd = r->read_fd;
	else
		fd_close(r->read_fd);
}

static void close_descriptors(const struct store_reply *r)
{
	fd_close(r->data_fd);
	fd_close(r->read_fd);
	fd_close(r->record_fd);
}

/* the lease ended with the session; the event may come before or after the answers */
static void session_lost(struct writer *w)
{
	w->is_lost = true;
	w->has_lease = false;
}

static void on_create(struct writer *w, const struct store_reply *r)
{
	int record = r->record_fd;

	if (r->status != STORE_OK) {
		fd_close(r->data_fd);
		fd_close(r->read_fd);
		w->state = FAILED;
	} else {
		w->has_lease = true;
		w->lease = r->lease;
		memcpy(w->token, r->token, sizeof(w->token));
		take_descriptors(w, r);
		w->state = OPEN;
	}
	if (w->is_closed)
		finish_closed(w);
	else
		w->ops->on_open(w->arg, r);
	fd_close(record);
}

static void on_attach(struct writer *w, const struct store_reply *r)
{
	w->is_attaching = false;
	if (w->is_closed) {
		close_descriptors(r);
		if (r->status == STORE_OK) {
			w->has_lease = true;
			w->lease = r->lease;
			w->is_lost = false;
		}
		finish_closed(w);
		return;
	}
	switch (r->status) {
	case STORE_OK:
		w->has_lease = true;
		w->lease = r->lease;
		memcpy(w->token, r->token, sizeof(w->token));
		take_descriptors(w, r);
		fd_close(r->record_fd);
		w->is_lost = false;
		w->n_acked = 0;
		loop_cancel(w->ws->loop, &w->timer);
		if (w->state == COMMITTING)
			w->state = FLUSHING;
		log_info("writer: back in the store id=%s", w->id);
		pump(w);
		return;
	case STORE_LOST:
	case STORE_TIMEOUT:
		close_descriptors(r);
		return; /* the next READY event tries again, the timer gives up */
	default:
		close_descriptors(r);
		if (w->state == COMMITTING && r->status == STORE_NOT_FOUND) {
			w->is_asking = w->op_busy = true;
			store_stat(w->ws->store, &w->op, w->id);
			return;
		}
		fail(w, r->status, r->message);
	}
}

static void on_commit(struct writer *w, const struct store_reply *r)
{
	close_descriptors(r);
	switch (r->status) {
	case STORE_OK:
	case STORE_EXISTS_SAME:
		w->has_lease = false;
		w->state = DONE;
		break;
	case STORE_BUSY_WRITER:
		/* a child that was forked and has not yet executed holds a copy of our descriptor */
		if (!w->is_closed && w->n_busy++ < BUSY_RETRIES) {
			w->is_timing_reconnect = false;
			loop_timer(w->ws->loop, &w->timer, loop_now(w->ws->loop) + BUSY_RETRY_NS);
			return;
		}
		break;
	case STORE_LOST:
		session_lost(w);
		if (!w->is_closed) {
			pump(w);
			return;
		}
		break;
	default:
		break;
	}
	if (w->is_closed)
		finish_closed(w);
	else if (w->state == DONE)
		w->ops->on_commit(w->arg, r->status, r->message);
	else
		fail(w, r->status, r->message);
}

/* attach did not know the token while a commit was unanswered */
static void on_asked(struct writer *w, const struct store_reply *r)
{
	w->is_asking = false;
	close_descriptors(r);
	if (w->is_closed) {
		finish_closed(w);
		return;
	}
	if (r->status == STORE_LOST || r->status == STORE_TIMEOUT) {
		pump(w);
		return;
	}
	if (r->status == STORE_OK && r->info.state == STORE_COMPLETE &&
		!memcmp(r->info.fingerprint, w->fingerprint, sizeof(w->fingerprint))) {
		w->has_lease = false;
		w->state = DONE;
		loop_cancel(w->ws->loop, &w->timer);
		w->ops->on_commit(w->arg, STORE_OK, "");
		return;
	}
	fail(w, STORE_IO, "cachefilesd restarted and lost the task before it was committed");
}

static void on_op(struct store_op *op, const struct store_reply *r)
{
	struct writer *w = container_of(op, struct writer, op);

	w->op_busy = false;
	if (w->state == CREATING)
		on_create(w, r);
	else if (w->is_attaching)
		on_attach(w, r);
	else if (w->is_asking)
		on_asked(w, r);
	else if (w->state == COMMITTING)
		on_commit(w, r);
	else { /* an abort was answered */
		close_descriptors(r);
		finish_closed(w);
	}
}

static void on_pieces(struct store_op *op, const struct store_reply *r)
{
	struct writer *w = container_of(op, struct writer, pieces_op);

	w->pieces_busy = false;
	if (r->status == STORE_LOST)
		session_lost(w);
	if (w->is_closed) {
		/* a piece that the store refuses is not told again, only fetched again */
		w->n_acked = r->status == STORE_OK ? w->n_acked + w->n_sending : w->n_told;
		finish_closed(w);
		return;
	}
	if (r->status == STORE_OK) {
		if (!w->is_lost)
			w->n_acked += w->n_sending;
	} else if (r->status != STORE_LOST && r->status != STORE_TIMEOUT) {
		fail(w, r->status, r->message);
		return;
	}
	pump(w);
}

static int sync_data(void *arg)
{
	struct writer *w = arg;

	return fdatasync(w->fd) < 0 ? -errno : 0;
}

static void on_sync(struct loop_op *op, int res)
{
	struct writer *w = container_of(op, struct writer, sync);
	char text[160];

	w->sync_busy = false;
	if (w->is_closed) {
		finish_closed(w);
		return;
	}
	if (res < 0) {
		snprintf(text, sizeof(text), "the data cannot be made durable: %s", strerror(-res));
		fail(w, res == -ENOSPC || res == -EDQUOT ? STORE_NO_SPACE : STORE_IO, text);
		return;
	}
	w->fd = fd_close(w->fd);
	w->is_synced = true;
	if (w->state == SYNCING)
		w->state = FLUSHING;
	pump(w);
}

static void on_timer(struct loop_op *op, int res)
{
	struct writer *w = container_of(op, struct writer, timer);

	if (w->is_closed)
		finish_closed(w);
	else if (res != -ECANCELED && w->is_lost && w->is_timing_reconnect)
		fail(w, STORE_LOST, "cachefilesd does not answer");
	else
		pump(w);
}

/* pump - whatever can be asked of the store now */
static void pump(struct writer *w)
{
	struct store_client *store = w->ws->store;

	if (w->is_closed || w->state == DONE || w->state == FAILED || w->state == CREATING)
		return;
	if (w->is_lost) {
		if (!loop_op_is_active(&w->timer)) {
			w->is_timing_reconnect = true;
			loop_timer(w->ws->loop, &w->timer, loop_now(w->ws->loop) + RECONNECT_NS);
		}
		if (!w->op_busy && !w->pieces_busy && store_client_is_ready(store)) {
			w->op_busy = w->is_attaching = true;
			store_attach(store, &w->op, w->token);
		}
		return;
	}
	if (!w->pieces_busy && w->n_acked < w->n_told) {
		send_pieces(w);
		return;
	}
	if (w->state == FLUSHING && !w->pieces_busy && !w->op_busy) {
		w->state = COMMITTING;
		w->op_busy = true;
		store_commit(store, &w->op, w->lease, w->id, w->fingerprint, NULL, 0);
	} else if (w->state == COMMITTING && !w->op_busy && !loop_op_is_active(&w->timer)) {
		/* the retry after BUSY_WRITER */
		w->op_busy = true;
		store_commit(store, &w->op, w->lease, w->id, w->fingerprint, NULL, 0);
	}
}

struct writer *writer_new(struct writers *ws, const struct store_create *rq, uint32_t n_pieces,
	const struct writer_ops *ops, void *arg)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->ws = ws;
	w->ops = ops;
	w->arg = arg;
	w->fd = w->read_fd = -1;
	w->n_pieces = n_pieces;
	w->pieces = calloc(n_pieces ? n_pieces : 1, sizeof(*w->pieces));
	if (!w->pieces) {
		free(w);
		return NULL;
	}
	w->op.fn = on_op;
	w->pieces_op.fn = on_pieces;
	loop_op_init(&w->timer, on_timer);
	loop_op_init(&w->sync, on_sync);
	loop_op_init(&w->post, on_post);
	if (rq->id)
		snprintf(w->id, sizeof(w->id), "%s", rq->id);
	list_push(&ws->all, &w->link);
	w->op_busy = true;
	store_create(ws->store, &w->op, rq);
	return w;
}

int writer_fd(const struct writer *w)
{
	return w->fd;
}

int writer_read_fd(const struct writer *w)
{
	return w->read_fd;
}

int writer_take_read_fd(struct writer *w)
{
	return take_fd(&w->read_fd);
}

void writer_keep(struct writer *w)
{
	w->is_kept = true;
}

uint32_t writer_n_pieces(const struct writer *w)
{
	return (uint32_t)w->n_told;
}

void writer_piece(struct writer *w, uint32_t number, uint32_t crc32)
{
	if (w->n_told >= w->n_pieces)
		return;
	w->pieces[w->n_told++] = (struct store_piece){.number = number, .crc32 = crc32};
	pump(w);
}

void writer_commit(struct writer *w, const char *id, const uint8_t fingerprint[STORE_FPRINT_SIZE])
{
	snprintf(w->id, sizeof(w->id), "%s", id);
	memcpy(w->fingerprint, fingerprint, sizeof(w->fingerprint));
	if (w->state != OPEN)
		return; /* on_lost is on its way */
	w->state = SYNCING;
	w->sync_busy = true;
	loop_work(w->ws->loop, &w->sync, sync_data, w);
}

struct writer *writer_close(struct writer *w)
{
	if (!w)
		return NULL;
	w->is_closed = true;
	/* Not cancelled: an answer that is on its way may carry a lease to give back, and an abort
	 * that overtakes a commit would only be refused. */
	finish_closed(w);
	return NULL;
}

void writers_on_store_event(struct writers *ws, enum store_event e)
{
	list_for_each_safe (it, &ws->all) {
		struct writer *w = list_entry(it, struct writer, link);

		if (e == STORE_EVENT_LOST && w->has_lease) {
			session_lost(w);
			if (w->is_closed)
				finish_closed(w);
			else
				pump(w);
		} else if (e == STORE_EVENT_READY && w->is_lost && !w->is_closed) {
			pump(w);
		}
	}
}
