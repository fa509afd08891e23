/* SPDX-License-Identifier: GPL-2.0-or-later */
/* claim.c — what peers say about copies and ids becomes what is valid; see node.h
 *
 * The rules (DESIGN.md §5): a tombstone beats what is older. Of two complete contents of one id the
 * newer is valid, the hosts of the other are told and drop it. Of two expiries that with the greater
 * revision is valid.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/rpc/rpc.h"
#include "p2p/scheduler/node.h"

#define IMPORTING DFCACHEFILES__V1__TASK_STATE__IMPORTING
#define FETCHING  DFCACHEFILES__V1__TASK_STATE__FETCHING
#define COMPLETE  DFCACHEFILES__V1__TASK_STATE__COMPLETE
#define DELETED   DFCACHEFILES__V1__TASK_STATE__DELETED
#define GONE      DFCACHEFILES__V1__TASK_STATE__GONE
#define FACT      DFCACHEFILES__V1__TASK_STATE__TASK_STATE_UNKNOWN

/* ---- what is said to the one who was wrong ----------------------------------------------- */

static void say_tombstone(struct node *n, const struct reg_host *h, const char *id,
	struct node_reply *reply, uint64_t now)
{
	struct peer_link *l = peers_find_host(&n->peers, h->id);

	if (reply && reply->n < INV_BATCH)
		entry_of_tombstone(
			registry_tombstone(&n->reg, id), now, &reply->entries[reply->n++]);
	else if (l)
		node_tell(n, l, id);
}

static void say_task(struct node *n, const struct reg_host *h, const struct reg_task *t,
	struct node_reply *reply, uint64_t now)
{
	struct peer_link *l = peers_find_host(&n->peers, h->id);

	if (h == n->self_host)
		node_judge(n, t->id, &t->version, t->expires_ns, t->expiry_revision);
	else if (reply && reply->n < INV_BATCH)
		entry_of_task(t, now, &reply->entries[reply->n++]);
	else if (l)
		node_tell(n, l, t->id);
}

/* ---- the copy here ----------------------------------------------------------------------- */

static struct node_order *order(struct node *n, const char *id)
{
	struct node_order *o = calloc(1, sizeof(*o));

	if (!o) /* it is judged again when it is told again */
		return NULL;
	memcpy(o->id, id, strlen(id) + 1);
	list_push(&n->orders, &o->link);
	return o;
}

static void drop_here(struct node *n, struct inv_task *t, uint64_t generation,
	enum scheduler_drop reason, const char *why)
{
	struct node_order *o = order(n, t->id);

	if (!o)
		return;
	o->is_drop = true;
	o->generation = generation;
	o->reason = reason;
	o->why = why;
	node_local_remove(n, t->id);
}

void node_judge(struct node *n, const char *id, const struct reg_version *valid,
	uint64_t expires_ns, uint64_t revision)
{
	struct inv_task *t = inventory_find(&n->inv, id);
	const struct reg_tombstone *d = registry_tombstone(&n->reg, id);
	struct node_order *o;

	if (!t || t->state == GONE)
		return;
	if (registry_covered(&n->reg, id, t->version.generation)) {
		drop_here(n, t, d->generation, SCHEDULER_DROP_DELETED, "the task was deleted");
		return;
	}
	if (!valid)
		return;
	if (t->state == COMPLETE && !registry_version_same(&t->version, valid) &&
		registry_version_newer(valid, &t->version)) {
		log_warning("scheduler: the copy here lost against a newer import of the same id "
			    "with other content id=%s generation=%llu newer=%llu",
			id, (unsigned long long)t->version.generation,
			(unsigned long long)valid->generation);
		drop_here(n, t, t->version.generation, SCHEDULER_DROP_SUPERSEDED,
			"a newer import of the same id with other content is valid");
		return;
	}
	if (revision > t->expiry_revision && (o = order(n, id))) {
		o->expires_ns = t->expires_ns = expires_ns;
		t->expiry_revision = revision;
		t->change++;
	}
}

/* ---- the registry ------------------------------------------------------------------------ */

static void replace_text(char **to, const char *from)
{
	char *copy = from ? strdup(from) : NULL;

	if (from && !copy)
		return; /* out of memory: the old label stays */
	free(*to);
	*to = copy;
}

/* take over what describes the content */
static void describe(struct node *n, struct reg_task *t, const inv_entry *e, uint64_t now)
{
	t->length = e->content_length;
	t->piece_length = (uint32_t)e->piece_length;
	t->n_pieces = e->piece_count;
	t->wanted = e->wanted_replicas;
	t->importer_uid = e->importer_uid;
	t->created_wall_ns = e->created_ns;
	t->updated_wall_ns = node_wall(n, now);
	t->expiry_revision = e->expiry_revision;
	(void)registry_task_set_expiry(&n->reg, t, entry_expires(e, now));
	replace_text(&t->tag, e->tag);
	replace_text(&t->application, e->application);
	replace_text(&t->importer, e->importer_host_id);
}

/* @v is the valid version now: copies of another one do not count any more, their hosts are told */
static void switch_version(
	struct node *n, struct reg_task *t, const struct reg_version *v, uint64_t now)
{
	if (registry_version_same(&t->version, v)) {
		t->version = *v;
		return;
	}
	t->version = *v;
	t->settle_ns = now + NODE_SETTLE_NS; /* its other holders will speak up */
	node_copies_end(n, RPC_ABORTED, "a newer import of the task with other content is valid");
	list_for_each_safe (it, &t->copies) {
		struct reg_copy *c = list_entry(it, struct reg_copy, by_task);
		struct reg_host *host;
		bool is_told;

		if (c->state == COPY_UPLOADING || registry_version_same(&c->version, v))
			continue;
		host = c->host;
		is_told = c->state == COPY_SUCCEEDED;
		registry_copy_free(&n->reg, c); /* first: our own host drops its copy while told */
		if (is_told)
			say_task(n, host, t, NULL, now);
	}
}

static bool has_complete(const struct reg_task *t, const struct reg_copy *except)
{
	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (c != except && c->state == COPY_SUCCEEDED)
			return true;
	}
	return false;
}

static void merge_version(struct reg_task *t, const struct reg_version *v)
{
	if (v->generation > t->version.generation)
		t->version.generation = v->generation;
	if (!t->version.has_fingerprint && v->has_fingerprint) {
		t->version.has_fingerprint = true;
		memcpy(t->version.fingerprint, v->fingerprint, sizeof(v->fingerprint));
	}
}

bool node_complete(struct node *n, struct reg_task *t, struct reg_copy *c, uint64_t now)
{
	struct reg_version v = c->version;

	if (!has_complete(t, c)) {
		switch_version(n, t, &v, now);
	} else if (registry_version_same(&t->version, &v)) {
		merge_version(t, &v);
	} else {
		bool wins = registry_version_newer(&v, &t->version);

		n->n_conflicts++;
		log_warning("scheduler: two imports of one id with different content, the newer "
			    "is valid id=%s host=%s %s generation=%llu other=%llu",
			t->id, c->host->id, wins ? "wins" : "loses",
			(unsigned long long)v.generation,
			(unsigned long long)t->version.generation);
		if (!wins)
			return false;
		switch_version(n, t, &v, now);
	}
	c->version = t->version;
	c->state = COPY_SUCCEEDED;
	c->updated_wall_ns = t->updated_wall_ns = node_wall(n, now);
	children_wake(&n->children, t);
	return true;
}

static void merge_expiry(struct node *n, struct reg_host *h, struct reg_task *t, const inv_entry *e,
	struct node_reply *reply, uint64_t now)
{
	if (e->expiry_revision > t->expiry_revision) {
		t->expiry_revision = e->expiry_revision;
		(void)registry_task_set_expiry(&n->reg, t, entry_expires(e, now));
		node_tell_holders(n, t);
	} else if (e->expiry_revision < t->expiry_revision) {
		say_task(n, h, t, reply, now);
	}
}

/* somebody says that a newer deletion happened */
static void claim_deleted(struct node *n, const inv_entry *e, uint64_t now)
{
	struct reg_task *t = registry_task(&n->reg, e->id);
	/* a tombstone that never expires would stay for ever: 30 days are enough for all that
	 * return */
	uint64_t until = e->has_expires_in_ms ? entry_expires(e, now)
					      : now + UINT64_C(30) * 86400 * 1000000000;

	if (registry_tombstone_put(&n->reg, e->id, e->generation, until))
		LOG_LIMITED(LOG_WARNING, "scheduler: no room for a tombstone id=%s", e->id);
	if (e->generation > n->clock)
		n->clock = e->generation;
	if (t && t->version.generation <= e->generation) {
		node_copies_end(n, RPC_NOT_FOUND, "the task was deleted");
		registry_task_free(&n->reg, t);
	}
	node_judge(n, e->id, NULL, 0, 0);
}

/* what is valid for the id, without a copy */
static void claim_fact(struct node *n, const inv_entry *e, struct node_reply *reply, uint64_t now)
{
	struct reg_version v = entry_version(e);
	struct reg_task *t = registry_task(&n->reg, e->id);
	struct node_answer a;

	if (e->expiry_revision == INV_REVISION_NEXT) { /* a wish, not a fact */
		node_set_expiry(n, e->id, entry_expires(e, now), &a, now);
		if (a.task && reply && reply->n < INV_BATCH)
			entry_of_task(a.task, now, &reply->entries[reply->n++]);
		return;
	}
	if (registry_covered(&n->reg, e->id, v.generation))
		return;
	if (t && !registry_version_same(&t->version, &v) &&
		registry_version_newer(&v, &t->version)) {
		describe(n, t, e, now);
		switch_version(n, t, &v, now);
		node_touch(n, t, now);
	} else if (t && e->expiry_revision > t->expiry_revision) {
		t->expiry_revision = e->expiry_revision;
		(void)registry_task_set_expiry(&n->reg, t, entry_expires(e, now));
	}
	node_judge(n, e->id, &v, entry_expires(e, now), e->expiry_revision);
}

static void claim_gone(struct node *n, struct reg_host *h, const inv_entry *e, uint64_t now)
{
	struct reg_task *t = registry_task(&n->reg, e->id);
	struct reg_copy *c = t ? registry_copy(t, h) : NULL;

	if (!c || c->child)
		return;
	node_copies_end(n, RPC_UNAVAILABLE, "the copy is gone");
	registry_copy_free(&n->reg, c);
	node_touch(n, t, now);
}

static struct reg_task *task_for(struct node *n, const inv_entry *e, uint64_t now)
{
	struct reg_task *t = registry_task(&n->reg, e->id);

	if (t)
		return t;
	t = registry_task_new(&n->reg, e->id, NULL, NULL, NULL);
	if (!t) {
		LOG_LIMITED(LOG_WARNING, "scheduler: no room for another task known=%zu",
			n->reg.tasks.n);
		return NULL;
	}
	t->version = entry_version(e);
	describe(n, t, e, now);
	t->is_owned = !peers_owner_of(&n->peers, t->hash, NULL);
	t->settle_ns = now + NODE_SETTLE_NS;
	return t;
}

/* "I have (or am making) a copy" */
static void claim_copy(struct node *n, struct reg_host *h, const inv_entry *e,
	struct node_reply *reply, uint64_t now)
{
	struct reg_version v = entry_version(e);
	struct reg_task *t;
	struct reg_copy *c;
	bool fresh;

	if (registry_covered(&n->reg, e->id, e->generation)) {
		if (h == n->self_host)
			node_judge(n, e->id, NULL, 0, 0);
		else
			say_tombstone(n, h, e->id, reply, now);
		return;
	}
	t = task_for(n, e, now);
	if (!t)
		return;
	if (e->state == FETCHING && !registry_version_same(&t->version, &v)) {
		say_task(n, h, t, reply, now);
		return;
	}
	fresh = !registry_copy(t, h);
	c = registry_copy_put(&n->reg, t, h, e->peer_id);
	if (!c)
		return;
	if (fresh || !c->created_wall_ns)
		c->created_wall_ns = node_wall(n, now);
	if (!c->child || e->state == COMPLETE) {
		c->version = v;
		c->persistent = e->persistent;
		c->is_kept = e->is_kept;
	}
	if (e->state == COMPLETE) {
		struct reg_version before = t->version;

		if (!node_complete(n, t, c, now)) {
			node_copies_end(n, RPC_ABORTED, "a newer import is valid");
			registry_copy_free(&n->reg, c);
			say_task(n, h, t, reply, now);
			return;
		}
		if (!registry_version_same(&before, &v) || t->length != e->content_length ||
			t->piece_length != e->piece_length)
			describe(n, t, e, now); /* the winner of a conflict */
	} else if (!c->child) {
		c->state = e->state == IMPORTING ? COPY_UPLOADING : COPY_RECEIVED;
	}
	if (e->wanted_replicas > t->wanted)
		t->wanted = e->wanted_replicas;
	merge_expiry(n, h, t, e, reply, now);
	node_touch(n, t, now);
}

void node_claim(struct node *n, struct reg_host *h, const inv_entry *e, struct node_reply *reply,
	uint64_t now)
{
	if (e->holder_host_id && strcmp(e->holder_host_id, h->id))
		return; /* hearsay, for those who asked */
	if (e->generation > n->clock)
		n->clock = e->generation;
	switch (e->state) {
	case DELETED:
		claim_deleted(n, e, now);
		break;
	case FACT:
		claim_fact(n, e, reply, now);
		break;
	case GONE:
		claim_gone(n, h, e, now);
		break;
	default:
		claim_copy(n, h, e, reply, now);
		break;
	}
}

void node_claim_local(struct node *n, struct inv_task *t, uint64_t now)
{
	inv_entry e;
	bool gone = t->state == GONE;

	inventory_entry(t, now, &e);
	t->told = INV_TOLD;
	t->sent_change = t->change;
	if (gone) {
		node_claim(n, n->self_host, &e, NULL, now);
		inventory_free(&n->inv, t);
		return;
	}
	node_claim(n, n->self_host, &e, NULL, now); /* may drop the copy, and @t with it */
}
