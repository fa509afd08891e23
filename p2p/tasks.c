/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/tasks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cachefilesd/api/record.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "p2p/piece.h"

#define SECOND      1000000000ull
#define TABLE_CHUNK 1024 /* entries of the piece table read at once */

struct tasks {
	struct loop *loop;
	struct store_client *store;
	struct tasks_options o;
	struct map map; /* by id: OPENING, FETCHING, COMPLETE */
	struct list idle; /* COMPLETE without references, oldest first */
	unsigned n_idle;
	size_t n_all; /* struct task that exist, also those out of the map */
	struct loop_op timer;
	bool is_closing;
};

static void release(struct task *t);
static void arm_timer(struct tasks *ts);

int tasks_new(struct tasks **out, struct loop *l, struct store_client *store,
	const struct tasks_options *o);

/* ---- life of a task ------------------------------------------------------------------------ */

static void on_op(struct store_op *op, const struct store_reply *r);
static void on_read(struct loop_op *op, int res);
static void on_post(struct loop_op *op, int res);

static struct task *new_task(struct tasks *ts, const char *id)
{
	struct task *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	strncpy(t->id, id, sizeof(t->id) - 1);
	t->owner = ts;
	t->read_fd = t->record_fd = -1;
	t->op.fn = on_op;
	loop_op_init(&t->work, on_read);
	loop_op_init(&t->post, on_post);
	list_init(&t->watchers);
	list_init(&t->openers);
	list_init(&t->link);
	list_init(&t->arriving);
	if (map_insert(&ts->map, &t->node, t->id, strlen(t->id)) < 0) {
		free(t);
		return NULL;
	}
	ts->n_all++;
	return t;
}

static int set_size(struct task *t, uint32_t n_pieces)
{
	t->n_pieces = n_pieces;
	t->present = calloc(n_pieces ? ((size_t)n_pieces + 63) / 64 : 1, sizeof(*t->present));
	t->crcs = calloc(n_pieces ? n_pieces : 1, sizeof(*t->crcs));
	return t->present && t->crcs ? 0 : -ENOMEM;
}

/* a piece on its way here */
struct arrival {
	struct list link; /* in task.arriving: at most as many as there are requests at once */
	struct list followers;
	uint32_t number, crc32, n_bytes;
	char *from; /* owned */
};

static struct arrival *find_arrival(const struct task *t, uint32_t number)
{
	list_for_each (it, &t->arriving) {
		struct arrival *a = list_entry(it, struct arrival, link);

		if (a->number == number)
			return a;
	}
	return NULL;
}

/* end_arrival - followers are told; what they do in it cannot touch this arrival any more */
static void end_arrival(struct arrival *a, bool whole)
{
	struct list *n;

	list_del(&a->link);
	while ((n = list_pop(&a->followers))) {
		struct task_follow *f = list_entry(n, struct task_follow, link);

		f->on_end(f, whole);
	}
	free(a->from);
	free(a);
}

static void lose_arrivals(struct task *t)
{
	while (!list_empty(&t->arriving))
		end_arrival(list_entry(t->arriving.next, struct arrival, link), false);
}

static void unmap(struct task *t)
{
	if (t->phase == TASK_OVER)
		return;
	t->phase = TASK_OVER;
	if (t->why.status == RPC_OK)
		outcome_set(&t->why, RPC_NOT_FOUND, "task %s is not here", t->id);
	map_remove(&t->owner->map, &t->node);
	if (list_is_linked(&t->link)) {
		list_del(&t->link);
		t->owner->n_idle--;
	}
}

/* nobody needs it: give the lease back, then free */
static void release(struct task *t)
{
	unmap(t);
	if (t->op_busy || t->work_busy || loop_op_is_active(&t->post))
		return; /* comes back here */
	if (t->has_lease) {
		t->has_lease = false;
		t->op_busy = t->is_releasing = true;
		store_release(t->owner->store, &t->op, t->lease);
		return;
	}
	t->owner->n_all--;
	fd_close(t->read_fd);
	fd_close(t->record_fd);
	free(t->present);
	free(t->crcs);
	free(t->from);
	for (size_t i = 0; i < TASK_MAX_PARENTS; i++)
		free(t->parents[i]);
	free(t);
}

struct task *task_ref(struct task *t)
{
	if (!t->n_refs++ && list_is_linked(&t->link)) {
		list_del(&t->link);
		t->owner->n_idle--;
	}
	return t;
}

struct task *task_unref(struct task *t)
{
	struct tasks *ts;

	if (!t || --t->n_refs)
		return NULL;
	ts = t->owner;
	if (t->phase == TASK_OVER || ts->is_closing) {
		release(t);
		return NULL;
	}
	t->idle_since = loop_now(ts->loop);
	list_push(&ts->idle, &t->link);
	if (++ts->n_idle > ts->o.max_idle)
		release(list_entry(ts->idle.next, struct task, link));
	arm_timer(ts);
	return NULL;
}

static void on_timer(struct loop_op *op, int res)
{
	struct tasks *ts = container_of(op, struct tasks, timer);
	uint64_t now = loop_now(ts->loop);

	if (ts->is_closing)
		return;
	while (!list_empty(&ts->idle)) {
		struct task *t = list_entry(ts->idle.next, struct task, link);

		if (t->idle_since + ts->o.idle_ns > now)
			break;
		release(t);
	}
	arm_timer(ts);
}

static void arm_timer(struct tasks *ts)
{
	if (list_empty(&ts->idle) || loop_op_is_active(&ts->timer))
		return;
	loop_timer(ts->loop, &ts->timer,
		list_entry(ts->idle.next, struct task, link)->idle_since + ts->o.idle_ns);
}

/* ---- opening ------------------------------------------------------------------------------- */

static void answer_openers(struct task *t, const struct outcome *why)
{
	struct list *n;

	/* a reference of our own: the last opener may drop its one at once */
	task_ref(t);
	while ((n = list_pop(&t->openers))) {
		struct task_open *o = list_entry(n, struct task_open, link);

		o->fn(o, why ? NULL : task_ref(t), why);
	}
	if (why)
		unmap(t);
	task_unref(t);
}

static int read_table(void *arg)
{
	struct task *t = arg;
	_cleanup_free_ struct record *r = malloc(sizeof(*r));
	_cleanup_free_ struct record_piece *v = calloc(TABLE_CHUNK, sizeof(*v));
	int res;

	if (!r || !v)
		return -ENOMEM;
	res = record_read(t->record_fd, r);
	if (res < 0)
		return res;
	if (r->info.n_pieces != t->n_pieces)
		return -EBADMSG;
	for (uint32_t i = 0; i < t->n_pieces; i += TABLE_CHUNK) {
		uint32_t n = t->n_pieces - i < TABLE_CHUNK ? t->n_pieces - i : TABLE_CHUNK;

		res = record_read_pieces(t->record_fd, r, i, n, v);
		if (res < 0)
			return res;
		for (uint32_t k = 0; k < n; k++) {
			if (!v[k].present)
				continue;
			t->present[(i + k) / 64] |= 1ull << ((i + k) % 64);
			t->crcs[i + k] = v[k].crc32;
			t->n_present++;
		}
	}
	return 0;
}

static void on_read(struct loop_op *op, int res)
{
	struct task *t = container_of(op, struct task, work);
	struct outcome why;

	t->work_busy = false;
	t->record_fd = fd_close(t->record_fd);
	if (t->phase == TASK_OVER) {
		answer_openers(t, &t->why);
		return;
	}
	if (res == 0 && t->n_present < t->n_pieces)
		res = -EBADMSG;
	if (res < 0) {
		outcome_set(&why, RPC_DATA_LOSS,
			"the record of task %s in the store cannot be read: %s", t->id,
			strerror(-res));
		log_warning("tasks: %s", why.text);
		answer_openers(t, &why);
		return;
	}
	t->phase = TASK_COMPLETE;
	answer_openers(t, NULL);
}

static void on_opened(struct task *t, const struct store_reply *r)
{
	struct outcome why = {.status = RPC_OK};

	if (r->status == STORE_OK) {
		t->has_lease = true;
		t->lease = r->lease;
		t->read_fd = r->data_fd;
		t->record_fd = r->record_fd;
		t->length = r->info.length;
		t->piece_length = r->info.piece_length;
		t->generation = r->info.generation;
		t->expires_ns = r->info.expires_ns;
		t->uid = r->info.uid;
		memcpy(t->fingerprint, r->info.fingerprint, sizeof(t->fingerprint));
		if (attrs_parse(r->attrs, r->attrs_len, &t->attrs) < 0 ||
			r->info.n_pieces != piece_count(r->info.length, r->info.piece_length))
			outcome_set(&why, RPC_DATA_LOSS,
				"the record of task %s in the store is damaged", t->id);
		else if (set_size(t, r->info.n_pieces) < 0)
			outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
		t->created_ns = t->attrs.created_ns;
	} else if (r->status == STORE_NOT_FOUND) {
		outcome_set(&why, RPC_NOT_FOUND, "task %s is not here", t->id);
	} else {
		outcome_set(&why, status_from_store(r->status), "task %s cannot be opened: %s",
			t->id, r->message);
	}
	fd_close(r->read_fd);
	if (t->phase == TASK_OVER) { /* deleted meanwhile */
		answer_openers(t, &t->why);
		return;
	}
	if (why.status != RPC_OK) {
		answer_openers(t, &why);
		return;
	}
	t->work_busy = true;
	loop_work(t->owner->loop, &t->work, read_table, t);
}

/* a lease for a task that is in hand already: after a commit, or after a restart of the store */
static void on_leased(struct task *t, const struct store_reply *r)
{
	fd_close(r->data_fd);
	fd_close(r->read_fd);
	fd_close(r->record_fd);
	if (r->status == STORE_OK) {
		t->has_lease = true;
		t->lease = r->lease;
	}
	if (t->phase == TASK_OVER) {
		if (!t->n_refs)
			release(t);
		return;
	}
	if (r->status == STORE_LOST || r->status == STORE_TIMEOUT)
		return; /* the next READY event asks again */
	if (r->status != STORE_OK || r->info.generation != t->generation) {
		/* it went away meanwhile; readers keep what they have open */
		outcome_set(&t->why, RPC_NOT_FOUND, "task %s is not in the store any more", t->id);
		unmap(t);
		if (!t->n_refs)
			release(t);
	}
}

static void on_op(struct store_op *op, const struct store_reply *r)
{
	struct task *t = container_of(op, struct task, op);

	t->op_busy = false;
	if (t->is_releasing) {
		t->is_releasing = false;
		release(t);
	} else if (t->phase == TASK_OPENING || !t->present) {
		on_opened(t, r);
	} else {
		on_leased(t, r);
	}
}

static void on_post(struct loop_op *op, int res)
{
	struct task *t = container_of(op, struct task, post);

	answer_openers(t, t->phase == TASK_OVER ? &t->why : NULL);
}

static void end(struct task *t, const struct outcome *why);

/* What we have in hand may have been removed from the store meanwhile (deleted, expired, found
 * damaged): then its files have no name any more, and it is found here no more than there. */
static struct task *find_in_hand(struct tasks *ts, const char *id)
{
	struct map_node *n = map_find(&ts->map, id, strlen(id));
	struct task *t = n ? container_of(n, struct task, node) : NULL;
	struct outcome why;
	struct stat st;

	if (!t || t->phase != TASK_COMPLETE || t->read_fd < 0 || fstat(t->read_fd, &st) < 0 ||
		st.st_nlink)
		return t;
	outcome_set(&why, RPC_NOT_FOUND, "task %s was removed from the store", id);
	end(t, &why);
	return NULL;
}

void tasks_open(struct tasks *ts, struct task_open *o, const char *id)
{
	struct task *t = find_in_hand(ts, id);

	list_init(&o->link);
	if (t) {
		list_push(&t->openers, &o->link);
		if (t->phase != TASK_OPENING && !loop_op_is_active(&t->post)) {
			if (list_is_linked(&t->link)) { /* not to be released meanwhile */
				list_del(&t->link);
				ts->n_idle--;
			}
			loop_post(ts->loop, &t->post, 0);
		}
		return;
	}
	t = new_task(ts, id);
	if (!t) {
		/* no memory even for a callback object of ours: the opener's list node is not an
		 * operation, so this is the one answer that is given at once */
		struct outcome why;

		outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
		o->fn(o, NULL, &why);
		return;
	}
	list_push(&t->openers, &o->link);
	t->op_busy = true;
	store_open(ts->store, &t->op, t->id);
}

void task_open_cancel(struct task_open *o)
{
	list_del(&o->link);
}

struct task *tasks_find(struct tasks *ts, const char *id)
{
	struct task *t = find_in_hand(ts, id);

	return t && t->phase != TASK_OPENING ? task_ref(t) : NULL;
}

/* ---- pieces -------------------------------------------------------------------------------- */

bool task_has_piece(const struct task *t, uint32_t number)
{
	return number < t->n_pieces && t->present[number / 64] >> (number % 64) & 1;
}

uint32_t task_crc32(const struct task *t, uint32_t number)
{
	return t->crcs[number];
}

const char *task_parent(const struct task *t, uint32_t number)
{
	return t->from && number < t->n_pieces && t->from[number] ? t->parents[t->from[number] - 1]
								  : NULL;
}

/* remember_parent - for the events only: without memory, or with too many parents, it is unknown */
static void remember_parent(struct task *t, uint32_t number, const char *parent_id)
{
	size_t i = 0;

	if (!parent_id)
		return;
	if (!t->from)
		t->from = calloc(t->n_pieces, sizeof(*t->from));
	while (i < TASK_MAX_PARENTS && t->parents[i] && strcmp(t->parents[i], parent_id) != 0)
		i++;
	if (!t->from || i == TASK_MAX_PARENTS)
		return;
	if (!t->parents[i])
		t->parents[i] = strdup(parent_id);
	if (t->parents[i])
		t->from[number] = (uint8_t)(i + 1);
}

uint32_t task_piece_size(const struct task *t, uint32_t number)
{
	return piece_size(number, t->length, t->piece_length);
}

void task_watch(struct task *t, struct task_watch *w)
{
	list_init(&w->link);
	list_push(&t->watchers, &w->link);
}

void task_unwatch(struct task_watch *w)
{
	list_del(&w->link);
}

/* tell - every watcher once; a callback may take any watcher off (or itself) */
static void tell(struct task *t, const uint32_t *number, bool is_here)
{
	struct list todo, *n;

	list_init(&todo);
	while ((n = list_pop(&t->watchers)))
		list_push(&todo, n);
	while ((n = list_pop(&todo))) {
		struct task_watch *w = list_entry(n, struct task_watch, link);

		list_push(&t->watchers, n);
		if (number && is_here)
			w->on_piece(w, t, *number);
		else if (number && w->on_arriving)
			w->on_arriving(w, t, *number);
		else if (!number)
			w->on_phase(w, t);
	}
}

int tasks_begin(struct tasks *ts, const struct tasks_fetch *f, struct task **out)
{
	_cleanup_fd_ int read_fd = f->read_fd;
	struct task *t, *old = NULL;
	struct map_node *n;
	struct list *n_open;

	n = map_find(&ts->map, f->id, strlen(f->id));
	if (n) {
		old = container_of(n, struct task, node);
		if (old->phase != TASK_OPENING)
			return -EEXIST;
		/* somebody is asking the store for it just now: what begins here is the answer */
		unmap(old);
	}
	t = new_task(ts, f->id);
	if (!t)
		return -ENOMEM;
	if (old) {
		while ((n_open = list_pop(&old->openers)))
			list_push(&t->openers, n_open);
		loop_post(ts->loop, &t->post, 0);
	}
	t->phase = TASK_FETCHING;
	t->length = f->length;
	t->piece_length = f->piece_length;
	t->generation = f->generation;
	t->expires_ns = f->expires_ns;
	t->created_ns = f->created_ns;
	t->uid = f->uid;
	t->attrs = *f->attrs;
	if (f->fingerprint)
		memcpy(t->fingerprint, f->fingerprint, sizeof(t->fingerprint));
	t->read_fd = take_fd(&read_fd);
	task_ref(t);
	if (set_size(t, f->n_pieces) < 0) {
		unmap(t);
		task_unref(t);
		return -ENOMEM;
	}
	*out = t;
	return 0;
}

void task_arrived(struct task *t, uint32_t number, uint32_t crc32, const char *parent_id)
{
	struct arrival *a;

	if (number >= t->n_pieces || task_has_piece(t, number))
		return;
	t->present[number / 64] |= 1ull << (number % 64);
	t->crcs[number] = crc32;
	remember_parent(t, number, parent_id);
	t->n_present++;
	task_ref(t);
	a = find_arrival(t, number);
	if (a)
		end_arrival(a, true);
	tell(t, &number, true);
	task_unref(t);
}

void task_arriving(
	struct task *t, uint32_t number, uint32_t crc32, uint32_t n_bytes, const char *parent_id)
{
	struct arrival *a = find_arrival(t, number);
	struct list todo, *n;

	if (t->phase != TASK_FETCHING || number >= t->n_pieces || task_has_piece(t, number))
		return;
	task_ref(t);
	if (!a) {
		a = calloc(1, sizeof(*a));
		if (a && !(a->from = strdup(parent_id))) {
			free(a);
			a = NULL;
		}
		if (a) {
			a->number = number;
			a->crc32 = crc32;
			a->n_bytes = n_bytes;
			list_init(&a->followers);
			list_push(&t->arriving, &a->link);
			tell(t, &number, false);
		}
		task_unref(t);
		return;
	}
	a->n_bytes = n_bytes;
	list_init(&todo);
	while ((n = list_pop(&a->followers)))
		list_push(&todo, n);
	while ((n = list_pop(&todo))) {
		struct task_follow *f = list_entry(n, struct task_follow, link);

		list_push(&a->followers, n);
		f->on_growth(f, n_bytes);
	}
	task_unref(t);
}

void task_arrival_lost(struct task *t, uint32_t number)
{
	struct arrival *a = find_arrival(t, number);

	if (a)
		end_arrival(a, false);
}

bool task_is_arriving(const struct task *t, uint32_t number)
{
	return find_arrival(t, number) != NULL;
}

bool task_follow(struct task *t, uint32_t number, struct task_follow *f, struct task_arrival *out)
{
	struct arrival *a = find_arrival(t, number);

	list_init(&f->link);
	if (!a)
		return false;
	*out = (struct task_arrival){.crc32 = a->crc32, .n_bytes = a->n_bytes, .from = a->from};
	list_push(&a->followers, &f->link);
	return true;
}

void task_unfollow(struct task_follow *f)
{
	list_del(&f->link);
}

static void take_lease(struct task *t)
{
	if (t->op_busy || t->has_lease)
		return;
	t->op_busy = true;
	store_open(t->owner->store, &t->op, t->id);
}

void task_completed(struct task *t, const uint8_t fingerprint[STORE_FPRINT_SIZE])
{
	if (t->phase != TASK_FETCHING)
		return;
	memcpy(t->fingerprint, fingerprint, STORE_FPRINT_SIZE);
	t->phase = TASK_COMPLETE;
	task_ref(t);
	lose_arrivals(t); /* there are none: every piece is here */
	take_lease(t);
	tell(t, NULL, false);
	task_unref(t);
}

static void end(struct task *t, const struct outcome *why)
{
	if (t->phase == TASK_OVER)
		return;
	task_ref(t);
	t->why = *why;
	unmap(t);
	lose_arrivals(t);
	tell(t, NULL, false);
	task_unref(t);
}

void task_failed(struct task *t, const struct outcome *why)
{
	end(t, why);
}

void tasks_forget(struct tasks *ts, const char *id, const struct outcome *why)
{
	struct map_node *n = map_find(&ts->map, id, strlen(id));

	if (n)
		end(container_of(n, struct task, node), why);
}

/* ---- the registry -------------------------------------------------------------------------- */

int tasks_new(struct tasks **out, struct loop *l, struct store_client *store,
	const struct tasks_options *o)
{
	struct tasks *ts = calloc(1, sizeof(*ts));

	if (!ts)
		return -ENOMEM;
	ts->loop = l;
	ts->store = store;
	ts->o = *o;
	if (!ts->o.idle_ns)
		ts->o.idle_ns = 10 * SECOND;
	if (!ts->o.max_idle)
		ts->o.max_idle = 32;
	list_init(&ts->idle);
	loop_op_init(&ts->timer, on_timer);
	*out = ts;
	return 0;
}

void tasks_close(struct tasks *ts)
{
	ts->is_closing = true;
	loop_cancel(ts->loop, &ts->timer);
	while (!list_empty(&ts->idle))
		release(list_entry(ts->idle.next, struct task, link));
}

bool tasks_is_idle(const struct tasks *ts)
{
	return !ts->n_all && !loop_op_is_active(&ts->timer);
}

struct tasks *tasks_free(struct tasks *ts)
{
	if (!ts)
		return NULL;
	map_fini(&ts->map);
	free(ts);
	return NULL;
}

void tasks_on_store_event(struct tasks *ts, enum store_event e)
{
	struct map_node *n = NULL, *next;

	if (e == STORE_EVENT_LOST) {
		/* what nobody uses is not worth a new lease */
		while (!list_empty(&ts->idle)) {
			struct task *t = list_entry(ts->idle.next, struct task, link);

			t->has_lease = false;
			release(t);
		}
		for (n = map_next(&ts->map, NULL); n; n = map_next(&ts->map, n))
			container_of(n, struct task, node)->has_lease = false;
	} else if (e == STORE_EVENT_READY) {
		for (n = map_next(&ts->map, NULL); n; n = next) {
			struct task *t = container_of(n, struct task, node);

			next = map_next(&ts->map, n);
			if (t->phase == TASK_COMPLETE)
				take_lease(t);
		}
	}
}
