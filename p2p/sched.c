/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sched.c — unary calls to the scheduler of a task; see sched.h
 *
 * A call whose scheduler does not answer is made again, to the one of that moment, until its time is
 * over: when an owner dies its tasks move within seconds, and a scheduler of Dragonfly is back after a
 * restart. With the embedded one asking twice has the effect of asking once. Dragonfly's refuses the
 * second time what it did the first time and could not say: then it is asked what it knows.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/num.h"
#include "common/rpc/pbc.h"
#include "p2p/api/convert.h"
#include "p2p/api/methods.h"
#include "p2p/api/scheduler.pb-c.h"
#include "p2p/channels.h"
#include "p2p/ring.h"
#include "p2p/sched_impl.h"
#include "p2p/scheduler/check.h"
#include "p2p/scheduler/impl.h"

#define SEC UINT64_C(1000000000)
#define MS  UINT64_C(1000000)

enum { RETRY_MS = 200, ROUTE_MS = 50, ATTEMPT_SEC = 4, DEFAULT_SEC = 30 };
enum { PATIENCE_SEC = 5, LEAVE_SEC = 2, REPORT_SEC = 10, REANNOUNCE_MS = 500, REANNOUNCE_MAX = 4 };

enum call_kind {
	CALL_EMPTY,
	CALL_STARTED,
	CALL_TASK,
	CALL_DELETE,
	CALL_EXPIRY,
	CALL_HOLDERS,
	CALL_PAGE,
};

struct sched_call {
	struct list link;
	struct sched *s;
	enum call_kind kind;
	const char *path;
	char task_id[TASK_ID_SIZE]; /* CALL_PAGE: the one before the page */
	const struct sched_peer *peer; /* owned; CALL_PAGE: asked whatever the id */
	struct buf request, answer;
	bool has_answer, is_canceled;
	struct rpc_meta meta[SCHED_META_MAX];
	char values[SCHED_META_MAX][64];
	size_t n_meta;
	uint64_t deadline_ns;
	unsigned n_attempts, n_unheard; /* attempts; those of them whose fate is not known */
	unsigned n_strange; /* attempts at which this host was not known */
	struct rpc_request *rpc;
	struct loop_op op; /* the pause before a retry, or the way to fn */
	int status; /* of the failure that op carries to fn; RPC_OK: op is a pause */
	const char *why;
	sched_task_fn fn;
	sched_holders_fn holders_fn;
	sched_page_fn page_fn;
	void *arg;
};

/* ---- results ----------------------------------------------------------------------------- */

static void number_trailer(const struct rpc_request *r, const char *key, uint64_t *out)
{
	const char *v = rpc_request_trailer(r, key);
	uint64_t n;

	if (v && !num_u64(v, 0, UINT64_MAX, &n, NULL))
		*out = n;
}

uint64_t sched_wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * SEC + (uint64_t)ts.tv_nsec;
}

/* what the embedded scheduler says beyond the message */
static void read_trailers(const struct rpc_request *r, struct sched_task *t)
{
	uint64_t ms = UINT64_MAX, uid = 0;

	number_trailer(r, META_GENERATION, &t->generation);
	number_trailer(r, META_UID, &uid);
	number_trailer(r, META_EXPIRES_IN, &ms);
	t->importer_uid = (uint32_t)uid;
	t->has_fingerprint =
		api_parse_fingerprint(rpc_request_trailer(r, META_FINGERPRINT), t->fingerprint);
	if (ms != UINT64_MAX)
		t->expires_in_ns = ms <= UINT64_MAX / MS ? ms * MS : UINT64_MAX;
}

static void read_task(struct sched_task *t, const Common__V2__PersistentCacheTask *m)
{
	uint64_t end;

	t->id = m->id;
	t->tag = m->tag;
	t->application = m->application;
	t->replicas_wanted = m->persistent_replica_count;
	t->replicas_persistent = m->current_persistent_replica_count;
	t->replicas_all = m->current_replica_count;
	t->piece_length = m->piece_length <= UINT32_MAX ? (uint32_t)m->piece_length : 0;
	t->n_pieces = m->piece_count;
	t->length = m->content_length;
	t->state = m->state ? m->state : "";
	if (!api_duration_ns(m->ttl, &t->ttl_ns))
		t->ttl_ns = 0;
	t->created_ns = (int64_t)api_timestamp_ns(m->created_at);
	t->updated_ns = (int64_t)api_timestamp_ns(m->updated_at);
	t->expires_in_ns = UINT64_MAX;
	if (t->ttl_ns) {
		end = (uint64_t)t->created_ns + t->ttl_ns;
		t->expires_in_ns = end > sched_wall_ns() ? end - sched_wall_ns() : 0;
	}
}

static void call_free(struct sched_call *c)
{
	list_del(&c->link);
	buf_fini(&c->request);
	buf_fini(&c->answer);
	free((void *)c->peer);
	free(c);
}

static void tell(struct sched_call *c, int status, const char *message, const struct sched_task *t)
{
	if (c->is_canceled)
		return;
	c->is_canceled = true; /* once */
	if (c->fn)
		c->fn(c->arg, status, message, t);
	else if (c->page_fn)
		c->page_fn(c->arg, status, message, NULL);
	else
		c->holders_fn(c->arg, status, message, NULL, 0);
}

static void tell_task(struct sched_call *c, const struct rpc_request *r)
{
	Common__V2__PersistentCacheTask *m = pbc_unpack(
		&common__v2__persistent_cache_task__descriptor, c->answer.data, c->answer.len);
	struct sched_task t = {0};

	if (!m || !m->id) {
		tell(c, RPC_INTERNAL, "the scheduler's answer is not a PersistentCacheTask", NULL);
	} else {
		read_task(&t, m);
		read_trailers(r, &t);
		tell(c, RPC_OK, "", &t);
	}
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void add_holder(struct sched *s, struct sched_holder *h, const char *host_id,
	const Dfcachefiles__V1__Entry *e)
{
	const struct reg_host *rh = registry_host(&s->embedded->node.reg, host_id);
	const struct peer_link *l = peers_find_host(&s->embedded->node.peers, host_id);

	snprintf(h->host_id, sizeof(h->host_id), "%s", host_id);
	snprintf(h->peer_id, sizeof(h->peer_id), "%s", e->peer_id ? e->peer_id : "");
	h->is_local = !strcmp(host_id, s->host_id);
	h->addr.ss_family = AF_UNSPEC;
	if (h->is_local)
		h->addr = s->embedded->node.self;
	else if (l)
		h->addr = l->addr;
	else if (rh)
		h->addr = rh->addr;
	h->persistent = e->persistent;
	h->is_complete = e->state == DFCACHEFILES__V1__TASK_STATE__COMPLETE;
}

static bool is_copy(const Dfcachefiles__V1__Entry *e)
{
	return e->state == DFCACHEFILES__V1__TASK_STATE__COMPLETE ||
	       e->state == DFCACHEFILES__V1__TASK_STATE__FETCHING ||
	       e->state == DFCACHEFILES__V1__TASK_STATE__IMPORTING;
}

/* the answer to an Exchange of ours: about one id */
static void tell_exchange(struct sched_call *c)
{
	Dfcachefiles__V1__ExchangeResponse *m = pbc_unpack(
		&dfcachefiles__v1__exchange_response__descriptor, c->answer.data, c->answer.len);
	_cleanup_free_ struct sched_holder *v = NULL;
	struct sched_task t = {.id = c->task_id};
	size_t n = 0;

	if (!m || exchange_check_response(m, sched_wall_ns())) {
		tell(c, RPC_INTERNAL, "the peer's answer is not a valid ExchangeResponse", NULL);
		goto out;
	}
	v = calloc(m->n_entries + 1, sizeof(*v));
	for (size_t i = 0; v && i < m->n_entries; i++) {
		const Dfcachefiles__V1__Entry *e = m->entries[i];

		if (strcmp(e->id, c->task_id))
			continue;
		if (c->kind == CALL_HOLDERS && is_copy(e))
			add_holder(c->s, &v[n++],
				e->holder_host_id ? e->holder_host_id : m->sender->host_id, e);
		else if (c->kind == CALL_EXPIRY)
			n++;
	}
	if (!v) {
		tell(c, RPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
	} else if (c->kind == CALL_HOLDERS) {
		if (!c->is_canceled)
			c->holders_fn(c->arg, RPC_OK, "", v, n);
		c->is_canceled = true;
	} else if (n) {
		tell(c, RPC_OK, "", &t);
	} else {
		tell(c, RPC_NOT_FOUND, "no live peer holds this task", NULL);
	}
out:
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

struct sched_page *sched_page_free(struct sched_page *p)
{
	if (!p)
		return NULL;
	if (p->message)
		protobuf_c_message_free_unpacked(p->message, NULL);
	free(p->tasks);
	free(p);
	return NULL;
}

static void add_owned(struct sched_page *p, const Dfcachefiles__V1__OwnedTask *o)
{
	const inv_entry *e = o->entry;

	p->tasks[p->n++] = (struct sched_task){
		.id = e->id,
		.tag = e->tag,
		.application = e->application,
		.replicas_wanted = e->wanted_replicas,
		.replicas_persistent = o->persistent_replicas,
		.replicas_all = o->replicas,
		.piece_length = e->piece_length <= UINT32_MAX ? (uint32_t)e->piece_length : 0,
		.n_pieces = e->piece_count,
		.length = e->content_length,
		.state = o->state ? o->state : "",
		.created_ns = (int64_t)e->created_ns,
		.has_fingerprint = e->has_fingerprint,
		.generation = e->generation,
		.importer_uid = e->importer_uid,
		.expires_in_ns = e->has_expires_in_ms ? e->expires_in_ms * MS : UINT64_MAX,
	};
}

static void tell_page(struct sched_call *c)
{
	Dfcachefiles__V1__OwnedResponse *m = pbc_unpack(
		&dfcachefiles__v1__owned_response__descriptor, c->answer.data, c->answer.len);
	const char *why = m ? check_owned_answer(m, c->task_id, sched_wall_ns())
			    : "it is not an OwnedResponse";
	struct sched_page *p = why ? NULL : calloc(1, sizeof(*p));
	char owner[HOST_ID_SIZE], text[160];

	if (p && (p->tasks = calloc(m->n_tasks + 1, sizeof(*p->tasks)))) {
		p->message = m;
		p->is_last = m->is_last;
		for (size_t i = 0; i < m->n_tasks; i++) {
			sched_owner(c->s, m->tasks[i]->entry->id, owner);
			if (!strcmp(owner, c->peer->host_id))
				add_owned(p, m->tasks[i]);
		}
		if (m->n_tasks)
			snprintf(p->last, sizeof(p->last), "%s",
				m->tasks[m->n_tasks - 1]->entry->id);
		c->is_canceled = true; /* once */
		c->page_fn(c->arg, RPC_OK, "", p);
		return;
	}
	free(p);
	if (why) {
		snprintf(text, sizeof(text), "the peer's answer is not valid: %s", why);
		tell(c, RPC_INTERNAL, text, NULL);
	} else {
		tell(c, RPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
	}
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

/* ---- attempts ---------------------------------------------------------------------------- */

static void attempt(struct sched_call *c);

static void pause_then_attempt(struct sched_call *c, uint64_t ns)
{
	c->status = RPC_OK;
	loop_timer(c->s->loop, &c->op, loop_now(c->s->loop) + ns);
}

static void fail_later(struct sched_call *c, int status, const char *why)
{
	c->status = status;
	c->why = why;
	loop_post(c->s->loop, &c->op, 0);
}

static void on_op(struct loop_op *op, int res)
{
	struct sched_call *c = container_of(op, struct sched_call, op);

	(void)res;
	if (c->is_canceled) {
		call_free(c);
	} else if (c->status == RPC_OK) {
		attempt(c);
	} else {
		tell(c, c->status, c->why, NULL);
		call_free(c);
	}
}

static void on_message(struct rpc_request *r, void *arg, const uint8_t *p, size_t n)
{
	struct sched_call *c = arg;

	(void)r;
	if (c->has_answer)
		return;
	c->has_answer = true;
	buf_add(&c->answer, p, n);
}

static bool try_again(struct sched_call *c, int status)
{
	uint64_t now = loop_now(c->s->loop);

	return !c->is_canceled && (status == RPC_UNAVAILABLE || status == RPC_DEADLINE_EXCEEDED) &&
	       now + RETRY_MS * MS < c->deadline_ns;
}

static void again(struct sched_call *c, uint64_t ns)
{
	c->has_answer = false;
	buf_fini(&c->answer);
	pause_then_attempt(c, ns);
}

/* Dragonfly's scheduler knows this peer only from what it was told, and may have lost it */
static bool is_stranger(struct sched_call *c, int status)
{
	return !c->is_canceled && !c->s->embedded && c->kind == CALL_STARTED &&
	       status == RPC_NOT_FOUND && c->n_strange < REANNOUNCE_MAX &&
	       loop_now(c->s->loop) + REANNOUNCE_MS * MS < c->deadline_ns;
}

/* An earlier attempt may have been heard although its answer was not: the import began if the scheduler
 * has our peer, and is finished if it says so. The requests differ by nothing that the other method
 * reads. */
static bool ask_what_it_knows(struct sched_call *c, int status)
{
	if (c->is_canceled || c->s->embedded || !c->n_unheard)
		return false;
	if (c->kind == CALL_STARTED && status == RPC_ALREADY_EXISTS &&
		strcmp(c->path, METHOD_SCHED_STAT_PEER) != 0)
		c->path = METHOD_SCHED_STAT_PEER;
	else if (!strcmp(c->path, METHOD_SCHED_UPLOAD_FINISHED))
		c->path = METHOD_SCHED_STAT_TASK;
	else
		return false;
	return true;
}

static void on_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct sched_call *c = arg;
	struct sched_task t = {.id = c->task_id, .expires_in_ns = UINT64_MAX, .state = ""};

	c->rpc = NULL;
	if (try_again(c, status)) {
		if (!c->n_unheard++)
			LOG_LIMITED(LOG_NOTICE,
				"sched: the scheduler does not answer, trying again id=%s: %s",
				c->task_id, message);
		again(c, RETRY_MS * MS);
		return;
	}
	if (is_stranger(c, status)) {
		c->n_strange++;
		sched_reannounce(c->s);
		again(c, REANNOUNCE_MS * MS);
		return;
	}
	if (status != RPC_OK && ask_what_it_knows(c, status)) {
		again(c, 0);
		return;
	}
	/* the first attempt may have deleted it without our hearing of it */
	if (c->kind == CALL_DELETE && status == RPC_NOT_FOUND && c->n_attempts > 1)
		status = RPC_OK;
	if (c->is_canceled) {
		call_free(c);
		return;
	}
	if (status == RPC_ALREADY_EXISTS && c->kind == CALL_STARTED) {
		read_trailers(r, &t);
		tell(c, status, message, t.generation ? &t : NULL);
	} else if (status != RPC_OK) {
		tell(c, status, message, NULL);
	} else if (c->kind == CALL_TASK) {
		tell_task(c, r);
	} else if (c->kind == CALL_EXPIRY || c->kind == CALL_HOLDERS) {
		tell_exchange(c);
	} else if (c->kind == CALL_PAGE) {
		tell_page(c);
	} else {
		tell(c, RPC_OK, "", NULL);
	}
	call_free(c);
}

static const struct rpc_handlers handlers = {.on_message = on_message, .on_done = on_done};

struct rpc_channel *sched_route(struct sched *s, const char *id, const char **secret, bool *wait)
{
	struct sockaddr_storage addr;
	char host_id[HOST_ID_SIZE];
	bool is_self;

	*secret = NULL;
	*wait = false;
	if (s->embedded) {
		if (!scheduler_owner(s->embedded, id, &addr, host_id, &is_self)) {
			*wait = true;
			return NULL;
		}
		*secret = scheduler_secret_for(s->embedded, &addr);
	} else if (s->n_schedulers) {
		addr = s->schedulers[ring_pick(s->schedulers, s->n_schedulers, s->ring, id)].addr;
	} else {
		*wait = loop_now(s->loop) < s->patience_ns;
		return NULL;
	}
	return channels_get(s->channels, (struct sockaddr *)&addr, sizeof(addr));
}

static void attempt(struct sched_call *c)
{
	uint64_t now = loop_now(c->s->loop), left;
	const char *secret = NULL;
	bool wait = false;
	struct rpc_channel *ch;
	size_t n = c->n_meta;

	if (c->peer) {
		secret = scheduler_secret_for(c->s->embedded, &c->peer->addr);
		ch = channels_get(c->s->channels, (const struct sockaddr *)&c->peer->addr,
			sizeof(c->peer->addr));
	} else {
		ch = sched_route(c->s, c->task_id, &secret, &wait);
	}

	if (now >= c->deadline_ns) {
		fail_later(c, RPC_DEADLINE_EXCEEDED, "no scheduler answered in time");
		return;
	}
	if (wait) {
		pause_then_attempt(c, ROUTE_MS * MS);
		return;
	}
	left = c->deadline_ns - now;
	if (c->s->embedded && left > ATTEMPT_SEC * SEC)
		left = ATTEMPT_SEC * SEC;
	if (secret)
		c->meta[n++] = (struct rpc_meta){META_SELF, secret};
	c->n_attempts++;
	if (ch)
		c->rpc = rpc_request_start(ch, c->path, c->meta, n, left, &handlers, c);
	if (!c->rpc) {
		fail_later(c, RPC_UNAVAILABLE,
			ch ? "out of memory" : "no scheduler is configured or reachable");
		return;
	}
	if (rpc_request_send(
		    c->rpc, c->request.data ? (const void *)c->request.data : "", c->request.len))
		rpc_request_cancel(c->rpc);
	else
		rpc_request_close_send(c->rpc);
}

static struct sched_call *call_new(struct sched *s, enum call_kind kind, const char *path,
	const char *task_id, uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	struct sched_call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->s = s;
	c->kind = kind;
	c->path = path;
	snprintf(c->task_id, sizeof(c->task_id), "%s", task_id);
	c->deadline_ns = loop_now(s->loop) + (timeout_ns ? timeout_ns : DEFAULT_SEC * SEC);
	c->fn = fn;
	c->arg = arg;
	loop_op_init(&c->op, on_op);
	list_push(&s->calls, &c->link);
	return c;
}

/* pack and go; consumes @c when out of memory */
static struct sched_call *call_go(struct sched_call *c, ProtobufCMessage *m)
{
	if (m && pbc_pack(m, &c->request)) {
		call_free(c);
		return NULL;
	}
	attempt(c);
	return c;
}

void sched_call_cancel(struct sched_call *c)
{
	if (!c || c->is_canceled)
		return;
	c->is_canceled = true;
	if (c->rpc)
		rpc_request_cancel(c->rpc);
	else
		loop_cancel(c->s->loop, &c->op);
}

/* add_meta - the value is in c->values of the same index */
static char *add_meta(struct sched_call *c, const char *key)
{
	size_t i = c->n_meta++;

	c->meta[i] = (struct rpc_meta){key, c->values[i]};
	return c->values[i];
}

static void add_number(struct sched_call *c, const char *key, uint64_t number)
{
	snprintf(add_meta(c, key), sizeof(c->values[0]), "%llu", (unsigned long long)number);
}

static void add_trace(struct sched_call *c, const char *trace)
{
	if (trace && *trace)
		snprintf(add_meta(c, META_TRACE), sizeof(c->values[0]), "%s", trace);
}

/* ---- the calls --------------------------------------------------------------------------- */

struct sched_call *sched_upload_started(struct sched *s, const struct sched_task *t,
	const char *peer_id, uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	Scheduler__V2__UploadPersistentCacheTaskStartedRequest m =
		SCHEDULER__V2__UPLOAD_PERSISTENT_CACHE_TASK_STARTED_REQUEST__INIT;
	Google__Protobuf__Duration ttl;
	uint64_t left;
	struct sched_call *c =
		call_new(s, CALL_STARTED, METHOD_SCHED_UPLOAD_STARTED, t->id, timeout_ns, fn, arg);

	if (!c)
		return NULL;
	m.host_id = s->host_id;
	m.task_id = (char *)t->id;
	m.peer_id = (char *)peer_id;
	m.persistent_replica_count = t->replicas_wanted;
	m.tag = (char *)t->tag;
	m.application = (char *)t->application;
	m.piece_length = t->piece_length;
	m.content_length = t->length;
	m.piece_count = t->n_pieces;
	left = t->expires_in_ns == UINT64_MAX ? 0 : t->expires_in_ns;
	/* Dragonfly's scheduler has a least ttl, which what is left of it after reading the file may
	 * be just below: it hears what was asked for, as from its own peers. */
	api_set_duration(&ttl, !s->embedded && t->ttl_ns ? t->ttl_ns : left);
	/* Dragonfly's scheduler insists on a ttl, ours takes none for never */
	if (t->expires_in_ns != UINT64_MAX || !s->embedded)
		m.ttl = &ttl;
	if (s->embedded) {
		add_number(c, META_GENERATION, t->generation);
		add_number(c, META_UID, t->importer_uid);
		if (t->expires_in_ns != UINT64_MAX)
			add_number(c, META_EXPIRES_IN, t->expires_in_ns / MS);
		if (t->has_fingerprint)
			api_format_fingerprint(t->fingerprint, add_meta(c, META_FINGERPRINT));
	}
	add_trace(c, t->trace);
	return call_go(c, &m.base);
}

struct sched_call *sched_upload_finished(struct sched *s, const char *task_id, const char *peer_id,
	const char *trace, uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	Scheduler__V2__UploadPersistentCacheTaskFinishedRequest m =
		SCHEDULER__V2__UPLOAD_PERSISTENT_CACHE_TASK_FINISHED_REQUEST__INIT;
	struct sched_call *c =
		call_new(s, CALL_TASK, METHOD_SCHED_UPLOAD_FINISHED, task_id, timeout_ns, fn, arg);

	if (!c)
		return NULL;
	add_trace(c, trace);
	m.host_id = s->host_id;
	m.task_id = (char *)task_id;
	m.peer_id = (char *)peer_id;
	return call_go(c, &m.base);
}

struct sched_call *sched_upload_failed(struct sched *s, const char *task_id, const char *peer_id,
	const char *description, uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	Scheduler__V2__UploadPersistentCacheTaskFailedRequest m =
		SCHEDULER__V2__UPLOAD_PERSISTENT_CACHE_TASK_FAILED_REQUEST__INIT;
	struct sched_call *c =
		call_new(s, CALL_EMPTY, METHOD_SCHED_UPLOAD_FAILED, task_id, timeout_ns, fn, arg);

	if (!c)
		return NULL;
	m.host_id = s->host_id;
	m.task_id = (char *)task_id;
	m.peer_id = (char *)peer_id;
	m.description = (char *)description;
	return call_go(c, &m.base);
}

struct sched_call *sched_stat_task(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	Scheduler__V2__StatPersistentCacheTaskRequest m =
		SCHEDULER__V2__STAT_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	struct sched_call *c =
		call_new(s, CALL_TASK, METHOD_SCHED_STAT_TASK, task_id, timeout_ns, fn, arg);

	if (!c)
		return NULL;
	m.host_id = s->host_id;
	m.task_id = (char *)task_id;
	return call_go(c, &m.base);
}

struct sched_call *sched_delete_task(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	Scheduler__V2__DeletePersistentCacheTaskRequest m =
		SCHEDULER__V2__DELETE_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	struct sched_call *c =
		call_new(s, CALL_DELETE, METHOD_SCHED_DELETE_TASK, task_id, timeout_ns, fn, arg);

	if (!c)
		return NULL;
	m.host_id = s->host_id;
	m.task_id = (char *)task_id;
	return call_go(c, &m.base);
}

struct sched_call *sched_set_expiry(struct sched *s, const char *task_id, uint64_t in_ns,
	uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	struct sched_call *c =
		call_new(s, CALL_EXPIRY, METHOD_INVENTORY, task_id, timeout_ns, fn, arg);

	if (!c)
		return NULL;
	if (!s->embedded) {
		fail_later(c, RPC_UNIMPLEMENTED, "Dragonfly's scheduler cannot change a ttl");
		return c;
	}
	if (node_build_set_expiry(&s->embedded->node, task_id, in_ns, &c->request)) {
		call_free(c);
		return NULL;
	}
	return call_go(c, NULL);
}

struct sched_call *sched_holders(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_holders_fn fn, void *arg)
{
	struct sched_call *c =
		call_new(s, CALL_HOLDERS, METHOD_INVENTORY, task_id, timeout_ns, NULL, arg);

	if (!c)
		return NULL;
	c->holders_fn = fn;
	if (!s->embedded) {
		fail_later(c, RPC_UNIMPLEMENTED, "Dragonfly's scheduler does not tell the holders");
		return c;
	}
	if (node_build_ask(&s->embedded->node, task_id, &c->request)) {
		call_free(c);
		return NULL;
	}
	return call_go(c, NULL);
}

int sched_peers(const struct sched *s, struct sched_peer **out, size_t *n)
{
	const struct peers *all = s->embedded ? &s->embedded->node.peers : NULL;
	struct sched_peer *v;

	*out = NULL;
	*n = 0;
	if (!all)
		return 0;
	v = calloc(all->n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	snprintf(v->host_id, sizeof(v->host_id), "%s", s->host_id);
	v->addr = s->embedded->node.self;
	*n = 1;
	list_for_each (it, &all->links) {
		const struct peer_link *l = list_entry(it, struct peer_link, link);

		if (!l->is_live || l->is_alias)
			continue;
		snprintf(v[*n].host_id, sizeof(v->host_id), "%s", l->host_id);
		v[(*n)++].addr = l->addr;
	}
	*out = v;
	return 0;
}

struct sched_call *sched_list(struct sched *s, const struct sched_peer *p, const char *after,
	uint64_t timeout_ns, sched_page_fn fn, void *arg)
{
	Dfcachefiles__V1__OwnedRequest m = DFCACHEFILES__V1__OWNED_REQUEST__INIT;
	struct sched_call *c =
		call_new(s, CALL_PAGE, METHOD_INVENTORY_OWNED, after, timeout_ns, NULL, arg);
	struct sched_peer *copy = c ? malloc(sizeof(*copy)) : NULL;

	if (!copy) {
		if (c)
			call_free(c);
		return NULL;
	}
	*copy = *p;
	c->peer = copy;
	c->page_fn = fn;
	if (*after)
		m.after = (char *)after;
	return call_go(c, &m.base);
}

/* ---- all schedulers ---------------------------------------------------------------------- */

struct broadcast { /* one of the calls to all schedulers */
	struct list link;
	const char *what;
	char name[64];
};

static void on_broadcast_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct broadcast *b = arg;

	(void)r;
	if (status != RPC_OK && status != RPC_CANCELLED)
		LOG_LIMITED(LOG_WARNING, "announce: a scheduler did not take %s at=%s %s: %s",
			b->what, b->name, rpc_status_name(status), message);
	list_del(&b->link);
	free(b);
}

static const struct rpc_handlers broadcast_handlers = {.on_done = on_broadcast_done};

static void broadcast_to(struct sched *s, const struct sockaddr_storage *addr, const char *secret,
	const char *path, uint64_t timeout_ns, const void *p, size_t n)
{
	struct rpc_channel *ch =
		channels_get(s->channels, (const struct sockaddr *)addr, sizeof(*addr));
	struct broadcast *b = ch ? calloc(1, sizeof(*b)) : NULL;
	struct rpc_meta meta = {META_SELF, secret};
	struct rpc_request *r;
	char ip[ADDR_TEXT];
	uint16_t port;

	if (!b)
		return;
	addr_text(addr, ip, &port);
	snprintf(b->name, sizeof(b->name), "%.45s:%u", ip, port);
	b->what = strcmp(path, METHOD_SCHED_DELETE_HOST) != 0 ? "our report" : "our farewell";
	list_push(&s->broadcasts, &b->link);
	r = rpc_request_start(ch, path, &meta, secret ? 1 : 0, timeout_ns, &broadcast_handlers, b);
	if (!r) {
		list_del(&b->link);
		free(b);
		return;
	}
	if (rpc_request_send(r, p, n))
		rpc_request_cancel(r);
	else
		rpc_request_close_send(r);
}

void sched_announce_host(struct sched *s, const void *request, size_t n)
{
	if (!s->embedded) {
		for (size_t i = 0; i < s->n_schedulers; i++)
			broadcast_to(s, &s->schedulers[i].addr, NULL, METHOD_SCHED_ANNOUNCE_HOST,
				REPORT_SEC * SEC, request, n);
		return;
	}
	broadcast_to(s, &s->embedded->node.self,
		scheduler_secret_for(s->embedded, &s->embedded->node.self),
		METHOD_SCHED_ANNOUNCE_HOST, REPORT_SEC * SEC, request, n);
	list_for_each (it, &s->embedded->node.peers.links) {
		const struct peer_link *l = list_entry(it, struct peer_link, link);

		if (l->is_live)
			broadcast_to(s, &l->addr, NULL, METHOD_SCHED_ANNOUNCE_HOST,
				REPORT_SEC * SEC, request, n);
	}
}

struct sched_call *sched_delete_host(
	struct sched *s, uint64_t timeout_ns, sched_task_fn fn, void *arg)
{
	Scheduler__V2__DeleteHostRequest m = SCHEDULER__V2__DELETE_HOST_REQUEST__INIT;
	_cleanup_buf_ struct buf out = {0};
	struct rpc_channel *ch;
	struct sched_call *c =
		call_new(s, CALL_EMPTY, METHOD_SCHED_DELETE_HOST, "", timeout_ns, fn, arg);

	if (!c)
		return NULL;
	m.host_id = s->host_id;
	if (s->embedded || !s->n_schedulers || pbc_pack(&m.base, &out)) {
		fail_later(c, RPC_UNIMPLEMENTED, "no Dragonfly scheduler is configured");
		return c;
	}
	/* all but one without waiting for the answer */
	for (size_t i = 1; i < s->n_schedulers; i++)
		broadcast_to(s, &s->schedulers[i].addr, NULL, METHOD_SCHED_DELETE_HOST,
			LEAVE_SEC * SEC, out.data, out.len);
	ch = channels_get(s->channels, (struct sockaddr *)&s->schedulers[0].addr,
		sizeof(s->schedulers[0].addr));
	if (ch)
		c->rpc = rpc_unary(ch, c->path, out.data, out.len, timeout_ns, &handlers, c);
	if (!c->rpc)
		fail_later(c, RPC_UNAVAILABLE, "out of memory");
	return c;
}

/* ---- life -------------------------------------------------------------------------------- */

bool sched_is_told(const struct sched *s)
{
	return list_empty(&s->broadcasts);
}

void sched_reannounce(struct sched *s)
{
	if (s->on_schedulers)
		s->on_schedulers(s->on_schedulers_arg);
}

int sched_set_schedulers(struct sched *s, const struct ring_node *v, size_t n)
{
	struct ring_node *copy = calloc(n ? n : 1, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	if (n)
		memcpy(copy, v, n * sizeof(*v));
	free(s->schedulers);
	s->schedulers = copy;
	s->n_schedulers = n;
	if (n)
		sched_reannounce(s);
	return 0;
}

static void on_peer(void *arg)
{
	sched_reannounce(arg);
}

void sched_on_schedulers(struct sched *s, void (*fn)(void *arg), void *arg)
{
	s->on_schedulers = fn;
	s->on_schedulers_arg = arg;
}

int sched_new(struct sched **out, const struct sched_config *cfg)
{
	struct sched *s;

	if (!host_id_is_valid(cfg->host_id))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->loop = cfg->loop;
	s->channels = cfg->channels;
	s->embedded = cfg->embedded;
	snprintf(s->host_id, sizeof(s->host_id), "%s", cfg->host_id);
	s->ring = cfg->ring;
	s->patience_ns = loop_now(s->loop) + PATIENCE_SEC * SEC;
	list_init(&s->calls);
	list_init(&s->streams);
	list_init(&s->broadcasts);
	if (s->embedded) {
		s->embedded->on_peer = on_peer;
		s->embedded->on_peer_arg = s;
	}
	*out = s;
	return 0;
}

uint64_t sched_new_generation(struct sched *s)
{
	if (s->embedded)
		return node_new_generation(&s->embedded->node, loop_now(s->loop));
	return sched_wall_ns();
}

int sched_local_put(struct sched *s, const struct sched_local *l)
{
	static const Dfcachefiles__V1__TaskState states[] = {
		[SCHED_LOCAL_IMPORTING] = DFCACHEFILES__V1__TASK_STATE__IMPORTING,
		[SCHED_LOCAL_FETCHING] = DFCACHEFILES__V1__TASK_STATE__FETCHING,
		[SCHED_LOCAL_COMPLETE] = DFCACHEFILES__V1__TASK_STATE__COMPLETE,
	};
	uint64_t now = loop_now(s->loop);
	struct node_local n = {.id = l->id,
		.peer_id = l->peer_id,
		.tag = l->tag,
		.application = l->application,
		.version = {.generation = l->generation, .has_fingerprint = l->has_fingerprint},
		.length = l->length,
		.wanted = l->replicas_wanted,
		.expires_ns = l->expires_in_ns == UINT64_MAX ? REG_NEVER : now + l->expires_in_ns,
		.created_wall_ns = l->created_ns,
		.piece_length = l->piece_length,
		.n_pieces = l->n_pieces,
		.importer_uid = l->importer_uid,
		.state = states[l->state],
		.persistent = l->persistent,
		.is_kept = l->is_kept};
	int r;

	if (!s->embedded)
		return 0;
	memcpy(n.version.fingerprint, l->fingerprint, sizeof(n.version.fingerprint));
	r = node_local_put(&s->embedded->node, &n, now);
	scheduler_step(s->embedded);
	return r;
}

void sched_local_remove(struct sched *s, const char *id)
{
	if (!s->embedded)
		return;
	node_local_remove(&s->embedded->node, id);
	scheduler_step(s->embedded);
}

void sched_owner(const struct sched *s, const char *task_id, char out[HOST_ID_SIZE])
{
	struct sockaddr_storage addr;
	char ip[ADDR_TEXT];
	uint16_t port;
	bool is_self;

	if (s->embedded) {
		(void)scheduler_owner(s->embedded, task_id, &addr, out, &is_self);
	} else if (s->n_schedulers) {
		addr_text(
			&s->schedulers[ring_pick(s->schedulers, s->n_schedulers, s->ring, task_id)]
				 .addr,
			ip, &port);
		snprintf(out, HOST_ID_SIZE, strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
	} else {
		*out = 0;
	}
}

struct sched *sched_free(struct sched *s)
{
	if (!s)
		return NULL;
	list_for_each_safe (it, &s->calls) {
		struct sched_call *c = list_entry(it, struct sched_call, link);

		/* freed by its last callback, which finds it canceled */
		list_del(&c->link);
		sched_call_cancel(c);
	}
	sched_streams_drop(s);
	list_for_each_safe (it, &s->broadcasts) /* they end by themselves */
		list_del(it);
	if (s->embedded)
		s->embedded->on_peer = NULL;
	free(s->schedulers);
	free(s);
	return NULL;
}
