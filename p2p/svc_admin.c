/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every call walks the same line, and skips what it does not need:
 *   READ (the store's word) ─▶ ASK (the scheduler's) ─▶ MAY? ─▶ CHANGE ─▶ READ, ASK, HOLDERS ─▶ reply
 * A listing is READ (and ASK, if wanted) for each id of each page of the store; then, if wanted, READ
 * for each id of each page of what each peer schedules: what is not here is told too.
 */
#include "p2p/svc_admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachefilesd/api/store.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "common/rpc/pbc.h"
#include "p2p/access.h"
#include "p2p/api/dfcachefiles.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/attrs.h"
#include "p2p/local.h"
#include "p2p/reply.h"
#include "p2p/sched.h"
#include "p2p/status.h"

#define SECOND        UINT64_C(1000000000)
#define MSEC          UINT64_C(1000000)
#define SCHED_TIMEOUT (5 * SECOND)
#define MAX_HOLDERS   256
#define PAGE_BYTES    (32u << 10) /* of one message of a listing */

struct svc_admin {
	struct svc_admin_config c;
};

enum kind { LIST, INSPECT, REMOVE, PIN, SET_TTL };
enum step { READ, ASK, CHANGE, REREAD, REASK, HOLDERS };

struct seen { /* of one task, from both sides */
	struct store_info info;
	bool is_here, has_cluster;
	struct task_attrs attrs;
	uint64_t persistent, replicas, wanted;
	bool has_importer; /* the scheduler knows the uid */
	uid_t importer;
	char state[32], note[200];
};

struct admin {
	struct svc_admin *svc;
	struct rpc_call *call;
	enum kind kind;
	enum step step;
	char id[TASK_ID_SIZE];
	bool local_only, pinned, with_cluster;
	char *tag, *application; /* owned; filters of a listing */
	uint64_t ttl_ns;
	struct store_op op;
	bool op_busy;
	struct sched_call *sched;
	struct local_change *change;
	struct seen seen;
	struct sched_holder *holders; /* owned */
	size_t n_holders;
	uint64_t removed;
	/* a listing */
	char (*ids)[STORE_ID_MAX + 1]; /* of the page; owned */
	size_t n_ids, next_id;
	uint64_t cursor;
	struct buf page;
	/* of the peers, once all that is here was listed */
	bool is_elsewhere;
	struct sched_peer *peers; /* owned */
	size_t n_peers, next_peer;
	struct sched_page *owned; /* what the peer schedules */
};

static void go(struct admin *a);
static void list_next(struct admin *a);

static void settle(struct admin *a)
{
	if (a->call || a->op_busy)
		return;
	free(a->tag);
	free(a->application);
	free(a->holders);
	free(a->ids);
	free(a->peers);
	sched_page_free(a->owned);
	buf_fini(&a->page);
	free(a);
}

static void finish(struct admin *a, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void finish(struct admin *a, int status, const char *fmt, ...)
{
	char text[STATUS_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rpc_call_finish(a->call, status, "%s", text);
}

/* ---- a task as a message ----------------------------------------------------------------------- */

static const char *state_here(const struct seen *s)
{
	if (!s->is_here)
		return "absent";
	switch (s->info.state) {
	case STORE_PARTIAL:
		return "partial";
	case STORE_COMPLETE:
		return "complete";
	case STORE_EXPIRED:
		return "expired";
	}
	return "absent";
}

static void fill_task(struct admin *a, Dfcachefiles__V1__Task *m, char owner[HOST_ID_SIZE])
{
	struct seen *s = &a->seen;

	dfcachefiles__v1__task__init(m);
	m->id = a->id;
	m->state = (char *)state_here(s);
	m->task_state = s->state;
	m->content_length = s->info.length;
	m->piece_length = s->info.piece_length;
	m->piece_count = s->info.n_pieces;
	m->pieces_present = s->is_here ? s->info.n_present : 0;
	m->bytes_on_disk = s->info.bytes_on_disk;
	m->tag = (char *)attrs_tag(&s->attrs);
	m->application = (char *)attrs_application(&s->attrs);
	m->has_uid = s->is_here || s->has_importer;
	m->uid = s->is_here ? s->info.uid : s->importer;
	m->pinned = s->info.pinned;
	m->leased = s->info.leased;
	m->created_ns = s->attrs.created_ns ? s->attrs.created_ns : s->info.created_ns;
	m->used_ns = s->info.used_ns;
	m->expires_ns = s->info.expires_ns;
	m->generation = s->info.generation;
	if (s->is_here && s->info.state == STORE_COMPLETE) {
		m->has_fingerprint = true;
		m->fingerprint.data = s->info.fingerprint;
		m->fingerprint.len = sizeof(s->info.fingerprint);
	}
	m->wanted_replicas = s->has_cluster ? s->wanted : s->attrs.replicas_wanted;
	m->has_persistent_replicas = m->has_replicas = s->has_cluster;
	m->persistent_replicas = s->persistent;
	m->replicas = s->replicas;
	sched_owner(a->svc->c.sched, a->id, owner);
	m->owner = owner;
	m->note = s->note;
}

struct holder_text {
	char ip[INET6_ADDRSTRLEN];
};

static void fill_holder(Dfcachefiles__V1__Holder *h, struct holder_text *t, struct sched_holder *s)
{
	const struct sockaddr_in *v4 = (const void *)&s->addr;
	const struct sockaddr_in6 *v6 = (const void *)&s->addr;

	dfcachefiles__v1__holder__init(h);
	*t->ip = 0;
	if (s->addr.ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, t->ip, sizeof(t->ip));
		h->port = ntohs(v4->sin_port);
	} else if (s->addr.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, t->ip, sizeof(t->ip));
		h->port = ntohs(v6->sin6_port);
	}
	h->host_id = s->host_id;
	h->ip = t->ip;
	/* a host id is "<ip>-<host name>" */
	if (*t->ip && !strncmp(s->host_id, t->ip, strlen(t->ip)) &&
		s->host_id[strlen(t->ip)] == '-')
		h->hostname = s->host_id + strlen(t->ip) + 1;
	h->peer_id = s->peer_id;
	h->persistent = s->persistent;
	h->has_state = true;
	h->state = s->is_complete ? DFCACHEFILES__V1__TASK_STATE__COMPLETE
				  : DFCACHEFILES__V1__TASK_STATE__FETCHING;
	h->is_local = s->is_local;
}

static void reply_seen(struct admin *a)
{
	Dfcachefiles__V1__Task m;
	_cleanup_free_ Dfcachefiles__V1__Holder *h = calloc(a->n_holders + 1, sizeof(*h));
	_cleanup_free_ Dfcachefiles__V1__Holder **v = calloc(a->n_holders + 1, sizeof(*v));
	_cleanup_free_ struct holder_text *t = calloc(a->n_holders + 1, sizeof(*t));
	char owner[HOST_ID_SIZE];

	if (!h || !v || !t) {
		finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	fill_task(a, &m, owner);
	for (size_t i = 0; i < a->n_holders; i++) {
		fill_holder(&h[i], &t[i], &a->holders[i]);
		v[i] = &h[i];
	}
	m.n_holders = a->n_holders;
	m.holders = v;
	reply_message(a->call, &m.base);
}

/* ---- asking both sides ------------------------------------------------------------------------- */

static void on_read(struct store_op *op, const struct store_reply *r)
{
	struct admin *a = container_of(op, struct admin, op);
	struct seen *s = &a->seen;

	a->op_busy = false;
	if (!a->call) {
		settle(a);
		return;
	}
	memset(s, 0, sizeof(*s));
	if (r->status == STORE_OK) {
		s->is_here = true;
		s->info = r->info;
		if (attrs_parse(r->attrs, r->attrs_len, &s->attrs) < 0)
			snprintf(s->note, sizeof(s->note), "its attributes cannot be read");
	} else if (r->status != STORE_NOT_FOUND) {
		if (a->kind != LIST) {
			finish(a, status_from_store(r->status), "%s", r->message);
			return;
		}
		snprintf(s->note, sizeof(s->note), "the store says: %.150s", r->message);
	}
	a->step++;
	go(a);
}

static void read_store(struct admin *a)
{
	a->op.fn = on_read;
	a->op_busy = true;
	store_stat(a->svc->c.store, &a->op, a->id);
}

/* see_cluster - the scheduler's word; of what is not here it is all there is */
static void see_cluster(struct seen *s, const struct sched_task *t)
{
	s->has_cluster = true;
	s->persistent = t->replicas_persistent;
	s->replicas = t->replicas_all;
	s->wanted = t->replicas_wanted;
	s->has_importer = t->has_fingerprint;
	s->importer = t->importer_uid;
	snprintf(s->state, sizeof(s->state), "%s", t->state ? t->state : "");
	if (s->is_here)
		return;
	s->info.length = t->length;
	s->info.piece_length = t->piece_length;
	s->info.n_pieces = t->n_pieces;
	s->info.generation = t->generation;
	s->info.expires_ns = local_expires_at(t->expires_in_ns);
	s->attrs.created_ns = t->created_ns > 0 ? (uint64_t)t->created_ns : 0;
	attrs_set_tag(&s->attrs, t->tag);
	attrs_set_application(&s->attrs, t->application);
}

static void on_asked(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct admin *a = arg;
	struct seen *s = &a->seen;

	a->sched = NULL;
	if (status == RPC_OK && t) {
		see_cluster(s, t);
	} else if (!s->is_here && a->kind != LIST) {
		finish(a, status == RPC_OK ? RPC_INTERNAL : status, "%s", message);
		return;
	} else if (status == RPC_NOT_FOUND) {
		snprintf(s->note, sizeof(s->note), "the scheduler does not know this task");
	} else {
		snprintf(
			s->note, sizeof(s->note), "the scheduler cannot be asked: %.150s", message);
	}
	a->step++;
	go(a);
}

static void ask_scheduler(struct admin *a)
{
	a->sched = sched_stat_task(a->svc->c.sched, a->id, SCHED_TIMEOUT, on_asked, a);
	if (!a->sched)
		finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void on_holders(
	void *arg, int status, const char *message, const struct sched_holder *h, size_t n)
{
	struct admin *a = arg;

	a->sched = NULL;
	if (status == RPC_OK && n) {
		if (n > MAX_HOLDERS)
			n = MAX_HOLDERS;
		a->holders = calloc(n, sizeof(*h));
		if (a->holders) {
			memcpy(a->holders, h, n * sizeof(*h));
			a->n_holders = n;
		}
	} else if (status != RPC_OK && status != RPC_UNIMPLEMENTED && !*a->seen.note) {
		snprintf(a->seen.note, sizeof(a->seen.note), "the holders are not known: %.150s",
			message);
	}
	reply_seen(a);
}

static void ask_holders(struct admin *a)
{
	a->sched = sched_holders(a->svc->c.sched, a->id, SCHED_TIMEOUT, on_holders, a);
	if (!a->sched)
		reply_seen(a);
}

/* ---- changes ----------------------------------------------------------------------------------- */

static bool may_change(struct admin *a)
{
	const struct rpc_peer *p = rpc_call_peer(a->call);
	const struct seen *s = &a->seen;
	gid_t gid = a->svc->c.admin_gid;
	bool ok;

	if (s->is_here)
		ok = access_may_change(p, s->info.uid, gid);
	else if (s->has_importer)
		ok = access_may_change(p, s->importer, gid);
	else
		ok = access_is_admin(p, gid);
	if (!ok)
		finish(a, RPC_PERMISSION_DENIED,
			"task %s was imported by another user: only its importer, root and the "
			"admin group may change it",
			a->id);
	return ok;
}

static void on_changed(void *arg, const struct outcome *why)
{
	struct admin *a = arg;

	a->change = NULL;
	if (why->status != RPC_OK) {
		finish(a, why->status, "%s", why->text);
		return;
	}
	a->step++;
	go(a);
}

static void changing(struct admin *a, struct local_change *c)
{
	a->change = c;
	if (!c)
		finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void reply_removed(struct admin *a, const char *note)
{
	Dfcachefiles__V1__RemoveResponse m = DFCACHEFILES__V1__REMOVE_RESPONSE__INIT;

	m.removed = a->removed;
	m.note = (char *)note;
	reply_message(a->call, &m.base);
}

static void on_removed_here(void *arg, const struct outcome *why)
{
	struct admin *a = arg;

	a->change = NULL;
	if (why->status == RPC_OK)
		a->removed++;
	else if (why->status != RPC_NOT_FOUND) {
		finish(a, why->status, "%s", why->text);
		return;
	}
	reply_removed(a,
		a->local_only && a->seen.replicas > a->removed ? "other nodes still have it" : "");
}

static void on_removed(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct admin *a = arg;

	a->sched = NULL;
	if (status != RPC_OK && !(status == RPC_NOT_FOUND && a->seen.is_here)) {
		finish(a, status, "%s", message);
		return;
	}
	/* The scheduler sends everybody the order, us too; ours is not waited for but done. */
	a->removed = a->seen.replicas;
	if (!a->seen.is_here) {
		reply_removed(a, "");
		return;
	}
	if (a->removed)
		a->removed--; /* the one here is counted when it is gone */
	changing(a, local_delete(a->svc->c.local, a->id, "removed by a user", on_removed_here, a));
}

static void on_expiry_set(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct admin *a = arg;

	a->sched = NULL;
	if ((status == RPC_OK || status == RPC_UNIMPLEMENTED) && a->seen.is_here) {
		/* Dragonfly's schedulers have no such call: the copy here is what can be changed. Our
		 * own orders it for all holders; ours is done now, so that the answer shows it. */
		changing(a, local_expire(a->svc->c.local, a->id, local_expires_at(a->ttl_ns),
				    on_changed, a));
		return;
	}
	if (status != RPC_OK) {
		finish(a, status, "%s", message);
		return;
	}
	a->step++;
	go(a);
}

static void change(struct admin *a)
{
	struct svc_admin_config *c = &a->svc->c;

	if (!may_change(a))
		return;
	switch (a->kind) {
	case PIN:
		if (!a->seen.is_here) {
			finish(a, RPC_FAILED_PRECONDITION,
				"task %s has no copy on this node: export it here first", a->id);
			return;
		}
		changing(a, local_keep(c->local, a->id, a->pinned, on_changed, a));
		return;
	case SET_TTL:
		a->sched = sched_set_expiry(
			c->sched, a->id, a->ttl_ns, SCHED_TIMEOUT, on_expiry_set, a);
		break;
	case REMOVE:
		if (a->local_only) {
			changing(a, local_delete(c->local, a->id, "removed by a user",
					    on_removed_here, a));
			return;
		}
		a->sched = sched_delete_task(c->sched, a->id, SCHED_TIMEOUT, on_removed, a);
		break;
	case LIST:
	case INSPECT:
		break;
	}
	if (!a->sched)
		finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

/* ---- a listing --------------------------------------------------------------------------------- */

static void on_page(struct store_op *op, const struct store_reply *r)
{
	struct admin *a = container_of(op, struct admin, op);

	a->op_busy = false;
	if (!a->call) {
		settle(a);
		return;
	}
	if (r->status != STORE_OK) {
		finish(a, status_from_store(r->status), "%s", r->message);
		return;
	}
	free(a->ids);
	a->ids = calloc(r->n_entries + 1, sizeof(*a->ids));
	if (!a->ids) {
		finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	a->n_ids = a->next_id = 0;
	for (size_t i = 0; i < r->n_entries; i++)
		if (*r->entries[i].id && !r->entries[i].deleted)
			memcpy(a->ids[a->n_ids++], r->entries[i].id, sizeof(*a->ids));
	a->cursor = r->cursor;
	list_next(a);
}

static void read_page(struct admin *a)
{
	a->op.fn = on_page;
	a->op_busy = true;
	store_list(a->svc->c.store, &a->op, a->cursor);
}

static bool is_listed(const struct admin *a)
{
	const char *tag = attrs_tag(&a->seen.attrs),
		   *application = attrs_application(&a->seen.attrs);

	/* removed since the page was read; or here, and listed before */
	if (a->seen.is_here == a->is_elsewhere)
		return false;
	if (a->tag && (!tag || strcmp(tag, a->tag) != 0))
		return false;
	return !a->application || (application && !strcmp(application, a->application));
}

/* one more task for the message that is being filled; list_next() sends it when it is long enough */
static void list_add(struct admin *a)
{
	Dfcachefiles__V1__ListResponse one = DFCACHEFILES__V1__LIST_RESPONSE__INIT;
	Dfcachefiles__V1__Task m, *v = &m;
	char owner[HOST_ID_SIZE];

	if (a->is_elsewhere)
		see_cluster(&a->seen, &a->owned->tasks[a->next_id - 1]);
	if (is_listed(a)) {
		fill_task(a, &m, owner);
		one.n_tasks = 1;
		one.tasks = &v;
		if (pbc_pack(&one.base, &a->page) < 0 || !buf_ok(&a->page)) {
			finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
			return;
		}
	}
	list_next(a);
}

static void add_note(struct admin *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_note(struct admin *a, const char *fmt, ...)
{
	Dfcachefiles__V1__ListResponse one = DFCACHEFILES__V1__LIST_RESPONSE__INIT;
	char text[STATUS_TEXT], *v = text;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	one.n_notes = 1;
	one.notes = &v;
	(void)pbc_pack(&one.base, &a->page); /* list_add() and list_next() see what became of it */
}

static void on_owned(void *arg, int status, const char *message, struct sched_page *page)
{
	struct admin *a = arg;

	a->sched = NULL;
	a->owned = sched_page_free(a->owned);
	a->n_ids = a->next_id = 0;
	if (page) {
		a->owned = page;
		a->n_ids = page->n;
	} else {
		add_note(a, "what %s schedules is missing: %s", a->peers[a->next_peer].host_id,
			message);
	}
	if (!page || page->is_last)
		a->next_peer++;
	list_next(a);
}

/* read_owned - the next page of what the peers schedule */
static void read_owned(struct admin *a)
{
	bool goes_on = a->owned && !a->owned->is_last;

	a->sched = sched_list(a->svc->c.sched, &a->peers[a->next_peer],
		goes_on ? a->owned->last : "", SCHED_TIMEOUT, on_owned, a);
	if (!a->sched)
		finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

/* all that is here was listed */
static bool begin_elsewhere(struct admin *a)
{
	a->is_elsewhere = true;
	a->n_ids = a->next_id = 0;
	if (sched_peers(a->svc->c.sched, &a->peers, &a->n_peers) < 0) {
		finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return false;
	}
	if (!a->n_peers)
		add_note(a, "Dragonfly's schedulers do not list their tasks: these are those of "
			    "this node");
	return true;
}

static void list_next(struct admin *a)
{
	bool is_last;

	if (a->next_id == a->n_ids && !a->cursor && a->with_cluster && !a->is_elsewhere &&
		!begin_elsewhere(a))
		return;
	is_last = a->next_id == a->n_ids && !a->cursor && a->next_peer == a->n_peers;
	if (a->page.len && (a->page.len > PAGE_BYTES || is_last)) {
		if (rpc_call_queued(a->call) > PAGE_BYTES && !is_last)
			return; /* goes on when it has drained */
		if (rpc_call_send(a->call, a->page.data, a->page.len) < 0) {
			finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
			return;
		}
		buf_consume(&a->page, a->page.len);
	}
	if (is_last) {
		finish(a, RPC_OK, "%s", "");
	} else if (a->next_id == a->n_ids && a->is_elsewhere) {
		read_owned(a);
	} else if (a->next_id == a->n_ids) {
		read_page(a);
	} else {
		snprintf(a->id, sizeof(a->id), "%s",
			a->is_elsewhere ? a->owned->tasks[a->next_id].id : a->ids[a->next_id]);
		a->next_id++;
		a->step = READ;
		read_store(a);
	}
}

/* ---- the line ---------------------------------------------------------------------------------- */

static void go(struct admin *a)
{
	switch (a->step) {
	case READ:
	case REREAD:
		read_store(a);
		return;
	case ASK:
		if (a->kind != LIST || (a->with_cluster && !a->is_elsewhere && is_listed(a))) {
			ask_scheduler(a);
			return;
		}
		list_add(a);
		return;
	case CHANGE:
		if (a->kind == LIST)
			list_add(a);
		else if (a->kind == INSPECT)
			ask_holders(a);
		else
			change(a);
		return;
	case REASK:
		ask_scheduler(a);
		return;
	case HOLDERS:
		ask_holders(a);
		return;
	}
}

static struct admin *new_call(struct rpc_call *call, void *service, enum kind kind)
{
	struct admin *a = calloc(1, sizeof(*a));

	if (!a) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	a->svc = service;
	a->call = call;
	a->kind = kind;
	rpc_call_set_data(call, a);
	return a;
}

static void begin(struct admin *a, const char *id)
{
	if (!id || !task_id_is_valid(id)) {
		finish(a, RPC_INVALID_ARGUMENT,
			"the task id is not valid: 1 to 64 of letters, digits, '.', '_', '-'");
		return;
	}
	snprintf(a->id, sizeof(a->id), "%s", id);
	a->step = READ;
	go(a);
}

static void list_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfcachefiles__V1__ListRequest *m =
		pbc_unpack(&dfcachefiles__v1__list_request__descriptor, p, n);
	struct admin *a = m ? new_call(call, service, LIST) : NULL;

	if (!m) {
		reply_undecodable(call);
		return;
	}
	if (a) {
		a->with_cluster = m->with_cluster;
		a->tag = m->tag ? strdup(m->tag) : NULL;
		a->application = m->application ? strdup(m->application) : NULL;
		if ((m->tag && !a->tag) || (m->application && !a->application)) {
			finish(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
		} else {
			rpc_call_send_headers(call);
			read_page(a);
		}
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void list_drain(struct rpc_call *call, void *service)
{
	struct admin *a = rpc_call_data(call);

	if (a && !a->op_busy && !a->sched && a->page.len > PAGE_BYTES)
		list_next(a);
}

static void inspect_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfcachefiles__V1__InspectRequest *m =
		pbc_unpack(&dfcachefiles__v1__inspect_request__descriptor, p, n);
	struct admin *a = m ? new_call(call, service, INSPECT) : NULL;

	if (!m)
		reply_undecodable(call);
	if (a)
		begin(a, m->id);
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void remove_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfcachefiles__V1__RemoveRequest *m =
		pbc_unpack(&dfcachefiles__v1__remove_request__descriptor, p, n);
	struct admin *a = m ? new_call(call, service, REMOVE) : NULL;

	if (!m)
		reply_undecodable(call);
	if (a) {
		a->local_only = m->local_only;
		begin(a, m->id);
	}
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void pin_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfcachefiles__V1__PinRequest *m =
		pbc_unpack(&dfcachefiles__v1__pin_request__descriptor, p, n);
	struct admin *a = m ? new_call(call, service, PIN) : NULL;

	if (!m)
		reply_undecodable(call);
	if (a) {
		a->pinned = m->pinned;
		begin(a, m->id);
	}
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void ttl_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfcachefiles__V1__SetTtlRequest *m =
		pbc_unpack(&dfcachefiles__v1__set_ttl_request__descriptor, p, n);
	struct admin *a = m ? new_call(call, service, SET_TTL) : NULL;
	struct svc_admin *svc = service;
	char lo[NUM_TEXT], hi[NUM_TEXT];

	if (!m)
		reply_undecodable(call);
	if (a && (!m->has_ttl_ms || __builtin_mul_overflow(m->ttl_ms, MSEC, &a->ttl_ns) ||
			 a->ttl_ns < svc->c.min_ttl_ns ||
			 (svc->c.max_ttl_ns && a->ttl_ns > svc->c.max_ttl_ns))) {
		num_format_duration(svc->c.min_ttl_ns, lo, sizeof(lo));
		num_format_duration(
			svc->c.max_ttl_ns ? svc->c.max_ttl_ns : UINT64_MAX, hi, sizeof(hi));
		finish(a, RPC_INVALID_ARGUMENT, "ttl must be between %s and %s", lo, hi);
	} else if (a) {
		begin(a, m->id);
	}
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void admin_end(struct rpc_call *call, void *service, bool finished)
{
	struct admin *a = rpc_call_data(call);

	if (!a)
		return;
	if (a->sched)
		sched_call_cancel(a->sched);
	a->sched = NULL;
	if (a->change)
		local_change_forget(a->change);
	a->change = NULL;
	a->call = NULL;
	settle(a);
}

#define REQUEST_MAX (64u << 10)

static const struct rpc_method methods[] = {
	{
		.path = METHOD_LOCAL_LIST,
		.max_request_bytes = REQUEST_MAX,
		.on_message = list_message,
		.on_drain = list_drain,
		.on_end = admin_end,
	},
	{
		.path = METHOD_LOCAL_INSPECT,
		.max_request_bytes = REQUEST_MAX,
		.on_message = inspect_message,
		.on_end = admin_end,
	},
	{
		.path = METHOD_LOCAL_REMOVE,
		.max_request_bytes = REQUEST_MAX,
		.on_message = remove_message,
		.on_end = admin_end,
	},
	{
		.path = METHOD_LOCAL_PIN,
		.max_request_bytes = REQUEST_MAX,
		.on_message = pin_message,
		.on_end = admin_end,
	},
	{
		.path = METHOD_LOCAL_SET_TTL,
		.max_request_bytes = REQUEST_MAX,
		.on_message = ttl_message,
		.on_end = admin_end,
	},
};

int svc_admin_new(struct svc_admin **out, const struct svc_admin_config *cfg)
{
	struct svc_admin *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->c = *cfg;
	*out = s;
	return 0;
}

struct rpc_service svc_admin_service(struct svc_admin *s)
{
	return (struct rpc_service){methods, ARRAY_SIZE(methods), s};
}

void svc_admin_set_limits(struct svc_admin *s, uint64_t min_ttl_ns, uint64_t max_ttl_ns)
{
	s->c.min_ttl_ns = min_ttl_ns;
	s->c.max_ttl_ns = max_ttl_ns;
}

struct svc_admin *svc_admin_free(struct svc_admin *s)
{
	free(s);
	return NULL;
}
