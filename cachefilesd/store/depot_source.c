/* SPDX-License-Identifier: GPL-2.0-or-later */
/* depot_source.c — see depot_source.h */
#include "cachefilesd/store/depot_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

static struct depot *depot_of(struct cull_source *s)
{
	return container_of(s, struct depot, source);
}

static uint64_t mono_ns(struct depot *t)
{
	return t->world.now ? t->world.now(t->world.arg).mono_ns : wallclock_mono_ns();
}

static struct partial *first_orphan(struct depot *t)
{
	uint64_t now = mono_ns(t);

	list_for_each (it, &t->partials) {
		struct partial *p = list_entry(it, struct partial, link);

		if (!p->info.leased && !p->is_failed && now - p->orphan_since_ns >= t->set.grace_ns)
			return p;
	}
	return NULL;
}

static struct task *first_task(struct depot *t)
{
	struct heap_node *n = heap_first(&t->lru);

	if (!n || (mono_ns(t) - t->started_mono_ns < t->set.grace_ns && !depot_below_stop(t)))
		return NULL;
	return container_of(n, struct task, lru);
}

static enum cull_offer source_oldest(struct cull_source *s, uint64_t *used_ns)
{
	struct depot *t = depot_of(s);
	struct partial *p;
	struct task *k = NULL;

	pthread_mutex_lock(&t->lock);
	p = first_orphan(t);
	if (p) {
		t->offered[0] = '\0';
		memcpy(t->offered_token, p->token, sizeof(t->offered_token));
		t->offered_used_ns = 0;
	} else if ((k = first_task(t))) {
		strcpy(t->offered, k->id);
		t->offered_used_ns = k->lru.key;
	}
	t->has_offer = p || k;
	*used_ns = t->offered_used_ns;
	pthread_mutex_unlock(&t->lock);
	return t->has_offer ? CULL_OFFER_READY : CULL_OFFER_NONE;
}

/* the candidate as it is now; CULL_FREED = may go. Lock held. */
static enum cull_outcome judge(struct depot *t, struct task **k, struct partial **p)
{
	struct map_node *n;

	*k = NULL;
	*p = NULL;
	if (!t->has_offer)
		return CULL_GONE;
	if (!t->offered[0]) {
		n = map_find(&t->by_token, t->offered_token, sizeof(t->offered_token));
		if (!n)
			return CULL_GONE;
		*p = container_of(n, struct partial, by_token);
		return (*p)->info.leased ? CULL_BUSY : CULL_FREED;
	}
	n = map_find(&t->by_id, t->offered, strlen(t->offered));
	if (!n)
		return CULL_GONE;
	*k = container_of(n, struct task, by_id);
	if (!heap_contains(&(*k)->lru))
		return CULL_BUSY;
	return (*k)->lru.key > t->offered_used_ns ? CULL_NEWER : CULL_FREED;
}

static enum cull_outcome source_recheck(struct cull_source *s)
{
	struct depot *t = depot_of(s);
	enum cull_outcome o;
	struct partial *p;
	struct task *k;

	pthread_mutex_lock(&t->lock);
	o = judge(t, &k, &p);
	pthread_mutex_unlock(&t->lock);
	return o;
}

static void partial_label(const struct partial *p, char *label, size_t cap)
{
	char token[LAYOUT_TOKEN_TEXT];

	layout_token_text(p->token, token);
	snprintf(label, cap, "partial %.8s%s%s", token, p->info.id[0] ? " of " : "", p->info.id);
}

static enum cull_outcome source_remove(
	struct cull_source *s, uint64_t *freed_bytes, char *label, size_t label_cap)
{
	struct depot *t = depot_of(s);
	char name[LAYOUT_TRASH_TEXT];
	enum cull_outcome o;
	struct partial *p;
	struct task *k;
	bool shared = false;
	int rc = 0;

	*freed_bytes = 0;
	pthread_mutex_lock(&t->lock);
	o = judge(t, &k, &p);
	snprintf(label, label_cap, "task %s", t->offered);
	if (p)
		partial_label(p, label, label_cap);
	if (o == CULL_FREED) {
		rc = k ? depot_take_out(t, k, 'c', name) : depot_take_out_partial(t, p, 'c', name);
		if (rc && rc != -ENOENT) {
			o = CULL_FAILED;
			if (k)
				depot_set_failed(t, k, true);
		}
	}
	t->has_offer = false;
	pthread_mutex_unlock(&t->lock);
	if (o == CULL_FAILED)
		LOG_LIMITED(LOG_ERR, "cull: cannot remove %s reason=%s", label, strerror(-rc));
	if (o != CULL_FREED || rc)
		return rc == -ENOENT ? CULL_GONE : o;
	rc = layout_destroy(&t->layout, name, freed_bytes, &shared);
	if (rc) {
		/* out of the index, still on the disk: it is tried again at the next start */
		LOG_LIMITED(LOG_ERR, "cull: cannot delete %s reason=%s", label, strerror(-rc));
		*freed_bytes = 0;
		return CULL_FAILED;
	}
	pthread_mutex_lock(&t->lock);
	t->n_culled++;
	t->culled_bytes += *freed_bytes;
	pthread_mutex_unlock(&t->lock);
	return shared && !*freed_bytes ? CULL_SHARED : CULL_FREED;
}

static void source_begin(struct cull_source *s)
{
	struct depot *t = depot_of(s);

	pthread_mutex_lock(&t->lock);
	t->has_offer = false;
	list_for_each (it, &t->partials)
		list_entry(it, struct partial, link)->is_failed = false;
	for (uint32_t i = 0; i < t->n_slots; i++) {
		struct task *k = t->slots[i];

		if (!((uintptr_t)k & 1) && k->is_failed)
			depot_set_failed(t, k, false);
	}
	pthread_mutex_unlock(&t->lock);
}

static void source_end(struct cull_source *s)
{
	depot_of(s)->has_offer = false;
}

struct candidate {
	uint64_t used_ns, bytes;
	char id[STORE_ID_MAX + 1], label[STORE_ID_MAX + 40];
};

static int by_use(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* a copy of what is on offer, sorted: the lock is not held while the sizes are read */
static int snapshot(struct depot *t, struct candidate **out, size_t *n)
{
	size_t cap;

	pthread_mutex_lock(&t->lock);
	cap = t->lru.n + t->n_partials;
	*n = 0;
	*out = calloc(cap ? cap : 1, sizeof(**out));
	for (struct list *it = t->partials.next; *out && it != &t->partials; it = it->next) {
		struct partial *p = list_entry(it, struct partial, link);
		struct candidate *c = &(*out)[*n];

		if (p->info.leased || mono_ns(t) - p->orphan_since_ns < t->set.grace_ns)
			continue;
		*c = (struct candidate){.used_ns = 0, .bytes = p->info.bytes_on_disk};
		partial_label(p, c->label, sizeof(c->label));
		++*n;
	}
	for (size_t i = 1; *out && first_task(t) && i <= t->lru.n; i++) {
		struct task *k = container_of(t->lru.v[i], struct task, lru);
		struct candidate *c = &(*out)[*n];

		*c = (struct candidate){.used_ns = k->lru.key, .bytes = k->bytes};
		strcpy(c->id, k->id);
		snprintf(c->label, sizeof(c->label), "task %s", k->id);
		++*n;
	}
	pthread_mutex_unlock(&t->lock);
	if (!*out)
		return -ENOMEM;
	qsort(*out, *n, sizeof(**out), by_use);
	return 0;
}

static int source_list(struct cull_source *s,
	bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label), void *arg)
{
	struct depot *t = depot_of(s);
	_cleanup_free_ struct candidate *v = NULL;
	size_t n;
	int rc = snapshot(t, &v, &n);

	for (size_t i = 0; !rc && i < n; i++) {
		uint64_t bytes =
			v[i].id[0] ? layout_private_bytes(&t->layout, v[i].id) : v[i].bytes;

		if (!emit(arg, v[i].used_ns, bytes, v[i].label))
			break;
	}
	return rc;
}

static const struct cull_source_ops ops = {
	.name = "tasks",
	.oldest = source_oldest,
	.recheck = source_recheck,
	.remove = source_remove,
	.begin = source_begin,
	.end = source_end,
	.list = source_list,
};

void depot_source_init(struct depot *t)
{
	t->source.ops = &ops;
}
