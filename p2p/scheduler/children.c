/* SPDX-License-Identifier: GPL-2.0-or-later */
/* children.c — candidate parents; see children.h */
#include "p2p/scheduler/children.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rpc/rpc.h"
#include "p2p/peers.h"

void children_init(
	struct children *k, struct placement_rng *rng, const struct children_ops *ops, void *arg)
{
	*k = (struct children){.rng = rng, .ops = ops, .arg = arg};
	list_init(&k->waiting);
}

static bool is_blocked(const struct child *c, const struct reg_host *h)
{
	uint64_t hash = placement_host_hash(h);

	for (size_t i = 0; i < c->n_blocked; i++) {
		if (c->blocked[i] == hash)
			return true;
	}
	return false;
}

static bool has_parent(const struct child *c, const struct reg_copy *p)
{
	for (size_t i = 0; i < c->n_parents; i++) {
		if (c->parents[i] == p)
			return true;
	}
	return false;
}

/* may @p serve @c at all? */
static bool is_eligible(const struct child *c, const struct reg_copy *p)
{
	return p->host != c->copy->host && p->host->is_live && !p->host->disable_shared &&
	       p->host->addr.ss_family != AF_UNSPEC &&
	       (p->state == COPY_RUNNING || p->state == COPY_SUCCEEDED) &&
	       registry_version_same(&p->version, &c->copy->task->version) &&
	       !is_blocked(c, p->host);
}

/* one pass of reservoir sampling: at most @max of the eligible copies that @c does not have */
static size_t draw(struct children *k, const struct child *c, bool only_complete,
	const struct reg_copy **out, size_t max)
{
	size_t n = 0;
	uint64_t seen = 0;

	list_for_each (it, &c->copy->task->copies) {
		const struct reg_copy *p = list_entry(it, struct reg_copy, by_task);

		if (!is_eligible(c, p) || has_parent(c, p) ||
			(only_complete && p->state != COPY_SUCCEEDED))
			continue;
		seen++;
		if (n < max) {
			out[n++] = p;
		} else {
			uint64_t at = placement_below(k->rng, seen);

			if (at < max)
				out[at] = p;
		}
	}
	return n;
}

/* S1, S5: the list from scratch */
static void pick(struct children *k, struct child *c)
{
	c->n_parents = c->n_holders = 0;
	if (!c->is_ours) {
		c->n_parents = draw(k, c, false, c->parents, CHILD_UPSTREAM);
		return;
	}
	c->n_holders = draw(k, c, true, c->parents, CHILD_HOLDERS);
	c->n_parents = c->n_holders;
	c->n_parents += draw(k, c, false, c->parents + c->n_parents, CHILD_OTHERS);
}

static void drop_parent(struct child *c, size_t i)
{
	if (i < c->n_holders) {
		c->n_holders--;
		c->parents[i] = c->parents[c->n_holders];
		i = c->n_holders;
	}
	c->parents[i] = c->parents[--c->n_parents];
}

/* S2: @j has come; some of the others get to know it */
static void introduce(struct children *k, const struct child *j)
{
	const struct reg_task *t = j->copy->task;
	uint64_t n = t->n_copies;

	if (j->copy->host->disable_shared)
		return;
	list_for_each (it, &t->copies) {
		struct child *i = list_entry(it, struct reg_copy, by_task)->child;

		if (!i || i == j || !i->is_ours || i->copy->host == j->copy->host ||
			is_blocked(i, j->copy->host) || has_parent(i, j->copy))
			continue;
		if (n > CHILD_OTHERS && placement_below(k->rng, n) >= CHILD_OTHERS)
			continue;
		if (i->n_parents - i->n_holders >= CHILD_OTHERS)
			drop_parent(i, i->n_holders + placement_below(k->rng, CHILD_OTHERS));
		i->parents[i->n_parents++] = j->copy;
		list_del(&i->link);
		k->ops->send(k->arg, i);
	}
}

struct child *children_register(
	struct children *k, struct reg_copy *copy, bool is_ours, void *stream, uint64_t now)
{
	struct child *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	list_init(&c->link);
	c->copy = copy;
	c->is_ours = is_ours;
	c->stream = stream;
	copy->child = c;
	k->n++;
	pick(k, c);
	if (c->n_parents) {
		k->ops->send(k->arg, c);
	} else {
		c->wait_until_ns = now + CHILD_WAIT_NS;
		list_push(&k->waiting, &c->link);
	}
	introduce(k, c);
	return c;
}

void children_block(struct child *c, const char *host_id)
{
	uint64_t hash = peers_hash(host_id);

	for (size_t i = 0; i < c->n_blocked; i++) {
		if (c->blocked[i] == hash)
			return;
	}
	if (c->n_blocked < CHILD_BLOCKED)
		c->blocked[c->n_blocked++] = hash;
}

bool children_reschedule(struct children *k, struct child *c)
{
	pick(k, c);
	if (!c->n_parents)
		return false;
	list_del(&c->link);
	k->ops->send(k->arg, c);
	return true;
}

/* S3 for one child */
static void replace_at(struct children *k, struct child *c, size_t i)
{
	const struct reg_copy *p;
	bool was_holder = i < c->n_holders;

	drop_parent(c, i);
	if (draw(k, c, was_holder, &p, 1) || (was_holder && draw(k, c, false, &p, 1))) {
		c->parents[c->n_parents++] = p;
		if (was_holder && p->state == COPY_SUCCEEDED) {
			/* keep holders together at the front */
			c->parents[c->n_parents - 1] = c->parents[c->n_holders];
			c->parents[c->n_holders++] = p;
		}
	}
	/* an empty list tells the child nothing: it goes on with what it has, or reschedules */
	if (c->n_parents && c->is_ours)
		k->ops->send(k->arg, c);
}

void children_replace(struct children *k, struct child *c, const char *parent_peer_id)
{
	for (size_t i = 0; i < c->n_parents; i++) {
		if (strcmp(c->parents[i]->peer_id, parent_peer_id))
			continue;
		children_block(c, c->parents[i]->host->id);
		replace_at(k, c, i);
		return;
	}
}

void children_leave(struct children *k, struct child *c)
{
	list_del(&c->link);
	c->copy->child = NULL;
	k->n--;
	free(c);
}

void children_copy_gone(struct children *k, const struct reg_copy *copy)
{
	list_for_each (it, &copy->task->copies) {
		struct child *c = list_entry(it, struct reg_copy, by_task)->child;

		for (size_t i = 0; c && i < c->n_parents; i++) {
			if (c->parents[i] == copy) {
				replace_at(k, c, i);
				break;
			}
		}
	}
}

void children_wake(struct children *k, struct reg_task *t)
{
	list_for_each_safe (it, &k->waiting) {
		struct child *c = list_entry(it, struct child, link);

		if (c->copy->task == t)
			(void)children_reschedule(k, c);
	}
}

void children_tick(struct children *k, uint64_t now)
{
	list_for_each_safe (it, &k->waiting) {
		struct child *c = list_entry(it, struct child, link);
		char text[256];

		if (c->wait_until_ns > now)
			continue;
		snprintf(text, sizeof(text),
			"no live peer can serve persistent cache task %s: no candidate parents found",
			c->copy->task->id);
		k->ops->end(k->arg, c, RPC_FAILED_PRECONDITION, text);
		children_leave(k, c);
	}
}

uint64_t children_next(const struct children *k)
{
	uint64_t next = UINT64_MAX;

	list_for_each (it, &k->waiting) {
		const struct child *c = list_entry(it, struct child, link);

		if (c->wait_until_ns < next)
			next = c->wait_until_ns;
	}
	return next;
}
