/* SPDX-License-Identifier: GPL-2.0-or-later */
/* repair.c — replicas kept at their number; see repair.h */
#include "p2p/scheduler/repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define SEC UINT64_C(1000000000)
#define MS  UINT64_C(1000000)

enum {
	SURPLUS_SEC = 5, /* surplus must last so long: holders come and go */
	AVOID_SEC = 30, /* a host that failed gets this task again only after */
	RETRY_MAX_SEC = 60,
	NO_TARGET_SEC = 5,
};

const char *repair_kind_name(enum repair_kind k)
{
	static const char *const names[] = {"fetch", "promote", "unpin"};

	return names[k];
}

void repair_init(struct repair *p, struct registry *reg, struct placement_rng *rng,
	unsigned max_actions, const struct repair_ops *ops, void *arg)
{
	*p = (struct repair){
		.reg = reg, .rng = rng, .max_actions = max_actions, .ops = ops, .arg = arg};
	list_init(&p->actions);
}

void repair_fini(struct repair *p)
{
	struct list *it;

	while ((it = list_pop(&p->actions)))
		free(list_entry(it, struct repair_action, link));
	heap_fini(&p->checks);
	p->n_actions = 0;
}

void repair_touch(struct repair *p, struct reg_task *t, uint64_t when)
{
	if (!heap_contains(&t->check)) {
		/* out of memory here: the next change of the task tries again */
		(void)heap_insert(&p->checks, &t->check, when);
	} else if (when < t->check.key) {
		heap_update(&p->checks, &t->check, when);
	}
}

static void cancel(struct repair *p, struct repair_action *a)
{
	if (a->is_canceled)
		return;
	a->is_canceled = true;
	p->ops->cancel(p->arg, a);
}

void repair_task_gone(struct repair *p, struct reg_task *t)
{
	heap_remove(&p->checks, &t->check);
	if (!t->n_actions)
		return;
	list_for_each (it, &p->actions) {
		struct repair_action *a = list_entry(it, struct repair_action, link);

		if (!strcmp(a->task_id, t->id))
			cancel(p, a);
	}
}

void repair_host_down(struct repair *p, const char *host_id)
{
	list_for_each (it, &p->actions) {
		struct repair_action *a = list_entry(it, struct repair_action, link);

		if (!strcmp(a->host_id, host_id))
			cancel(p, a);
	}
}

struct counts {
	uint64_t complete, counted;
};

/* counted: replicas that will stay; one on a draining host must be replaced in time */
static struct counts count(const struct reg_task *t)
{
	struct counts n = {0};

	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (!copy_counts(c))
			continue;
		n.complete++;
		n.counted += c->persistent && !c->host->is_draining;
	}
	return n;
}

uint64_t repair_missing(const struct reg_task *t)
{
	uint64_t counted = count(t).counted;

	return t->wanted > counted ? t->wanted - counted : 0;
}

static bool start(struct repair *p, struct reg_task *t, struct reg_host *h, enum repair_kind kind,
	uint64_t now)
{
	struct repair_action *a = calloc(1, sizeof(*a));

	if (!a)
		return false;
	a->kind = kind;
	snprintf(a->task_id, sizeof(a->task_id), "%s", t->id);
	snprintf(a->host_id, sizeof(a->host_id), "%s", h->id);
	a->addr = h->addr;
	a->started_ns = now;
	if (kind == REPAIR_FETCH) {
		/* a place-holder, so that the host is not chosen twice; it registers itself soon */
		struct reg_copy *c = registry_copy_put(p->reg, t, h, "");

		if (!c) {
			free(a);
			return false;
		}
		c->state = COPY_RECEIVED;
		c->persistent = true; /* it counts when the next one is placed */
		a->length = t->length;
		h->n_fetching++;
		h->promised_bytes += a->length;
	}
	t->n_actions++;
	p->n_actions++;
	list_push(&p->actions, &a->link);
	p->ops->start(p->arg, a);
	return true;
}

static bool is_acting(const struct repair *p, const struct reg_task *t, const struct reg_host *h)
{
	if (!t->n_actions)
		return false;
	list_for_each (it, &p->actions) {
		const struct repair_action *a = list_entry(it, struct repair_action, link);

		if (!strcmp(a->task_id, t->id) && !strcmp(a->host_id, h->id))
			return true;
	}
	return false;
}

/* a complete copy that only has to be declared a replica */
static struct reg_host *promotable(const struct repair *p, const struct reg_task *t, uint64_t now)
{
	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (copy_counts(c) && !c->persistent && !c->host->disable_shared &&
			!c->host->is_draining && !placement_is_avoided(t, c->host, now) &&
			!is_acting(p, t, c->host))
			return c->host;
	}
	return NULL;
}

static void make_more(struct repair *p, struct reg_task *t, uint64_t missing, uint64_t now)
{
	const char *why = NULL;

	while (missing && p->n_actions < p->max_actions) {
		struct reg_host *h = promotable(p, t, now);
		enum repair_kind kind = h ? REPAIR_PROMOTE : REPAIR_FETCH;

		if (!h)
			h = placement_target(p->reg, t, p->rng, now, &why);
		if (!h || !start(p, t, h, kind, now))
			break;
		missing--;
	}
	if (!missing)
		return;
	if (p->n_actions >= p->max_actions) {
		repair_touch(p, t, now); /* its turn comes when another action ends */
		return;
	}
	if (why && !t->n_failures++)
		log_notice(
			"repair: too few replicas and no host for another: %s id=%s missing=%llu",
			why, t->id, (unsigned long long)missing);
	repair_touch(p, t, now + NO_TARGET_SEC * SEC);
}

static void take_off(struct repair *p, struct reg_task *t, uint64_t now)
{
	struct reg_copy *c;

	if (!t->surplus_ns)
		t->surplus_ns = now;
	if (now < t->surplus_ns + SURPLUS_SEC * SEC) {
		repair_touch(p, t, t->surplus_ns + SURPLUS_SEC * SEC);
		return;
	}
	c = placement_surplus(t, p->rng);
	if (c && p->n_actions < p->max_actions)
		start(p, t, c->host, REPAIR_UNPIN, now);
}

static void check(struct repair *p, struct reg_task *t, uint64_t now)
{
	struct counts n = count(t);
	uint64_t missing = t->wanted > n.counted ? t->wanted - n.counted : 0;

	t->n_missing = (size_t)missing;
	if (!t->is_owned)
		return;
	if (n.counted <= t->wanted)
		t->surplus_ns = 0;
	if (!n.complete) /* nothing to copy from; a returning holder touches the task */
		return;
	if (now < t->settle_ns || (t->settle_ns && now < p->hold_ns)) {
		repair_touch(p, t, t->settle_ns > p->hold_ns ? t->settle_ns : p->hold_ns);
		return;
	}
	if (missing > t->n_actions) {
		if (now < t->retry_ns)
			repair_touch(p, t, t->retry_ns);
		else
			make_more(p, t, missing - t->n_actions, now);
	} else if (n.counted > t->wanted && !t->n_actions) {
		take_off(p, t, now);
	}
}

void repair_step(struct repair *p, uint64_t now)
{
	struct heap_node *n;

	/* Over the limit nothing is begun, and repair_done() comes back here. */
	while (p->n_actions < p->max_actions && (n = heap_first(&p->checks)) && n->key <= now) {
		struct reg_task *t = container_of(n, struct reg_task, check);

		heap_remove(&p->checks, n);
		check(p, t, now);
	}
}

uint64_t repair_next(const struct repair *p)
{
	const struct heap_node *n = heap_first(&p->checks);

	return n && p->n_actions < p->max_actions ? n->key : UINT64_MAX;
}

static void apply_ok(
	struct repair *p, struct reg_task *t, struct reg_copy *c, const struct repair_action *a)
{
	switch (a->kind) {
	case REPAIR_FETCH:
		if (c->state != COPY_SUCCEEDED) {
			c->state = COPY_SUCCEEDED;
			c->version = t->version;
		}
		c->persistent = true;
		break;
	case REPAIR_PROMOTE:
		c->persistent = true;
		break;
	case REPAIR_UNPIN:
		c->persistent = false;
		break;
	}
	t->n_failures = 0;
	t->retry_ns = 0;
	p->n_done++;
}

static void apply_failure(struct repair *p, struct reg_task *t, struct reg_copy *c,
	struct repair_action *a, enum repair_outcome o, const char *what, uint64_t now)
{
	uint64_t pause = t->n_failures < 6 ? UINT64_C(1) << t->n_failures : RETRY_MAX_SEC;

	if (a->kind == REPAIR_FETCH && c && c->state != COPY_SUCCEEDED && !c->child)
		registry_copy_free(p->reg, c);
	else if (a->kind == REPAIR_UNPIN && c && o == REPAIR_REFUSED)
		c->is_kept = true;
	if (a->is_canceled)
		return;
	p->n_failed++;
	log_notice("repair: %s failed: %s id=%s host=%s", repair_kind_name(a->kind),
		what ? what : "no reason given", t->id, a->host_id);
	t->n_failures++;
	t->retry_ns = now + (pause < RETRY_MAX_SEC ? pause : RETRY_MAX_SEC) * SEC;
}

void repair_done(struct repair *p, struct repair_action *a, enum repair_outcome o, const char *what,
	uint64_t now)
{
	struct reg_task *t = registry_task(p->reg, a->task_id);
	struct reg_host *h = registry_host(p->reg, a->host_id);
	struct reg_copy *c = t && h ? registry_copy(t, h) : NULL;

	list_del(&a->link);
	p->n_actions--;
	if (h && a->kind == REPAIR_FETCH && h->n_fetching) {
		h->n_fetching--;
		h->promised_bytes -= a->length;
	}
	if (t && t->n_actions) {
		t->n_actions--;
		if (h && o != REPAIR_OK && !a->is_canceled)
			placement_avoid(t, h, now + AVOID_SEC * SEC);
		if (o == REPAIR_OK && c)
			apply_ok(p, t, c, a);
		else if (o != REPAIR_OK)
			apply_failure(p, t, c, a, o, what, now);
		repair_touch(p, t, now);
	}
	free(a);
}
