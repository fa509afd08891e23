/* SPDX-License-Identifier: GPL-2.0-or-later */
/* request.c — what the RPCs of scheduler.v2.Scheduler do, without the RPC; see node.h
 * Status codes and texts: dragonfly-grpc.md §6.2, where a user could have seen them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/rpc/rpc.h"
#include "p2p/scheduler/node.h"

#define SEC UINT64_C(1000000000)

static void answer(struct node_answer *a, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void answer(struct node_answer *a, int status, const char *fmt, ...)
{
	va_list ap;

	a->status = status;
	a->task = NULL;
	va_start(ap, fmt);
	vsnprintf(a->message, sizeof(a->message), fmt, ap);
	va_end(ap);
}

/* host_may_ask - false with the answer: a peer that started lately may call before our heartbeat has
 * reached it, and calls again when it is told that it is too early */
static bool host_may_ask(const struct reg_host *h, const char *id, struct node_answer *a)
{
	if (h && h->is_live)
		return true;
	if (h && h->is_peer)
		answer(a, RPC_UNAVAILABLE,
			"the scheduler does not reach host %s yet: is its port open to other peers?",
			id);
	else
		answer(a, RPC_NOT_FOUND, "host %s not found", id);
	return false;
}

static void answer_task(struct node_answer *a, struct reg_task *t)
{
	a->status = RPC_OK;
	*a->message = 0;
	a->task = t;
}

/* ---- hosts ------------------------------------------------------------------------------ */

static void set_text(char **to, const char *from)
{
	char *copy = from && *from ? strdup(from) : NULL;

	if (from && *from && !copy)
		return;
	free(*to);
	*to = copy;
}

void node_announce_host(
	struct node *n, const struct node_host_info *i, struct node_answer *a, uint64_t now)
{
	struct reg_host *h = registry_host_ensure(&n->reg, i->id);
	void *packed;

	if (!h) {
		answer(a, RPC_RESOURCE_EXHAUSTED, "this scheduler knows too many hosts");
		return;
	}
	packed = malloc(i->packed_len ? i->packed_len : 1);
	if (!packed) {
		answer(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	memcpy(packed, i->packed, i->packed_len);
	free(h->info);
	h->info = packed;
	h->info_len = i->packed_len;
	set_text(&h->hostname, i->hostname);
	set_text(&h->idc, i->idc);
	set_text(&h->location, i->location);
	h->addr = i->addr;
	h->is_ours = i->is_ours;
	h->disable_shared = i->disable_shared;
	h->has_disk = i->has_disk;
	h->disk_total = i->disk_total;
	h->disk_free = i->disk_free;
	h->max_tx_bandwidth = i->max_tx_bandwidth;
	if (!h->is_peer) { /* not of our mesh: it lives while it announces itself */
		h->is_live = true;
		h->lapse_ns = now + (i->interval_ns ? 2 * i->interval_ns : 600 * SEC) + 5 * SEC;
	}
	answer_task(a, NULL);
}

void node_delete_host(struct node *n, const char *host_id, struct node_answer *a, uint64_t now)
{
	struct reg_host *h = registry_host(&n->reg, host_id);

	answer_task(a, NULL);
	if (!h || h == n->self_host)
		return;
	node_host_down(n, h, n->leave_grace_ns, now);
	if (!h->is_peer) {
		node_copies_end(n, RPC_UNAVAILABLE, "the host was deleted");
		registry_host_purge(&n->reg, h);
	}
}

/* ---- import ----------------------------------------------------------------------------- */

static const struct reg_copy *any_complete(const struct reg_task *t)
{
	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (copy_counts(c))
			return c;
	}
	return NULL;
}

static const struct reg_copy *importing_elsewhere(
	const struct reg_task *t, const struct reg_host *h)
{
	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (c->state == COPY_UPLOADING && c->host->is_live && c->host != h)
			return c;
	}
	return NULL;
}

static const char *time_text(uint64_t wall_ns, char out[32])
{
	time_t t = (time_t)(wall_ns / SEC);
	struct tm tm;

	if (!wall_ns || !gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm))
		return "an unknown time";
	return out;
}

static bool same_content(const struct reg_version *a, const struct reg_version *b)
{
	return a->has_fingerprint && b->has_fingerprint && registry_version_same(a, b);
}

/* the id is taken: by the same content or by another */
static void answer_exists(struct node *n, struct reg_task *t, const struct node_upload *u,
	struct node_answer *a, uint64_t now)
{
	char when[32];

	if (same_content(&t->version, &u->version)) {
		/* the wish of the second import counts too */
		if (u->wanted > t->wanted)
			t->wanted = u->wanted;
		if (u->expires_ns > t->expires_ns) {
			t->expiry_revision++;
			(void)registry_task_set_expiry(&n->reg, t, u->expires_ns);
			node_tell_holders(n, t);
		}
		node_touch(n, t, now);
		answer(a, RPC_ALREADY_EXISTS,
			"persistent cache task %s is here already with the same content", t->id);
	} else if (u->version.has_fingerprint && t->version.has_fingerprint) {
		answer(a, RPC_ALREADY_EXISTS,
			"task id %s already names other content: %llu bytes, imported on %s by uid "
			"%u at %s; delete that task first, or import with another tag or "
			"--content-for-calculating-task-id",
			t->id, (unsigned long long)t->length,
			t->importer ? t->importer : "an unknown host", t->importer_uid,
			time_text(t->created_wall_ns, when));
	} else {
		answer(a, RPC_ALREADY_EXISTS, "persistent cache task %s is %s cannot upload", t->id,
			registry_state(t));
	}
	a->task = t;
}

static void describe(struct node *n, struct reg_task *t, const struct node_upload *u, uint64_t now)
{
	t->length = u->length;
	t->piece_length = u->piece_length;
	t->n_pieces = u->n_pieces;
	t->wanted = u->wanted;
	t->importer_uid = u->importer_uid;
	t->version = u->version;
	t->expiry_revision = 0;
	t->created_wall_ns = t->updated_wall_ns = node_wall(n, now);
	(void)registry_task_set_expiry(&n->reg, t, u->expires_ns);
}

void node_upload_started(
	struct node *n, const struct node_upload *up, struct node_answer *a, uint64_t now)
{
	struct node_upload u = *up;
	struct reg_host *h = registry_host(&n->reg, u.host_id);
	struct reg_task *t = registry_task(&n->reg, u.task_id);
	const struct reg_copy *other;
	struct reg_copy *c;

	if (!host_may_ask(h, u.host_id, a))
		return;
	if (!u.version.generation)
		u.version.generation = node_new_generation(n, now);
	if (registry_covered(&n->reg, u.task_id, u.version.generation)) {
		answer(a, RPC_FAILED_PRECONDITION,
			"task %s was deleted after this import began: import it again", u.task_id);
		return;
	}
	if (t && any_complete(t)) {
		answer_exists(n, t, &u, a, now);
		return;
	}
	other = t ? importing_elsewhere(t, h) : NULL;
	if (other && !same_content(&other->version, &u.version)) {
		answer(a, RPC_ALREADY_EXISTS, "task id %s is being imported on %s at present%s",
			u.task_id, other->host->id,
			u.version.has_fingerprint && other->version.has_fingerprint
				? " with other content"
				: "");
		return;
	}
	if (!t)
		t = registry_task_new(&n->reg, u.task_id, u.tag, u.application, u.host_id);
	c = t ? registry_copy_put(&n->reg, t, h, u.peer_id) : NULL;
	if (!c) {
		answer(a, RPC_RESOURCE_EXHAUSTED,
			"the scheduler has no room for another task: it knows %zu", n->reg.tasks.n);
		if (t && !t->n_copies)
			registry_task_free(&n->reg, t);
		return;
	}
	if (u.version.generation > n->clock)
		n->clock = u.version.generation;
	describe(n, t, &u, now);
	t->is_owned = !peers_owner_of(&n->peers, t->hash, NULL);
	t->settle_ns = 0;
	c->state = COPY_UPLOADING;
	c->version = u.version;
	c->persistent = true;
	c->created_wall_ns = c->updated_wall_ns = node_wall(n, now);
	answer_task(a, t);
}

/* the task and the copy that @peer_id names, or the answer why not */
static struct reg_copy *copy_for(
	struct node *n, const char *task_id, const char *peer_id, struct node_answer *a)
{
	struct reg_task *t = registry_task(&n->reg, task_id);
	struct reg_copy *c = t ? registry_copy_by_peer(t, peer_id) : NULL;

	if (!c)
		answer(a, RPC_NOT_FOUND, "persistent cache peer %s not found", peer_id);
	return c;
}

void node_upload_finished(struct node *n, const char *task_id, const char *peer_id,
	struct node_answer *a, uint64_t now)
{
	struct reg_copy *c = copy_for(n, task_id, peer_id, a);
	struct reg_task *t;

	if (!c) {
		if (registry_tombstone(&n->reg, task_id))
			answer(a, RPC_ABORTED, "task %s was deleted while it was imported",
				task_id);
		return;
	}
	t = c->task;
	if (c->state != COPY_SUCCEEDED && !node_complete(n, t, c, now)) {
		node_copies_end(n, RPC_ABORTED, "a newer import is valid");
		registry_copy_free(&n->reg, c);
		answer(a, RPC_ALREADY_EXISTS,
			"task id %s was imported with other content at the same time, and that "
			"import is newer",
			task_id);
		return;
	}
	c->persistent = true;
	t->settle_ns = 0;
	repair_touch(&n->repair, t, now);
	answer_task(a, t);
}

void node_upload_failed(struct node *n, const char *task_id, const char *peer_id,
	struct node_answer *a, uint64_t now)
{
	struct reg_copy *c = copy_for(n, task_id, peer_id, a);
	struct reg_task *t;

	if (!c)
		return;
	t = c->task;
	if (c->state != COPY_UPLOADING) {
		answer(a, RPC_FAILED_PRECONDITION,
			"the copy of peer %s is %s: its import cannot fail any more", peer_id,
			copy_state_name(c->state));
		return;
	}
	registry_copy_free(&n->reg, c);
	if (!t->n_copies)
		registry_task_free(&n->reg, t);
	else
		node_touch(n, t, now);
	answer_task(a, NULL);
}

/* ---- stat, delete, expiry ---------------------------------------------------------------- */

void node_stat(struct node *n, const char *task_id, struct node_answer *a)
{
	struct reg_task *t = registry_task(&n->reg, task_id);

	if (t)
		answer_task(a, t);
	else
		answer(a, RPC_NOT_FOUND, "persistent cache task %s not found", task_id);
}

/* hosts that know no tombstones are asked one by one */
static void delete_foreign(struct node *n, const struct reg_task *t)
{
	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (!c->host->is_peer && c->host->is_live && n->ops->delete_copy)
			n->ops->delete_copy(n->arg, &c->host->addr, t->id);
	}
}

void node_delete(struct node *n, const char *task_id, struct node_answer *a, uint64_t now)
{
	struct reg_task *t = registry_task(&n->reg, task_id);
	uint64_t generation = node_new_generation(n, now), expires;
	int r;

	if (!t) {
		answer(a, RPC_NOT_FOUND, "persistent cache task %s not found", task_id);
		return;
	}
	expires = t->expires_ns == REG_NEVER ? now + UINT64_C(30) * 86400 * SEC : t->expires_ns;
	r = registry_tombstone_put(&n->reg, task_id, generation, expires);
	if (r) {
		answer(a, RPC_RESOURCE_EXHAUSTED,
			"no room to remember the deletion: %zu deletions are remembered",
			n->reg.tombstones.n);
		return;
	}
	log_info("scheduler: task deleted id=%s copies=%zu", task_id, t->n_copies);
	delete_foreign(n, t);
	node_copies_end(n, RPC_NOT_FOUND, "the task was deleted");
	registry_task_free(&n->reg, t);
	node_tell_all(n, task_id);
	node_judge(n, task_id, NULL, 0, 0);
	answer_task(a, NULL);
}

void node_delete_copy(struct node *n, const char *task_id, const char *host_id, const char *peer_id,
	struct node_answer *a, uint64_t now)
{
	struct reg_copy *c = copy_for(n, task_id, peer_id, a);
	struct reg_task *t;

	if (!c)
		return;
	if (strcmp(c->host->id, host_id)) {
		answer(a, RPC_NOT_FOUND, "persistent cache peer %s is not on host %s", peer_id,
			host_id);
		return;
	}
	t = c->task;
	node_copies_end(n, RPC_CANCELLED, "the peer was deleted");
	registry_copy_free(&n->reg, c);
	node_touch(n, t, now);
	answer_task(a, NULL);
}

void node_set_expiry(struct node *n, const char *task_id, uint64_t expires_ns,
	struct node_answer *a, uint64_t now)
{
	struct reg_task *t = registry_task(&n->reg, task_id);

	if (!t) {
		answer(a, RPC_NOT_FOUND, "persistent cache task %s not found", task_id);
		return;
	}
	t->expiry_revision++;
	t->updated_wall_ns = node_wall(n, now);
	if (registry_task_set_expiry(&n->reg, t, expires_ns)) {
		answer(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	node_tell_holders(n, t);
	answer_task(a, t);
}

/* ---- children --------------------------------------------------------------------------- */

void node_register(struct node *n, const struct node_register *r, void *stream, struct child **out,
	struct node_answer *a, uint64_t now)
{
	struct reg_host *h = registry_host(&n->reg, r->host_id);
	struct reg_task *t = registry_task(&n->reg, r->task_id);
	struct reg_copy *c;
	bool hope;

	*out = NULL;
	if (!host_may_ask(h, r->host_id, a))
		return;
	if (!t) {
		answer(a, RPC_NOT_FOUND, "persistent cache task %s not found", r->task_id);
		return;
	}
	if (r->version.has_fingerprint && !registry_version_same(&t->version, &r->version)) {
		answer(a, RPC_ABORTED,
			"task %s has other content now than the pieces that are here: drop them",
			r->task_id);
		return;
	}
	if (!t->length) {
		answer_task(a, t);
		return;
	}
	/* somebody is importing it, or it was lost with its holder: no reason to wait long */
	hope = any_complete(t) || importing_elsewhere(t, h) || !node_is_settled(n, t->id, now);
	if (!hope) {
		answer(a, RPC_FAILED_PRECONDITION,
			"no live peer holds persistent cache task %s: no candidate parents found",
			r->task_id);
		return;
	}
	c = registry_copy(t, h);
	if (c && c->child) {
		struct child *old = c->child;

		n->ops->children.end(
			n->arg, old, RPC_ABORTED, "the host registered again for the same task");
		children_leave(&n->children, old);
	}
	c = registry_copy_put(&n->reg, t, h, r->peer_id);
	if (!c) {
		answer(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	if (c->state == COPY_SUCCEEDED) /* it says itself that it has lost (a part of) it */
		children_copy_gone(&n->children, c);
	c->state = COPY_RECEIVED;
	c->persistent = r->persistent;
	c->concurrent_pieces = r->concurrent_pieces;
	c->version = t->version;
	c->created_wall_ns = c->updated_wall_ns = node_wall(n, now);
	answer_task(a, t);
	*out = children_register(&n->children, c, r->is_ours, stream, now);
	if (!*out)
		answer(a, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

void node_child_started(struct node *n, struct child *c)
{
	if (c->copy->state == COPY_RECEIVED)
		c->copy->state = COPY_RUNNING;
	(void)n;
}

void node_child_finished(struct node *n, struct child *k, bool ok, uint64_t now)
{
	struct reg_copy *c = k->copy;
	struct reg_task *t = c->task;

	children_leave(&n->children, k);
	if (ok && node_complete(n, t, c, now)) {
		node_touch(n, t, now);
		return;
	}
	if (c->state == COPY_SUCCEEDED)
		return; /* its inventory said so before the stream broke */
	node_copies_end(n, RPC_ABORTED, "the copy is not complete");
	registry_copy_free(&n->reg, c);
	if (!t->n_copies && !any_complete(t))
		return; /* the record stays: holders may return */
	node_touch(n, t, now);
}
