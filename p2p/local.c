/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One listing at a time: pages of `list`, then a `stat` for each copy that is new or changed (the
 * attributes are not in the list), then what was known and not seen is taken back. A copy that
 * changes by our own hand is read again the same way, so there is one path from the store to the
 * scheduler.
 */
#include "p2p/local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "p2p/tasks.h"

#define SECOND       UINT64_C(1000000000)
#define PERIOD       (30 * SECOND)
#define SOON         (1 * SECOND)
#define BUSY_RETRY   (200 * (SECOND / 1000))
#define BUSY_RETRIES 25

struct copy {
	struct map_node node;
	char id[TASK_ID_SIZE];
	uint64_t generation, expires_ns;
	bool pinned, is_complete;
	bool is_told; /* to the scheduler, as it is now */
	uint32_t pass; /* of the listing that saw it last */
	struct list link; /* waiting for its stat */
};

struct local {
	struct loop *loop;
	struct store_client *store;
	struct tasks *tasks;
	struct sched *sched;
	struct map copies;
	struct list to_read;
	struct store_op list_op, stat_op, hello_op;
	bool list_busy, stat_busy, hello_busy, is_closing;
	char reading[TASK_ID_SIZE]; /* the id of the stat under way */
	struct loop_op timer;
	uint64_t timer_at;
	uint32_t pass;
	struct list changes;
	void (*on_space)(void *arg, uint64_t total, uint64_t available);
	void *space_arg;
};

struct local_change {
	struct local *lc;
	struct list link;
	struct store_op op;
	struct loop_op timer; /* retry of a deletion that found the task in use */
	unsigned n_retries;
	enum {
		CHANGE_DELETE,
		CHANGE_PIN,
		CHANGE_EXPIRE,
		CHANGE_PROLONG,
		CHANGE_KEEP_STAT,
		CHANGE_KEEP,
		CHANGE_DROP_STAT,
		CHANGE_DROP
	} kind;
	char id[TASK_ID_SIZE];
	char why[200];
	bool pin;
	uint64_t expires_ns, generation;
	local_change_fn fn;
	void *arg;
};

static void read_next(struct local *lc);

uint64_t local_wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

uint64_t local_expires_in(uint64_t expires_ns)
{
	uint64_t now = local_wall_ns();

	if (!expires_ns)
		return UINT64_MAX;
	return expires_ns > now ? expires_ns - now : 0;
}

uint64_t local_expires_at(uint64_t in_ns)
{
	uint64_t now = local_wall_ns(), at;

	if (in_ns == UINT64_MAX || __builtin_add_overflow(now, in_ns, &at))
		return 0;
	return at;
}

/* ---- what is known ------------------------------------------------------------------------- */

static struct copy *find_copy(struct local *lc, const char *id)
{
	struct map_node *n = map_find(&lc->copies, id, strlen(id));

	return n ? container_of(n, struct copy, node) : NULL;
}

static struct copy *make_copy(struct local *lc, const char *id)
{
	struct copy *c = find_copy(lc, id);

	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	snprintf(c->id, sizeof(c->id), "%s", id);
	list_init(&c->link);
	if (map_insert(&lc->copies, &c->node, c->id, strlen(c->id)) < 0) {
		free(c);
		return NULL;
	}
	c->pass = lc->pass;
	return c;
}

static void drop_copy(struct local *lc, struct copy *c)
{
	if (c->is_told)
		sched_local_remove(lc->sched, c->id);
	map_remove(&lc->copies, &c->node);
	list_del(&c->link);
	free(c);
}

static void want_read(struct local *lc, struct copy *c)
{
	if (!list_is_linked(&c->link))
		list_push(&lc->to_read, &c->link);
}

void local_told(struct local *lc, const struct sched_local *l)
{
	struct copy *c = make_copy(lc, l->id);

	if (c) {
		c->generation = l->generation;
		c->expires_ns = local_expires_at(l->expires_in_ns);
		c->pinned = l->persistent;
		c->is_complete = l->state == SCHED_LOCAL_COMPLETE;
		c->is_told = true;
		c->pass = lc->pass + 1; /* newer than the listing under way */
	}
	if (sched_local_put(lc->sched, l) < 0)
		log_warning("local: the scheduler was not told of a copy id=%s", l->id);
}

void local_gone(struct local *lc, const char *id)
{
	struct copy *c = find_copy(lc, id);

	if (c)
		drop_copy(lc, c);
}

size_t local_n_tasks(const struct local *lc)
{
	return lc->copies.n;
}

/* ---- reading the store --------------------------------------------------------------------- */

static void on_stat(struct store_op *op, const struct store_reply *r)
{
	struct local *lc = container_of(op, struct local, stat_op);
	struct copy *c = find_copy(lc, lc->reading);
	struct task_attrs *a;

	lc->stat_busy = false;
	if (lc->is_closing)
		return;
	if (!c || r->status == STORE_LOST || r->status == STORE_TIMEOUT) {
		read_next(lc); /* a lost session lists again when it is back */
		return;
	}
	a = r->status == STORE_OK ? calloc(1, sizeof(*a)) : NULL;
	if (r->status != STORE_OK) {
		drop_copy(lc, c);
	} else if (a && r->info.state == STORE_COMPLETE &&
		   attrs_parse(r->attrs, r->attrs_len, a) == 0) {
		struct sched_local l = {
			.id = c->id,
			.peer_id = a->peer_id,
			.tag = attrs_tag(a),
			.application = attrs_application(a),
			.generation = r->info.generation,
			.length = r->info.length,
			.replicas_wanted = a->replicas_wanted,
			.piece_length = r->info.piece_length,
			.n_pieces = r->info.n_pieces,
			.importer_uid = r->info.uid,
			.has_fingerprint = true,
			.expires_in_ns = local_expires_in(r->info.expires_ns),
			.created_ns = a->created_ns,
			.state = SCHED_LOCAL_COMPLETE,
			.persistent = r->info.pinned,
			.is_kept = r->info.pinned && a->kept,
		};

		memcpy(l.fingerprint, r->info.fingerprint, sizeof(l.fingerprint));
		local_told(lc, &l);
		c->expires_ns = r->info.expires_ns;
	}
	free(a);
	read_next(lc);
}

static void read_next(struct local *lc)
{
	struct list *n;
	struct copy *c;

	if (lc->stat_busy || lc->is_closing || !(n = list_pop(&lc->to_read)))
		return;
	c = list_entry(n, struct copy, link);
	snprintf(lc->reading, sizeof(lc->reading), "%s", c->id);
	lc->stat_busy = true;
	store_stat(lc->store, &lc->stat_op, lc->reading);
}

static void arm(struct local *lc, uint64_t in_ns)
{
	uint64_t at = loop_now(lc->loop) + in_ns;

	if (lc->is_closing)
		return;
	if (!loop_op_is_active(&lc->timer)) {
		lc->timer_at = at;
		loop_timer(lc->loop, &lc->timer, at);
	} else if (at < lc->timer_at) {
		lc->timer_at = at; /* on_timer arms it again */
		loop_cancel(lc->loop, &lc->timer);
	}
}

static void end_listing(struct local *lc)
{
	struct map_node *n, *next;

	for (n = map_next(&lc->copies, NULL); n; n = next) {
		struct copy *c = container_of(n, struct copy, node);

		next = map_next(&lc->copies, n);
		if (c->is_complete && (int32_t)(c->pass - lc->pass) < 0)
			drop_copy(lc, c);
	}
	arm(lc, PERIOD);
}

static void on_list(struct store_op *op, const struct store_reply *r)
{
	struct local *lc = container_of(op, struct local, list_op);

	lc->list_busy = false;
	if (lc->is_closing)
		return;
	if (r->status != STORE_OK) {
		if (r->status != STORE_LOST)
			log_warning("local: the store cannot be listed why=\"%s\"", r->message);
		arm(lc, PERIOD);
		return;
	}
	for (size_t i = 0; i < r->n_entries; i++) {
		const struct store_info *e = &r->entries[i];
		struct copy *c;

		if (e->state != STORE_COMPLETE || !*e->id || e->deleted)
			continue;
		c = make_copy(lc, e->id);
		if (!c)
			continue;
		if ((int32_t)(c->pass - lc->pass) < 0)
			c->pass = lc->pass;
		if (!c->is_told || !c->is_complete || c->generation != e->generation ||
			c->expires_ns != e->expires_ns || c->pinned != e->pinned) {
			c->is_complete = true;
			want_read(lc, c);
		}
	}
	read_next(lc);
	if (r->cursor) {
		lc->list_busy = true;
		store_list(lc->store, &lc->list_op, r->cursor);
		return;
	}
	end_listing(lc);
}

static void on_hello(struct store_op *op, const struct store_reply *r)
{
	struct local *lc = container_of(op, struct local, hello_op);

	lc->hello_busy = false;
	if (r->status == STORE_OK && lc->on_space && !lc->is_closing)
		lc->on_space(lc->space_arg, r->total_bytes,
			r->free_bytes > r->cull_bytes ? r->free_bytes - r->cull_bytes : 0);
}

static void begin_listing(struct local *lc)
{
	if (lc->is_closing || !store_client_is_ready(lc->store))
		return;
	if (!lc->hello_busy) {
		lc->hello_busy = true;
		store_hello(lc->store, &lc->hello_op);
	}
	if (lc->list_busy)
		return;
	lc->list_busy = true;
	lc->pass++;
	store_list(lc->store, &lc->list_op, 0);
}

static void on_timer(struct loop_op *op, int res)
{
	struct local *lc = container_of(op, struct local, timer);
	uint64_t now = loop_now(lc->loop);

	if (lc->is_closing)
		return;
	if (now < lc->timer_at)
		loop_timer(lc->loop, &lc->timer, lc->timer_at);
	else
		begin_listing(lc);
}

void local_on_store_event(struct local *lc, enum store_event e)
{
	if (e == STORE_EVENT_READY)
		begin_listing(lc);
	else if (e == STORE_EVENT_CULLED)
		arm(lc, SOON);
}

/* ---- changes ------------------------------------------------------------------------------- */

static void on_change(struct store_op *op, const struct store_reply *r);

static void change_free(struct local_change *c)
{
	list_del(&c->link);
	free(c);
}

static void on_change_timer(struct loop_op *op, int res)
{
	struct local_change *c = container_of(op, struct local_change, timer);

	store_delete(c->lc->store, &c->op, c->id);
}

static struct local_change *new_change(
	struct local *lc, int kind, const char *id, local_change_fn fn, void *arg)
{
	struct local_change *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->lc = lc;
	c->kind = kind;
	snprintf(c->id, sizeof(c->id), "%s", id);
	c->fn = fn;
	c->arg = arg;
	c->op.fn = on_change;
	loop_op_init(&c->timer, on_change_timer);
	list_init(&c->link);
	list_push(&lc->changes, &c->link);
	return c;
}

static void start_delete(struct local_change *c)
{
	struct outcome why;

	outcome_set(&why, RPC_NOT_FOUND, "task %s was deleted", c->id);
	tasks_forget(c->lc->tasks, c->id, &why);
	store_delete(c->lc->store, &c->op, c->id);
}

/* keep - note the user's wish in the attributes; the pin follows */
static bool keep(struct local_change *c, const struct store_reply *r)
{
	struct task_attrs *a = calloc(1, sizeof(*a));
	uint8_t bytes[ATTRS_ENCODED_MAX];

	if (!a || attrs_parse(r->attrs, r->attrs_len, a) < 0) {
		free(a);
		return false;
	}
	a->kept = c->pin;
	c->kind = CHANGE_KEEP;
	store_set_attrs(c->lc->store, &c->op, c->id, bytes, attrs_encode(a, bytes));
	free(a);
	return true;
}

/* A copy that must go is still there, because the store was away or somebody reads it: the next listing
 * tells it again, and then it is judged again. */
static void drop_later(struct local *lc, const char *id)
{
	struct copy *copy = find_copy(lc, id);

	if (copy)
		copy->is_told = false;
	arm(lc, SOON);
}

static void on_change(struct store_op *op, const struct store_reply *r)
{
	struct local_change *c = container_of(op, struct local_change, op);
	struct local *lc = c->lc;
	struct outcome why = {.status = RPC_OK};
	struct copy *copy;

	if (c->kind == CHANGE_PROLONG && r->status == STORE_OK && r->info.expires_ns &&
		(!c->expires_ns || c->expires_ns > r->info.expires_ns)) {
		c->kind = CHANGE_EXPIRE;
		store_extend(lc->store, &c->op, c->id, c->expires_ns);
		return;
	}
	if (c->kind == CHANGE_KEEP_STAT && r->status == STORE_OK) {
		if (keep(c, r))
			return;
		outcome_set(&why, RPC_DATA_LOSS, "the attributes of task %s cannot be read", c->id);
	}
	if (c->kind == CHANGE_KEEP && r->status == STORE_OK) {
		c->kind = CHANGE_PIN;
		store_pin(lc->store, &c->op, c->id, c->pin);
		return;
	}
	if (c->kind == CHANGE_DROP_STAT) {
		if (r->status == STORE_OK && r->info.generation <= c->generation) {
			log_warning("local: copy dropped id=%s why=\"%s\"", c->id, c->why);
			c->kind = CHANGE_DROP;
			start_delete(c);
			return;
		}
		if (r->status != STORE_OK && r->status != STORE_NOT_FOUND)
			drop_later(lc, c->id);
		change_free(c);
		return;
	}
	if ((c->kind == CHANGE_DELETE || c->kind == CHANGE_DROP) && r->status == STORE_BUSY &&
		c->n_retries++ < BUSY_RETRIES && !lc->is_closing) {
		loop_timer(lc->loop, &c->timer, loop_now(lc->loop) + BUSY_RETRY);
		return;
	}
	if (r->status != STORE_OK)
		outcome_set(&why, status_from_store(r->status), "%s", r->message);
	copy = find_copy(lc, c->id);
	if (c->kind == CHANGE_DELETE || c->kind == CHANGE_DROP) {
		if (copy && (r->status == STORE_OK || r->status == STORE_NOT_FOUND))
			drop_copy(lc, copy);
		if (c->kind == CHANGE_DROP && why.status != RPC_OK && why.status != RPC_NOT_FOUND) {
			drop_later(lc, c->id);
			log_warning("local: a copy that must go could not be deleted id=%s "
				    "why=\"%s\"",
				c->id, why.text);
		}
	} else if (copy && r->status == STORE_OK) {
		want_read(lc, copy);
		read_next(lc);
	}
	if (c->fn)
		c->fn(c->arg, &why);
	change_free(c);
}

struct local_change *local_delete(
	struct local *lc, const char *id, const char *why, local_change_fn fn, void *arg)
{
	struct local_change *c = new_change(lc, CHANGE_DELETE, id, fn, arg);

	if (!c)
		return NULL;
	log_notice("local: deleting a copy id=%s why=\"%s\"", id, why);
	start_delete(c);
	return c;
}

struct local_change *local_pin(
	struct local *lc, const char *id, bool pin, local_change_fn fn, void *arg)
{
	struct local_change *c = new_change(lc, CHANGE_PIN, id, fn, arg);

	if (c)
		store_pin(lc->store, &c->op, c->id, pin);
	return c;
}

struct local_change *local_keep(
	struct local *lc, const char *id, bool want, local_change_fn fn, void *arg)
{
	struct local_change *c = new_change(lc, CHANGE_KEEP_STAT, id, fn, arg);

	if (c) {
		c->pin = want;
		store_stat(lc->store, &c->op, c->id);
	}
	return c;
}

struct local_change *local_expire(
	struct local *lc, const char *id, uint64_t expires_ns, local_change_fn fn, void *arg)
{
	struct local_change *c = new_change(lc, CHANGE_EXPIRE, id, fn, arg);

	if (c)
		store_extend(lc->store, &c->op, c->id, expires_ns);
	return c;
}

struct local_change *local_prolong(
	struct local *lc, const char *id, uint64_t expires_ns, local_change_fn fn, void *arg)
{
	struct local_change *c = new_change(lc, CHANGE_PROLONG, id, fn, arg);

	if (c) {
		c->expires_ns = expires_ns;
		store_stat(lc->store, &c->op, c->id);
	}
	return c;
}

void local_change_forget(struct local_change *c)
{
	c->fn = NULL;
}

void local_drop(
	void *arg, const char *id, uint64_t generation, enum scheduler_drop reason, const char *why)
{
	struct local *lc = arg;
	struct task *t = tasks_find(lc->tasks, id);
	struct local_change *c;
	struct outcome over;

	if (t && t->phase == TASK_FETCHING && t->generation <= generation) {
		/* the fetch sees it and gives up, its data goes with its lease */
		outcome_set(&over, RPC_ABORTED, "task %s: %s", id, why);
		tasks_forget(lc->tasks, id, &over);
	}
	task_unref(t);
	c = new_change(lc, CHANGE_DROP_STAT, id, NULL, NULL);
	if (!c)
		return;
	c->generation = generation;
	snprintf(c->why, sizeof(c->why), "%s", why);
	store_stat(lc->store, &c->op, c->id);
}

void local_set_expiry(void *arg, const char *id, uint64_t in_ns)
{
	local_expire(arg, id, local_expires_at(in_ns), NULL, NULL);
}

/* ---- life ---------------------------------------------------------------------------------- */

int local_new(struct local **out, struct loop *l, struct store_client *store, struct tasks *tasks)
{
	struct local *lc = calloc(1, sizeof(*lc));

	if (!lc)
		return -ENOMEM;
	lc->loop = l;
	lc->store = store;
	lc->tasks = tasks;
	lc->list_op.fn = on_list;
	lc->stat_op.fn = on_stat;
	lc->hello_op.fn = on_hello;
	loop_op_init(&lc->timer, on_timer);
	list_init(&lc->to_read);
	list_init(&lc->changes);
	*out = lc;
	return 0;
}

void local_set_sched(struct local *lc, struct sched *s)
{
	lc->sched = s;
}

void local_watch_space(struct local *lc,
	void (*fn)(void *arg, uint64_t total_bytes, uint64_t available_bytes), void *arg)
{
	lc->on_space = fn;
	lc->space_arg = arg;
}

void local_close(struct local *lc)
{
	lc->is_closing = true;
	loop_cancel(lc->loop, &lc->timer);
	if (lc->list_busy)
		store_cancel(lc->store, &lc->list_op);
	if (lc->stat_busy)
		store_cancel(lc->store, &lc->stat_op);
	if (lc->hello_busy)
		store_cancel(lc->store, &lc->hello_op);
	list_for_each (it, &lc->changes) {
		struct local_change *c = list_entry(it, struct local_change, link);

		if (!loop_op_is_active(&c->timer))
			store_cancel(lc->store, &c->op);
	}
}

bool local_is_idle(const struct local *lc)
{
	return !lc->list_busy && !lc->stat_busy && !lc->hello_busy && list_empty(&lc->changes) &&
	       !loop_op_is_active(&lc->timer);
}

struct local *local_free(struct local *lc)
{
	struct map_node *n, *next;

	if (!lc)
		return NULL;
	for (n = map_next(&lc->copies, NULL); n; n = next) {
		next = map_next(&lc->copies, n);
		free(container_of(n, struct copy, node));
	}
	map_fini(&lc->copies);
	free(lc);
	return NULL;
}
