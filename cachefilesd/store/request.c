/* SPDX-License-Identifier: GPL-2.0-or-later */
/* request.c — what each request of the store's protocol does.
 *
 * A handler answers at once or makes a job. A job counts in session.n_jobs until it is answered, so
 * its session stays even when the client is gone: then the result stands and only the answer is
 * dropped. The entry that a job works on is protected by a lease (busy, so nobody else changes it).
 */
#include "cachefilesd/store/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

#define SECOND   1000000000ull
#define WAIT_MAX (3600 * SECOND)

/* ---- jobs ------------------------------------------------------------------------------------ */

static struct job *job_new(struct session *c, const struct proto_request *rq)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j) {
		session_say(c, rq->type, rq->number, STORE_IO, "out of memory");
		return NULL;
	}
	list_init(&j->link);
	j->session = c;
	j->type = rq->type;
	j->number = rq->number;
	j->data = j->read_only = j->record = j->record_ro = -1;
	c->n_jobs++;
	c->server->n_jobs++;
	return j;
}

/* the last thing that happens to a job: its session may go with it */
static void job_free(struct job *j)
{
	struct session *c = j->session;
	struct server *s = c->server;

	fd_close(j->data);
	fd_close(j->read_only);
	fd_close(j->record);
	fd_close(j->record_ro);
	free(j->bitmap);
	free(j->want);
	free(j);
	c->n_jobs--;
	s->n_jobs--;
	session_resume(c);
	session_maybe_free(c);
	server_session_gone(s);
}

static void job_say(struct job *j, enum store_status st, const char *message)
{
	session_say(j->session, j->type, j->number, st, "%s", message);
	job_free(j);
}

static void job_fail(struct job *j, int rc, const char *what)
{
	char text[STORE_MESSAGE_MAX];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(-rc));
	LOG_LIMITED(LOG_ERR, "store: %s request failed reason=%s", proto_type_name(j->type), text);
	/* the record of a commit needs a block too */
	job_say(j, rc == -ENOSPC || rc == -EDQUOT ? STORE_NO_SPACE : STORE_IO, text);
}

static void job_run(struct job *j, loop_work_fn work, loop_fn done)
{
	loop_op_init(&j->op, done);
	loop_work(j->session->server->loop, &j->op, work, j);
}

static struct job *job_of(struct loop_op *op)
{
	return container_of(op, struct job, op);
}

/* ---- small answers --------------------------------------------------------------------------- */

static void answer(struct session *c, const struct proto_request *rq, enum store_status st)
{
	session_say(c, rq->type, rq->number, st, "%s", st ? store_status_name(st) : "");
}

static void no_such_task(struct session *c, const struct proto_request *rq)
{
	session_say(
		c, rq->type, rq->number, STORE_NOT_FOUND, "task %s is not in the store", rq->id);
}

static void no_such_lease(struct session *c, const struct proto_request *rq)
{
	session_say(c, rq->type, rq->number, STORE_INVALID, "no such lease in this session");
}

static bool may_change(struct session *c, uid_t uid)
{
	return c->is_trusted || c->cred.uid == uid;
}

/* the task of a request that changes it; NULL: refused, and said so */
static bool find_to_change(struct session *c, const struct proto_request *rq, struct store_info *i)
{
	if (!depot_info(c->server->depot, rq->id, i)) {
		no_such_task(c, rq);
		return false;
	}
	if (!may_change(c, i->uid)) {
		session_say(c, rq->type, rq->number, STORE_DENIED,
			"task %s belongs to uid %u, not to uid %u", rq->id, (unsigned)i->uid,
			(unsigned)c->cred.uid);
		return false;
	}
	return true;
}

#define STORE_IS_OFF "the piece store is off: cachefilesd.conf needs the keyword store"

static bool store_is_on(const struct session *c)
{
	return c->server->depot && c->server->set.is_enabled;
}

/* Where the store is off the answer has a message: who came to look, or to make room, goes on. */
static void do_hello(struct session *c, const struct proto_request *rq)
{
	struct proto_reply r = {.type = rq->type, .number = rq->number, .mask = PROTO_R_SPACE};
	struct depot_figures f;

	if (!store_is_on(c)) {
		r.mask = PROTO_R_MESSAGE;
		strcpy(r.message, STORE_IS_OFF);
	} else {
		depot_figures(c->server->depot, &f);
		r.free_bytes = f.free_bytes;
		r.total_bytes = f.space.blocks_total * f.space.block_size;
		r.cull_bytes = f.thresholds.blocks.cull * f.space.block_size;
		r.run_bytes = f.thresholds.blocks.run * f.space.block_size;
		r.stop_bytes = f.thresholds.blocks.stop * f.space.block_size;
	}
	session_reply(c, &r, -1, -1, -1);
}

/* ---- create ---------------------------------------------------------------------------------- */

static int create_work(void *arg)
{
	struct job *j = arg;
	struct layout *l = &j->session->server->depot->layout;
	int rc;

	rc = layout_create(l, &j->rec, j->reserve, &j->data, &j->read_only, &j->record);
	if (rc)
		return rc;
	j->record_ro = layout_open_record(l, j->rec.token);
	return j->record_ro < 0 ? j->record_ro : 0;
}

/* hand a partial to the client: a write lease with its descriptors */
static void give_partial(struct job *j, struct partial *p)
{
	struct session *c = j->session;
	struct lease *l = j->lease;
	struct proto_reply r = {.type = j->type,
		.number = j->number,
		.mask = PROTO_R_LEASE | PROTO_R_TOKEN | PROTO_R_INFO | PROTO_R_ATTRS,
		.lease = l->number,
		.info = p->info,
		.attrs = j->rec.attrs,
		.attrs_len = j->rec.attrs_len};

	l->is_busy = false;
	l->partial = p;
	l->record = take_fd(&j->record);
	l->bitmap = take_ptr(&j->bitmap);
	memcpy(r.token, p->token, sizeof(r.token));
	*l->head = j->rec;
	if (l->is_closing)
		lease_end(l);
	else
		session_reply(
			c, &r, take_fd(&j->data), take_fd(&j->record_ro), take_fd(&j->read_only));
	job_free(j);
}

static bool create_wait(struct job *j, uint64_t wanted_free, const char *message);

static void drop_new(struct job *j)
{
	char name[LAYOUT_TRASH_TEXT];
	struct server *s = j->session->server;

	if (!layout_trash_partial(&s->depot->layout, j->rec.token, 'd', name))
		server_reap(s);
}

static void create_done(struct loop_op *op, int res)
{
	struct job *j = job_of(op);
	struct server *s = j->session->server;
	struct partial *p;

	if (res == -ENOSPC || res == -EDQUOT) {
		struct depot_figures f;

		depot_settle(s->depot, j->reserve);
		depot_figures(s->depot, &f);
		if (create_wait(j, f.space.blocks_avail * f.space.block_size + j->reserve,
			    "the file system refused the reserve: no space left")) {
			list_push(&s->waiting, &j->link);
			server_tick(s);
		}
		return;
	}
	if (!res)
		res = depot_add_partial(s->depot, &j->rec, j->reserve, &p);
	depot_settle(s->depot, j->reserve);
	if (res) {
		if (j->record >= 0)
			drop_new(j);
		lease_forget(j->lease);
		job_fail(j, res, "cannot create the task's files");
		return;
	}
	if (j->lease->is_closing) {
		/* nobody knows its token */
		depot_drop_partial(s->depot, p);
		server_reap(s);
		lease_forget(j->lease);
		job_free(j);
		return;
	}
	give_partial(j, p);
}

/* no room now: false = answered, true = it must wait */
static bool create_wait(struct job *j, uint64_t wanted_free, const char *message)
{
	struct server *s = j->session->server;

	if (j->lease->is_closing) {
		lease_forget(j->lease);
		job_free(j);
		return false;
	}
	if (loop_now(s->loop) >= j->deadline_ns) {
		lease_forget(j->lease);
		job_say(j, STORE_NO_SPACE, message);
		return false;
	}
	if (!j->message[0] && !j->rec.info.id[0])
		depot_touch_shape(s->depot, j->rec.info.length, j->rec.info.piece_length);
	snprintf(j->message, sizeof(j->message), "%s", message);
	if (s->hooks.need_space)
		s->hooks.need_space(s->hooks.arg, wanted_free);
	return true;
}

/* true = it must wait */
static bool create_try(struct job *j)
{
	struct server *s = j->session->server;
	char message[STORE_MESSAGE_MAX];
	uint64_t wanted_free;
	enum store_status st =
		depot_admit(s->depot, j->reserve, j->pin, j->rec.info.uid, &wanted_free, message);

	if (st == STORE_NO_SPACE)
		return create_wait(j, wanted_free, message);
	if (st) {
		lease_forget(j->lease);
		job_say(j, st, message);
		return false;
	}
	if (depot_over_max(s->depot, 0))
		server_tick(s);
	job_run(j, create_work, create_done);
	return false;
}

bool request_retry_create(struct job *j)
{
	return create_try(j);
}

void request_timed_out(struct job *j)
{
	lease_forget(j->lease);
	job_say(j, STORE_NO_SPACE, j->message);
}

void request_drop(struct job *j)
{
	if (j->type == PROTO_CREATE)
		lease_forget(j->lease);
	else
		lease_end(j->lease);
	job_free(j);
}

static const char *shape_error(const struct proto_request *rq, uint32_t *n)
{
	uint64_t pieces;

	*n = 0;
	if (!rq->length)
		return NULL;
	if (!rq->piece_length)
		return "the piece length is 0";
	pieces = rq->length / rq->piece_length + !!(rq->length % rq->piece_length);
	if (rq->length > INT64_MAX || pieces > STORE_MAX_PIECES)
		return "too long, or too many pieces";
	*n = (uint32_t)pieces;
	return NULL;
}

/* the id of a create is here already */
static bool create_exists(struct session *c, const struct proto_request *rq)
{
	struct proto_reply r = {.type = rq->type, .number = rq->number, .mask = PROTO_R_INFO};
	bool same;

	if (!(rq->mask & PROTO_F_ID) || !depot_info(c->server->depot, rq->id, &r.info))
		return false;
	same = r.info.length == rq->length &&
	       (!rq->length || r.info.piece_length == rq->piece_length) &&
	       (!rq->generation || r.info.generation == rq->generation);
	r.status = same ? STORE_EXISTS_SAME : STORE_EXISTS_DIFFERENT;
	snprintf(r.message, sizeof(r.message), "task %s is in the store%s", rq->id,
		same ? "" : " with another length or generation");
	session_reply(c, &r, -1, -1, -1);
	return true;
}

/* A task of the same shape is here and there is no room for another without making something go: it
 * may be the same content, and then nothing needs to go. The caller, who does not know the id yet, is
 * told before anything is removed: it can read its source first and come back with the id. */
static bool create_is_perhaps_here(struct session *c, const struct proto_request *rq)
{
	struct proto_reply r = {.type = rq->type,
		.number = rq->number,
		.status = STORE_NO_SPACE,
		.mask = PROTO_R_INFO};
	struct depot *t = c->server->depot;

	if (rq->mask & PROTO_F_ID || !rq->reserve_bytes || !rq->wait_ns ||
		!depot_is_tight(t, rq->reserve_bytes) ||
		!depot_find_shape(t, rq->length, rq->piece_length, &r.info))
		return false;
	depot_touch_shape(t, rq->length, rq->piece_length);
	snprintf(r.message, sizeof(r.message),
		"something would have to go, and task %s has the same length: it may be the same "
		"content, give the id",
		r.info.id);
	session_reply(c, &r, -1, -1, -1);
	return true;
}

static struct lease *write_lease_new(struct session *c, uint64_t reserve)
{
	struct lease *l = session_lease_new(c);

	if (!l)
		return NULL;
	l->head = malloc(sizeof(*l->head));
	l->is_busy = true;
	if (!l->head) {
		lease_forget(l);
		return NULL;
	}
	l->reserve = reserve;
	c->reserved_bytes += reserve;
	return l;
}

static void fill_record(struct record *r, const struct proto_request *rq, uint32_t n, uint64_t now)
{
	strcpy(r->info.id, rq->mask & PROTO_F_ID ? rq->id : "");
	r->info.state = STORE_PARTIAL;
	r->info.length = rq->length;
	r->info.piece_length = rq->piece_length;
	r->info.n_pieces = n;
	r->info.expires_ns = rq->expires_ns;
	r->info.generation = rq->generation;
	r->info.uid = rq->uid;
	r->info.created_ns = r->recorded_ns = now;
	r->pinned = r->info.pinned = rq->pin;
	r->attrs_len = rq->mask & PROTO_F_ATTRS ? rq->attrs_len : 0;
	if (r->attrs_len)
		memcpy(r->attrs, rq->attrs, r->attrs_len);
}

static void attach_begin(struct job *j);

/* a create that somebody began before: what is there of it is taken up */
static bool create_takes_up(struct job *j)
{
	struct depot *t = j->session->server->depot;
	char message[STORE_MESSAGE_MAX];
	struct partial *p;

	if (!j->rec.info.id[0] ||
		(j->pin && depot_may_pin(t, j->reserve, j->rec.info.uid, message)))
		return false;
	p = depot_lease_orphan(t, &j->rec.info);
	if (!p)
		return false;
	j->want = malloc(sizeof(*j->want));
	if (!j->want) {
		depot_unlease_partial(t, p);
		return false;
	}
	*j->want = j->rec;
	j->lease->partial = p;
	attach_begin(j);
	return true;
}

static void do_create(struct session *c, const struct proto_request *rq)
{
	struct server *s = c->server;
	uint32_t n;
	const char *wrong = shape_error(rq, &n);
	struct job *j;

	if (wrong) {
		session_say(c, rq->type, rq->number, STORE_INVALID, "%s", wrong);
		return;
	}
	if (!may_change(c, rq->uid)) {
		session_say(c, rq->type, rq->number, STORE_DENIED,
			"uid %u may not create a task for uid %u", (unsigned)c->cred.uid,
			(unsigned)rq->uid);
		return;
	}
	if (create_exists(c, rq) || create_is_perhaps_here(c, rq))
		return;
	if (s->set.client_max_bytes &&
		c->reserved_bytes + rq->reserve_bytes > s->set.client_max_bytes) {
		session_say(c, rq->type, rq->number, STORE_LIMIT,
			"this client has %" PRIu64 " bytes reserved and may have %" PRIu64
			" (client_max_reserve)",
			c->reserved_bytes, s->set.client_max_bytes);
		return;
	}
	j = job_new(c, rq);
	if (!j)
		return;
	j->bitmap = calloc(1, n / 8 + 1);
	j->lease = j->bitmap ? write_lease_new(c, rq->reserve_bytes) : NULL;
	if (!j->lease) {
		job_say(j, STORE_LIMIT, "too many leases of this client");
		return;
	}
	j->reserve = rq->reserve_bytes;
	j->pin = rq->pin;
	j->deadline_ns = loop_now(s->loop) + (rq->wait_ns < WAIT_MAX ? rq->wait_ns : WAIT_MAX);
	fill_record(&j->rec, rq, n, depot_wall_ns(s->depot));
	if (create_takes_up(j))
		return;
	/* who came first is served first, but one that does not wait only asks about now */
	if (!list_empty(&s->waiting) && rq->wait_ns) {
		snprintf(j->message, sizeof(j->message), "others wait for space too");
		list_push(&s->waiting, &j->link);
	} else if (create_try(j)) {
		list_push(&s->waiting, &j->link);
		server_tick(s);
	}
}

/* ---- attach ---------------------------------------------------------------------------------- */

static int attach_work(void *arg)
{
	struct job *j = arg;
	struct layout *l = &j->session->server->depot->layout;
	struct record_piece p[64];
	int rc = layout_attach(
		l, j->lease->partial->token, &j->rec, &j->data, &j->read_only, &j->record);

	if (!rc && !layout_is_this_boot(l, &j->rec))
		rc = layout_recheck(l, &j->rec, j->read_only, j->record, &j->n_cleared);
	if (!rc && !j->bitmap)
		j->bitmap = calloc(1, j->rec.info.n_pieces / 8 + 1);
	if (!rc && !j->bitmap)
		rc = -ENOMEM;
	for (uint32_t first = 0; !rc && first < j->rec.info.n_pieces; first += ARRAY_SIZE(p)) {
		uint32_t n = j->rec.info.n_pieces - first;

		n = n < ARRAY_SIZE(p) ? n : ARRAY_SIZE(p);
		rc = record_read_pieces(j->record, &j->rec, first, n, p);
		for (uint32_t i = 0; !rc && i < n; i++) {
			if (!p[i].present)
				continue;
			j->bitmap[(first + i) / 8] |= (uint8_t)(1u << (first + i) % 8);
			j->rec.info.n_present++;
		}
	}
	if (rc)
		return rc;
	j->record_ro = layout_open_record(l, j->rec.token);
	return j->record_ro < 0 ? j->record_ro : 0;
}

/* the header says what the new owner wants; it is written by the commit */
static void take_over(struct job *j)
{
	struct record *want = j->want;

	j->rec.pinned = j->rec.info.pinned = want->pinned;
	j->rec.info.expires_ns = want->info.expires_ns;
	j->rec.attrs_len = want->attrs_len;
	memcpy(j->rec.attrs, want->attrs, want->attrs_len);
	log_info("store: an unfinished task is taken up again id=%s pieces=%u of=%u",
		j->rec.info.id, j->rec.info.n_present, j->rec.info.n_pieces);
}

/* what was to be taken up is damaged: begin without it */
static void create_anew(struct job *j)
{
	j->data = fd_close(j->data);
	j->read_only = fd_close(j->read_only);
	j->record = fd_close(j->record);
	j->rec = *j->want;
	free(j->want);
	j->want = NULL;
	memset(j->bitmap, 0, j->rec.info.n_pieces / 8 + 1);
	if (create_try(j)) {
		list_push(&j->session->server->waiting, &j->link);
		server_tick(j->session->server);
	}
}

static void attach_done(struct loop_op *op, int res)
{
	struct job *j = job_of(op);
	struct server *s = j->session->server;
	struct partial *p = j->lease->partial;

	if (j->n_cleared)
		log_warning("store: pieces of an unfinished task did not survive the last stop of "
			    "the machine and are fetched again n=%u",
			j->n_cleared);
	if (!res) {
		p->info.n_present = j->rec.info.n_present;
		if (j->want)
			take_over(j);
		give_partial(j, p);
		return;
	}
	j->lease->partial = NULL;
	if (res == -EBADMSG || res == -ENOENT) {
		log_warning("store: an unfinished task does not verify and is dropped");
		depot_drop_partial(s->depot, p);
		server_reap(s);
		if (j->want && !j->lease->is_closing) {
			create_anew(j);
			return;
		}
		lease_forget(j->lease);
		job_say(j, STORE_CORRUPT, "the record of this task does not verify");
		return;
	}
	lease_forget(j->lease);
	depot_unlease_partial(s->depot, p);
	job_fail(j, res, "cannot open the task's files");
}

static void attach_begin(struct job *j)
{
	job_run(j, attach_work, attach_done);
}

static void do_attach(struct session *c, const struct proto_request *rq)
{
	struct depot *t = c->server->depot;
	struct partial *p = NULL;
	enum store_status st = depot_lease_partial(t, rq->token, &p);
	struct job *j;

	if (st) {
		session_say(c, rq->type, rq->number, st, "%s",
			st == STORE_BUSY ? "somebody else writes this task"
					 : "no unfinished task has this token");
		return;
	}
	j = may_change(c, p->info.uid) ? job_new(c, rq) : NULL;
	if (!j) {
		depot_unlease_partial(t, p);
		if (!may_change(c, p->info.uid))
			answer(c, rq, STORE_DENIED);
		return;
	}
	j->lease = write_lease_new(c, p->info.bytes_on_disk);
	if (!j->lease) {
		depot_unlease_partial(t, p);
		job_say(j, STORE_LIMIT, "too many leases of this client");
		return;
	}
	j->lease->partial = p;
	attach_begin(j);
}

/* ---- writing --------------------------------------------------------------------------------- */

static struct lease *find_write_lease(struct session *c, const struct proto_request *rq)
{
	struct lease *l = session_lease_find(c, rq->lease);

	if (!l || !l->partial) {
		no_such_lease(c, rq);
		return NULL;
	}
	if (l->is_busy) {
		session_say(c, rq->type, rq->number, STORE_BUSY,
			"another request for this lease is not finished");
		return NULL;
	}
	return l;
}

static void do_pieces(struct session *c, const struct proto_request *rq)
{
	struct lease *l = find_write_lease(c, rq);
	int rc;

	if (!l)
		return;
	for (size_t i = 0; i < rq->n_pieces; i++) {
		if (rq->pieces[i].number >= l->partial->info.n_pieces) {
			session_say(c, rq->type, rq->number, STORE_INVALID,
				"piece %u of a task with %u pieces", rq->pieces[i].number,
				l->partial->info.n_pieces);
			return;
		}
	}
	rc = record_write_pieces(
		l->record, l->head, rq->pieces, rq->n_pieces, depot_wall_ns(c->server->depot));
	if (rc) {
		session_say(c, rq->type, rq->number, rc == -ENOSPC ? STORE_NO_SPACE : STORE_IO,
			"cannot write the piece table: %s", strerror(-rc));
		return;
	}
	for (size_t i = 0; i < rq->n_pieces; i++) {
		uint32_t n = rq->pieces[i].number;
		uint8_t bit = (uint8_t)(1u << n % 8);

		l->partial->info.n_present += !(l->bitmap[n / 8] & bit);
		l->bitmap[n / 8] |= bit;
	}
	answer(c, rq, STORE_OK);
}

static int commit_work(void *arg)
{
	struct job *j = arg;
	struct depot *t = j->session->server->depot;

	return layout_commit(
		&t->layout, &j->rec, j->lease->record, j->punch, t->set.verity, &j->bytes);
}

void request_retry_parked(struct server *s)
{
	struct list ready;

	if (list_empty(&s->parked))
		return;
	list_init(&ready);
	while (!list_empty(&s->parked))
		list_push(&ready, list_pop(&s->parked));
	while (!list_empty(&ready))
		request_retry_commit(container_of(list_pop(&ready), struct job, link));
}

/* the commit did not happen: the lease is what it was, unless its session is gone */
static void commit_give_back(struct job *j)
{
	j->lease->is_busy = false;
	if (j->lease->is_closing)
		lease_end(j->lease);
}

static void commit_done(struct loop_op *op, int res)
{
	struct job *j = job_of(op);
	struct server *s = j->session->server;
	struct lease *l = j->lease;

	if (!res) {
		struct proto_reply r = {.type = j->type, .number = j->number, .mask = PROTO_R_INFO};

		depot_commit_end(s->depot, j->task, l->partial, &j->rec, j->bytes);
		l->partial = NULL;
		lease_forget(l);
		depot_info(s->depot, j->rec.info.id, &r.info);
		r.info.state = STORE_COMPLETE;
		session_reply(j->session, &r, -1, -1, -1);
		job_free(j);
		server_tick(s);
	} else {
		depot_commit_end(s->depot, j->task, NULL, NULL, 0);
		commit_give_back(j);
		if (res == -ETXTBSY)
			job_say(j, STORE_BUSY_WRITER,
				"the data is still open for writing: close it and commit again");
		else if (res == -EBADMSG)
			job_say(j, STORE_CORRUPT, "the data has not the length of the task");
		else
			job_fail(j, res, "cannot commit");
	}
	request_retry_parked(s);
}

/* the same content is here: ours is not needed */
static void commit_same(struct job *j, const struct store_info *info)
{
	struct server *s = j->session->server;
	struct lease *l = j->lease;
	struct proto_reply r = {.type = j->type,
		.number = j->number,
		.status = STORE_EXISTS_SAME,
		.mask = PROTO_R_INFO,
		.info = *info};

	depot_touch(s->depot, info->id);
	depot_drop_partial(s->depot, l->partial);
	server_reap(s);
	l->partial = NULL;
	lease_forget(l);
	snprintf(r.message, sizeof(r.message), "task %s is in the store already", info->id);
	session_reply(j->session, &r, -1, -1, -1);
	job_free(j);
}

static void commit_try(struct job *j)
{
	struct server *s = j->session->server;
	struct store_info info;
	enum store_status st = depot_commit_begin(
		s->depot, j->rec.info.id, j->rec.info.fingerprint, &j->task, &info);
	struct proto_reply r = {.type = j->type, .number = j->number, .status = st};

	switch (st) {
	case STORE_OK:
		job_run(j, commit_work, commit_done);
		break;
	case STORE_BUSY:
		list_push(&s->parked, &j->link);
		server_arm(s); /* a removal of this id tells nobody when it is over */
		break;
	case STORE_EXISTS_SAME:
		commit_same(j, &info);
		break;
	case STORE_EXISTS_DIFFERENT:
		commit_give_back(j);
		r.mask = PROTO_R_INFO;
		r.info = info;
		snprintf(r.message, sizeof(r.message),
			"task %s is in the store with other content (another fingerprint)",
			info.id);
		session_reply(j->session, &r, -1, -1, -1);
		job_free(j);
		break;
	default:
		commit_give_back(j);
		job_say(j, STORE_IO, "out of memory");
	}
}

void request_retry_commit(struct job *j)
{
	commit_try(j);
}

static void do_commit(struct session *c, const struct proto_request *rq)
{
	struct lease *l = find_write_lease(c, rq);
	struct job *j;

	if (!l)
		return;
	if (l->partial->info.n_present != l->partial->info.n_pieces) {
		session_say(c, rq->type, rq->number, STORE_INVALID, "%u of %u pieces are present",
			l->partial->info.n_present, l->partial->info.n_pieces);
		return;
	}
	j = job_new(c, rq);
	if (!j)
		return;
	j->lease = l;
	l->is_busy = true;
	j->rec = *l->head;
	strcpy(j->rec.info.id, rq->id);
	memcpy(j->rec.info.fingerprint, rq->fingerprint, STORE_FPRINT_SIZE);
	if (rq->mask & PROTO_F_ATTRS) {
		j->rec.attrs_len = rq->attrs_len;
		if (rq->attrs_len)
			memcpy(j->rec.attrs, rq->attrs, rq->attrs_len);
	}
	j->rec.recorded_ns = depot_wall_ns(c->server->depot);
	/* a promise that was not wholly written: only then are there blocks to give back */
	j->punch = l->reserve && l->reserve != j->rec.info.length;
	commit_try(j);
}

static void do_abort(struct session *c, const struct proto_request *rq)
{
	struct lease *l = find_write_lease(c, rq);
	int rc;

	if (!l)
		return;
	rc = depot_drop_partial(c->server->depot, l->partial);
	l->partial = NULL;
	lease_forget(l);
	server_reap(c->server);
	session_say(
		c, rq->type, rq->number, rc ? STORE_IO : STORE_OK, "%s", rc ? strerror(-rc) : "");
}

static void do_release(struct session *c, const struct proto_request *rq)
{
	struct lease *l = session_lease_find(c, rq->lease);

	if (!l) {
		no_such_lease(c, rq);
	} else if (l->is_busy) {
		session_say(c, rq->type, rq->number, STORE_BUSY,
			"another request for this lease is not finished");
	} else {
		lease_end(l);
		answer(c, rq, STORE_OK);
	}
}

/* ---- reading --------------------------------------------------------------------------------- */

/* a complete task whose files are missing or do not verify: it goes, alone */
static void drop_corrupt(struct session *c, const struct proto_request *rq, int rc)
{
	log_err("store: task does not verify and is dropped id=%s reason=%s", rq->id,
		strerror(-rc));
	depot_remove(c->server->depot, rq->id, NULL, "its record does not verify");
	server_reap(c->server);
	session_say(c, rq->type, rq->number, STORE_CORRUPT,
		"the record of task %s does not verify (%s); it was dropped", rq->id,
		strerror(-rc));
}

static bool is_corruption(int rc)
{
	return rc == -EBADMSG || rc == -ENOENT || rc == -ENOTSUP || rc == -EUCLEAN;
}

static void do_open(struct session *c, const struct proto_request *rq)
{
	struct server *s = c->server;
	struct proto_reply r = {.type = rq->type,
		.number = rq->number,
		.mask = PROTO_R_LEASE | PROTO_R_INFO | PROTO_R_ATTRS};
	struct task *k = depot_lease(s->depot, rq->id, &r.info);
	_cleanup_fd_ int data = -1, record = -1;
	struct lease *l;
	int rc;

	if (!k) {
		no_such_task(c, rq);
		return;
	}
	rc = layout_open_task(&s->depot->layout, rq->id, &data, &record);
	if (!rc)
		rc = record_read(record, &s->scratch);
	l = rc ? NULL : session_lease_new(c);
	if (!l) {
		depot_unlease(s->depot, k, false);
		if (is_corruption(rc))
			drop_corrupt(c, rq, rc);
		else if (rc)
			session_say(c, rq->type, rq->number, STORE_IO,
				"cannot open the task's files: %s", strerror(-rc));
		else
			session_say(c, rq->type, rq->number, STORE_LIMIT,
				"too many leases of this client");
		return;
	}
	server_used(s);
	l->task = k;
	r.lease = l->number;
	r.attrs = s->scratch.attrs;
	r.attrs_len = s->scratch.attrs_len;
	session_reply(c, &r, take_fd(&data), take_fd(&record), -1);
}

static void do_stat(struct session *c, const struct proto_request *rq)
{
	struct server *s = c->server;
	struct proto_reply r = {.type = rq->type, .number = rq->number, .mask = PROTO_R_INFO};
	_cleanup_fd_ int data = -1, record = -1;
	int rc;

	if (!depot_info(s->depot, rq->id, &r.info)) {
		if (!depot_find_partial(s->depot, rq->id, &r.info, r.token)) {
			no_such_task(c, rq);
			return;
		}
		if (may_change(c, r.info.uid))
			r.mask |= PROTO_R_TOKEN;
		session_reply(c, &r, -1, -1, -1);
		return;
	}
	rc = layout_open_task(&s->depot->layout, rq->id, &data, &record);
	if (!rc)
		rc = record_read(record, &s->scratch);
	if (is_corruption(rc)) {
		/* the culling thread may have been faster */
		if (depot_info(s->depot, rq->id, &r.info))
			drop_corrupt(c, rq, rc);
		else
			no_such_task(c, rq);
		return;
	}
	if (!rc) {
		r.mask |= PROTO_R_ATTRS;
		r.attrs = s->scratch.attrs;
		r.attrs_len = s->scratch.attrs_len;
	}
	session_reply(c, &r, -1, -1, -1);
}

static void do_list(struct session *c, const struct proto_request *rq)
{
	struct store_info entries[PROTO_LIST_ENTRIES];
	struct proto_reply r = {.type = rq->type,
		.number = rq->number,
		.mask = PROTO_R_LIST,
		.entries = entries,
		.cursor = rq->cursor};

	r.n_entries = depot_list(c->server->depot, &r.cursor, entries, PROTO_LIST_ENTRIES);
	session_reply(c, &r, -1, -1, -1);
}

static void do_touch(struct session *c, const struct proto_request *rq)
{
	if (!depot_touch(c->server->depot, rq->id)) {
		no_such_task(c, rq);
		return;
	}
	server_used(c->server);
	answer(c, rq, STORE_OK);
}

/* ---- changes --------------------------------------------------------------------------------- */

static void change_record(void *arg, struct record *r)
{
	struct job *j = arg;

	if (j->type == PROTO_PIN)
		r->pinned = r->info.pinned = j->pin;
	else if (j->type == PROTO_EXTEND)
		r->info.expires_ns = j->expires_ns;
	/* set-attrs: the new ones wait in the bitmap's place */
	if (j->has_attrs) {
		r->attrs_len = (size_t)j->bytes;
		memcpy(r->attrs, j->bitmap, r->attrs_len);
	}
}

static int change_work(void *arg)
{
	struct job *j = arg;
	struct server *s = j->session->server;
	int rc;

	pthread_mutex_lock(&s->rewrite);
	rc = layout_rewrite(&s->depot->layout, j->info.id, &j->rec, change_record, j);
	pthread_mutex_unlock(&s->rewrite);
	return rc;
}

static void change_done(struct loop_op *op, int res)
{
	struct job *j = job_of(op);
	struct depot *t = j->session->server->depot;

	if (!res && j->type == PROTO_PIN)
		depot_set_pinned(t, j->task, j->pin);
	if (!res && j->type == PROTO_EXTEND)
		depot_set_expires(t, j->task, j->expires_ns);
	depot_unlease(t, j->task, false);
	server_tick(j->session->server);
	if (!res)
		job_say(j, STORE_OK, "");
	else if (res == -ENOENT)
		job_say(j, STORE_NOT_FOUND, "the task was removed meanwhile");
	else
		job_fail(j, res, "cannot change the record");
}

static void do_change(struct session *c, const struct proto_request *rq)
{
	struct depot *t = c->server->depot;
	char message[STORE_MESSAGE_MAX];
	struct store_info info;
	struct job *j;

	if (!find_to_change(c, rq, &info))
		return;
	if (rq->type == PROTO_PIN && rq->pin && !info.pinned &&
		depot_may_pin(t, info.bytes_on_disk, info.uid, message)) {
		session_say(c, rq->type, rq->number, STORE_LIMIT, "%s", message);
		return;
	}
	j = job_new(c, rq);
	if (!j)
		return;
	j->pin = rq->pin;
	j->expires_ns = rq->expires_ns;
	j->has_attrs = rq->type == PROTO_SET_ATTRS;
	if (j->has_attrs) {
		j->bytes = rq->attrs_len;
		j->bitmap = malloc(rq->attrs_len + 1);
		if (!j->bitmap) {
			job_say(j, STORE_IO, "out of memory");
			return;
		}
		memcpy(j->bitmap, rq->attrs, rq->attrs_len);
	}
	/* a lease keeps it from being culled while its record is written */
	j->task = depot_lease(t, rq->id, &j->info);
	if (!j->task) {
		job_say(j, STORE_NOT_FOUND, "the task was removed meanwhile");
		return;
	}
	job_run(j, change_work, change_done);
}

static int delete_work(void *arg)
{
	struct job *j = arg;
	struct depot *t = j->session->server->depot;

	j->status = depot_remove(t, j->info.id, j->task, "deleted");
	return j->status ? 0 : layout_sync_task(&t->layout, j->info.id);
}

static void delete_done(struct loop_op *op, int res)
{
	struct job *j = job_of(op);

	depot_unlease(j->session->server->depot, j->task, false);
	server_reap(j->session->server);
	if (j->status)
		job_say(j, j->status,
			j->status == STORE_IO ? "cannot remove the task's files" : "gone already");
	else if (res)
		job_fail(j, res, "the task is gone, but may come back after a power loss");
	else
		job_say(j, STORE_OK, "");
}

static void do_delete(struct session *c, const struct proto_request *rq)
{
	struct store_info info;
	struct job *j;

	if (!find_to_change(c, rq, &info))
		return;
	j = job_new(c, rq);
	if (!j)
		return;
	/* the lease says which task was meant: its id may be another's when the worker comes to it */
	j->task = depot_lease(c->server->depot, rq->id, &j->info);
	if (j->task)
		job_run(j, delete_work, delete_done);
	else
		job_say(j, STORE_NOT_FOUND, "gone already");
}

/* ---- for the daemon around us ---------------------------------------------------------------- */

static struct server_ask *ask_new(struct session *c, const struct proto_request *rq)
{
	struct server_ask *a = malloc(sizeof(*a));

	if (!a) {
		session_say(c, rq->type, rq->number, STORE_IO, "out of memory");
		return NULL;
	}
	*a = (struct server_ask){.session = c, .type = rq->type, .number = rq->number};
	c->n_jobs++;
	return a;
}

static void do_cull(struct session *c, const struct proto_request *rq)
{
	struct server *s = c->server;
	struct server_ask *a;

	if (!rq->dry_run && !c->is_trusted) {
		session_say(c, rq->type, rq->number, STORE_DENIED,
			"culling needs root or the daemon's own user");
		return;
	}
	a = s->hooks.cull ? ask_new(c, rq) : NULL;
	if (a)
		s->hooks.cull(s->hooks.arg, a, rq->dry_run, rq->bytes);
	else if (!s->hooks.cull)
		session_say(c, rq->type, rq->number, STORE_INVALID, "there is no culling here");
}

static void do_control(struct session *c, const struct proto_request *rq)
{
	struct server *s = c->server;
	char words[PROTO_TEXT_MAX + 1];
	struct server_ask *a;

	if (memchr(rq->text, 0, rq->text_len)) {
		session_say(c, rq->type, rq->number, STORE_INVALID, "a nul byte in the words");
		return;
	}
	memcpy(words, rq->text, rq->text_len);
	words[rq->text_len] = '\0';
	a = s->hooks.control ? ask_new(c, rq) : NULL;
	if (a)
		s->hooks.control(s->hooks.arg, a, words, c->is_trusted);
	else if (!s->hooks.control)
		session_say(c, rq->type, rq->number, STORE_INVALID, "there is no control here");
}

static void (*const handlers[PROTO_TYPES])(struct session *, const struct proto_request *) = {
	[PROTO_HELLO] = do_hello,
	[PROTO_CREATE] = do_create,
	[PROTO_ATTACH] = do_attach,
	[PROTO_PIECES] = do_pieces,
	[PROTO_COMMIT] = do_commit,
	[PROTO_ABORT] = do_abort,
	[PROTO_OPEN] = do_open,
	[PROTO_RELEASE] = do_release,
	[PROTO_STAT] = do_stat,
	[PROTO_LIST] = do_list,
	[PROTO_TOUCH] = do_touch,
	[PROTO_PIN] = do_change,
	[PROTO_EXTEND] = do_change,
	[PROTO_SET_ATTRS] = do_change,
	[PROTO_DELETE] = do_delete,
	[PROTO_CULL] = do_cull,
	[PROTO_CONTROL] = do_control,
};

void request_handle(struct session *c, const struct proto_request *rq)
{
	bool needs_store =
		rq->type != PROTO_HELLO && rq->type != PROTO_CONTROL && rq->type != PROTO_CULL;

	if (needs_store && !store_is_on(c)) {
		session_say(c, rq->type, rq->number, STORE_DENIED, STORE_IS_OFF);
		return;
	}
	handlers[rq->type](c, rq);
}
