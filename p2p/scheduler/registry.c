/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry.c — hosts, tasks, copies, tombstones; see registry.h */
#include "p2p/scheduler/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "p2p/peers.h"

#define TOMBSTONES_MAX 100000

const char *copy_state_name(enum copy_state s)
{
	static const char *const names[] = {"Uploading", "ReceivedNormal", "Running", "Succeeded"};

	return names[s];
}

void registry_init(struct registry *r, size_t max_tasks, const struct registry_ops *ops, void *arg)
{
	*r = (struct registry){.max_tasks = max_tasks, .ops = ops, .arg = arg};
}

static struct reg_task *task_of(struct map_node *n)
{
	return n ? container_of(n, struct reg_task, node) : NULL;
}

static struct reg_host *host_of(struct map_node *n)
{
	return n ? container_of(n, struct reg_host, node) : NULL;
}

static struct reg_tombstone *tomb_of(struct map_node *n)
{
	return n ? container_of(n, struct reg_tombstone, node) : NULL;
}

struct reg_task *registry_task_next(const struct registry *r, const struct reg_task *after)
{
	return task_of(map_next(&r->tasks, after ? &after->node : NULL));
}

size_t registry_page(const struct registry *r, const char *after, struct reg_task **v, size_t cap)
{
	size_t n = 0;

	for (struct reg_task *t = registry_task_next(r, NULL); t; t = registry_task_next(r, t)) {
		size_t lo = 0, hi = n;

		if (!t->is_owned || strcmp(t->id, after) <= 0 ||
			(n == cap && strcmp(t->id, v[n - 1]->id) > 0))
			continue;
		while (lo < hi) {
			size_t mid = (lo + hi) / 2;

			if (strcmp(v[mid]->id, t->id) < 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		n -= n == cap;
		memmove(v + lo + 1, v + lo, (n - lo) * sizeof(*v));
		v[lo] = t;
		n++;
	}
	return n;
}

struct reg_host *registry_host_next(const struct registry *r, const struct reg_host *after)
{
	return host_of(map_next(&r->hosts, after ? &after->node : NULL));
}

struct reg_tombstone *registry_tombstone_next(
	const struct registry *r, const struct reg_tombstone *after)
{
	return tomb_of(map_next(&r->tombstones, after ? &after->node : NULL));
}

static void tombstone_free(struct registry *r, struct reg_tombstone *t)
{
	map_remove(&r->tombstones, &t->node);
	heap_remove(&r->tomb_expiries, &t->expiry);
	free(t);
}

void registry_fini(struct registry *r)
{
	struct reg_task *t;
	struct reg_host *h;
	struct reg_tombstone *d;

	while ((t = registry_task_next(r, NULL)))
		registry_task_free(r, t);
	while ((h = registry_host_next(r, NULL)))
		registry_host_free(r, h);
	while ((d = registry_tombstone_next(r, NULL)))
		tombstone_free(r, d);
	map_fini(&r->tasks);
	map_fini(&r->hosts);
	map_fini(&r->tombstones);
	heap_fini(&r->expiries);
	heap_fini(&r->tomb_expiries);
}

/* ---- hosts ------------------------------------------------------------------------------ */

struct reg_host *registry_host(const struct registry *r, const char *id)
{
	return host_of(map_find(&r->hosts, id, strlen(id)));
}

struct reg_host *registry_host_ensure(struct registry *r, const char *id)
{
	struct reg_host *h = registry_host(r, id);

	if (h)
		return h;
	if (r->hosts.n >= REG_HOSTS_MAX)
		return NULL;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->id = strdup(id);
	if (!h->id || map_insert(&r->hosts, &h->node, h->id, strlen(h->id))) {
		free(h->id);
		free(h);
		return NULL;
	}
	list_init(&h->copies);
	h->lapse_ns = REG_NEVER;
	return h;
}

void registry_host_purge(struct registry *r, struct reg_host *h)
{
	list_for_each_safe (it, &h->copies)
		registry_copy_free(r, list_entry(it, struct reg_copy, by_host));
}

void registry_host_free(struct registry *r, struct reg_host *h)
{
	registry_host_purge(r, h);
	map_remove(&r->hosts, &h->node);
	free(h->id);
	free(h->hostname);
	free(h->idc);
	free(h->location);
	free(h->info);
	free(h);
}

/* ---- tasks ------------------------------------------------------------------------------ */

struct reg_task *registry_task(const struct registry *r, const char *id)
{
	return task_of(map_find(&r->tasks, id, strlen(id)));
}

static int dup_to(char **to, const char *s)
{
	*to = s ? strdup(s) : NULL;
	return s && !*to ? -ENOMEM : 0;
}

struct reg_task *registry_task_new(struct registry *r, const char *id, const char *tag,
	const char *application, const char *importer)
{
	struct reg_task *t;

	if (r->tasks.n >= r->max_tasks)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	list_init(&t->copies);
	strncpy(t->id, id, sizeof(t->id) - 1);
	t->hash = peers_hash(t->id);
	t->expires_ns = REG_NEVER;
	if (dup_to(&t->tag, tag) || dup_to(&t->application, application) ||
		dup_to(&t->importer, importer) ||
		map_insert(&r->tasks, &t->node, t->id, strlen(t->id))) {
		free(t->tag);
		free(t->application);
		free(t->importer);
		free(t);
		return NULL;
	}
	return t;
}

void registry_task_free(struct registry *r, struct reg_task *t)
{
	list_for_each_safe (it, &t->copies)
		registry_copy_free(r, list_entry(it, struct reg_copy, by_task));
	r->ops->on_task_gone(r->arg, t);
	heap_remove(&r->expiries, &t->expiry);
	map_remove(&r->tasks, &t->node);
	free(t->tag);
	free(t->application);
	free(t->importer);
	free(t);
}

int registry_task_set_expiry(struct registry *r, struct reg_task *t, uint64_t expires_ns)
{
	t->expires_ns = expires_ns;
	if (expires_ns == REG_NEVER) {
		heap_remove(&r->expiries, &t->expiry);
		return 0;
	}
	if (heap_contains(&t->expiry)) {
		heap_update(&r->expiries, &t->expiry, expires_ns);
		return 0;
	}
	return heap_insert(&r->expiries, &t->expiry, expires_ns);
}

/* ---- copies ----------------------------------------------------------------------------- */

struct reg_copy *registry_copy(const struct reg_task *t, const struct reg_host *h)
{
	list_for_each (it, &t->copies) {
		struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (c->host == h)
			return c;
	}
	return NULL;
}

struct reg_copy *registry_copy_by_peer(const struct reg_task *t, const char *peer_id)
{
	list_for_each (it, &t->copies) {
		struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (!strcmp(c->peer_id, peer_id))
			return c;
	}
	return NULL;
}

struct reg_copy *registry_copy_put(
	struct registry *r, struct reg_task *t, struct reg_host *h, const char *peer_id)
{
	struct reg_copy *c = registry_copy(t, h);
	char *name;

	if (c && !strcmp(c->peer_id, peer_id))
		return c;
	name = strdup(peer_id);
	if (!name)
		return NULL;
	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c) {
			free(name);
			return NULL;
		}
		c->task = t;
		c->host = h;
		list_push(&t->copies, &c->by_task);
		list_push(&h->copies, &c->by_host);
		t->n_copies++;
		r->n_copies++;
	}
	free(c->peer_id);
	c->peer_id = name;
	return c;
}

void registry_copy_free(struct registry *r, struct reg_copy *c)
{
	list_del(&c->by_task);
	list_del(&c->by_host);
	c->task->n_copies--;
	r->n_copies--;
	r->ops->on_copy_gone(r->arg, c);
	free(c->peer_id);
	free(c);
}

bool copy_counts(const struct reg_copy *c)
{
	return c->state == COPY_SUCCEEDED && c->host->is_live;
}

void registry_count(const struct reg_task *t, uint64_t *all, uint64_t *persistent)
{
	*all = *persistent = 0;
	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (copy_counts(c)) {
			++*all;
			*persistent += c->persistent;
		}
	}
}

const char *registry_state(const struct reg_task *t)
{
	bool uploading = false, other = false;

	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (copy_counts(c))
			return "Succeeded";
		if (c->host->is_live && c->state == COPY_UPLOADING)
			uploading = true;
		else if (c->host->is_live)
			other = true;
	}
	return uploading ? "Uploading" : other ? "Pending" : "Failed";
}

bool registry_version_same(const struct reg_version *a, const struct reg_version *b)
{
	if (a->has_fingerprint && b->has_fingerprint)
		return !memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint));
	return !a->generation || !b->generation || a->generation == b->generation;
}

bool registry_version_newer(const struct reg_version *a, const struct reg_version *b)
{
	if (a->generation != b->generation)
		return a->generation > b->generation;
	return a->has_fingerprint && b->has_fingerprint &&
	       memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) > 0;
}

/* ---- tombstones, expiry ----------------------------------------------------------------- */

struct reg_tombstone *registry_tombstone(const struct registry *r, const char *id)
{
	return tomb_of(map_find(&r->tombstones, id, strlen(id)));
}

int registry_tombstone_put(
	struct registry *r, const char *id, uint64_t generation, uint64_t expires_ns)
{
	struct reg_tombstone *d = registry_tombstone(r, id);

	if (d) {
		if (generation > d->generation)
			d->generation = generation;
		if (expires_ns > d->expires_ns) {
			d->expires_ns = expires_ns;
			heap_update(&r->tomb_expiries, &d->expiry, expires_ns);
		}
		return 0;
	}
	if (r->tombstones.n >= TOMBSTONES_MAX)
		return -ENOSPC;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	strncpy(d->id, id, sizeof(d->id) - 1);
	d->generation = generation;
	d->expires_ns = expires_ns;
	if (heap_insert(&r->tomb_expiries, &d->expiry, expires_ns)) {
		free(d);
		return -ENOMEM;
	}
	if (map_insert(&r->tombstones, &d->node, d->id, strlen(d->id))) {
		heap_remove(&r->tomb_expiries, &d->expiry);
		free(d);
		return -ENOMEM;
	}
	return 0;
}

bool registry_covered(const struct registry *r, const char *id, uint64_t generation)
{
	const struct reg_tombstone *d = registry_tombstone(r, id);

	return d && generation && generation <= d->generation;
}

void registry_expire(struct registry *r, uint64_t now)
{
	struct heap_node *n;

	while ((n = heap_first(&r->expiries)) && n->key <= now)
		registry_task_free(r, container_of(n, struct reg_task, expiry));
	while ((n = heap_first(&r->tomb_expiries)) && n->key <= now)
		tombstone_free(r, container_of(n, struct reg_tombstone, expiry));
}

uint64_t registry_next(const struct registry *r)
{
	uint64_t next = UINT64_MAX;
	struct heap_node *n;

	if ((n = heap_first(&r->expiries)))
		next = n->key;
	if ((n = heap_first(&r->tomb_expiries)) && n->key < next)
		next = n->key;
	return next;
}
