/* SPDX-License-Identifier: GPL-2.0-or-later */
/* node.c — life cycle, view changes and the exchange of inventories; see node.h */
#include "p2p/scheduler/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"

#define SEC UINT64_C(1000000000)

enum {
	FACTS_MAX = 20000,
	UNSETTLED_SEC = 10,
	ASK_SEC = 1,
	HOST_FORGET_SEC = 3600,
	DELETION_TELLERS = 3,
};

/* what hangs on a peer_link */
struct node_link {
	struct peer_link *peer;
	struct list dirty, sent; /* inv_task.link */
	struct list facts, facts_sent; /* struct fact */
	size_t n_facts;
	struct list asks, asks_sent; /* struct ask_item */
};

struct fact {
	struct list link;
	char id[TASK_ID_SIZE];
};

struct node_ask {
	struct list link; /* node.asks */
	char id[TASK_ID_SIZE];
	struct list items; /* ask_item.by_ask */
	uint64_t deadline_ns;
	node_ask_fn fn; /* NULL: canceled */
	void *arg;
};

struct ask_item {
	struct list by_link, by_ask;
	struct node_ask *ask;
};

/* ---- links ------------------------------------------------------------------------------ */

static struct node_link *link_data(struct peer_link *l)
{
	struct node_link *d = l->data;

	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->peer = l;
	list_init(&d->dirty);
	list_init(&d->sent);
	list_init(&d->facts);
	list_init(&d->facts_sent);
	list_init(&d->asks);
	list_init(&d->asks_sent);
	l->data = d;
	return d;
}

static void facts_free(struct list *l)
{
	struct list *it;

	while ((it = list_pop(l)))
		free(list_entry(it, struct fact, link));
}

static void item_free(struct ask_item *i)
{
	list_del(&i->by_link);
	list_del(&i->by_ask);
	free(i);
}

static void items_free(struct list *l)
{
	list_for_each_safe (it, l)
		item_free(list_entry(it, struct ask_item, by_link));
}

void node_tell(struct node *n, struct peer_link *l, const char *id)
{
	struct node_link *d = link_data(l);
	struct fact *f;

	if (!d || d->n_facts >= FACTS_MAX || l->is_self || l->is_alias)
		return;
	if (!list_empty(&d->facts) && !strcmp(list_entry(d->facts.prev, struct fact, link)->id, id))
		return;
	f = malloc(sizeof(*f));
	if (!f)
		return;
	snprintf(f->id, sizeof(f->id), "%s", id);
	list_push(&d->facts, &f->link);
	d->n_facts++;
	(void)n;
}

void node_tell_all(struct node *n, const char *id)
{
	list_for_each (it, &n->peers.links) {
		struct peer_link *l = list_entry(it, struct peer_link, link);

		if (l->is_live)
			node_tell(n, l, id);
	}
}

void node_tell_holders(struct node *n, const struct reg_task *t)
{
	list_for_each (it, &t->copies) {
		struct reg_host *h = list_entry(it, struct reg_copy, by_task)->host;
		struct peer_link *l = peers_find_host(&n->peers, h->id);

		if (l && l->is_live)
			node_tell(n, l, t->id);
	}
	node_judge(n, t->id, &t->version, t->expires_ns, t->expiry_revision);
}

bool node_is_told(const struct node *n, const char *id)
{
	list_for_each (it, &n->peers.links) {
		struct peer_link *l = list_entry(it, struct peer_link, link);
		struct node_link *d = l->data;

		if (!l->is_live || !d)
			continue;
		list_for_each (f, &d->facts) {
			if (!strcmp(list_entry(f, struct fact, link)->id, id))
				return false;
		}
		list_for_each (f, &d->facts_sent) {
			if (!strcmp(list_entry(f, struct fact, link)->id, id))
				return false;
		}
	}
	return true;
}

/* ---- asks ------------------------------------------------------------------------------- */

static void ask_end(struct node_ask *a)
{
	list_del(&a->link);
	list_for_each_safe (it, &a->items)
		item_free(list_entry(it, struct ask_item, by_ask));
	if (a->fn)
		a->fn(a->arg);
	free(a);
}

bool node_is_settled(const struct node *n, const char *id, uint64_t now)
{
	return !peers_owner(&n->peers, id) && now >= n->started_ns + UNSETTLED_SEC * SEC &&
	       now >= n->peers.changed_ns + UNSETTLED_SEC * SEC;
}

bool node_ask(struct node *n, const char *id, node_ask_fn fn, void *arg, struct node_ask **out,
	uint64_t now)
{
	struct node_ask *a;
	bool tried = peers_tried_all(&n->peers);

	if (node_is_settled(n, id, now) || (tried && !n->peers.n_live))
		return false;
	a = calloc(1, sizeof(*a));
	if (!a)
		return false;
	list_init(&a->items);
	snprintf(a->id, sizeof(a->id), "%s", id);
	a->deadline_ns = now + ASK_SEC * SEC;
	a->fn = fn;
	a->arg = arg;
	list_push(&n->asks, &a->link);
	list_for_each (it, &n->peers.links) {
		struct peer_link *l = list_entry(it, struct peer_link, link);
		struct node_link *d = l->is_live ? link_data(l) : NULL;
		struct ask_item *i = d ? calloc(1, sizeof(*i)) : NULL;

		if (!i)
			continue;
		i->ask = a;
		list_push(&d->asks, &i->by_link);
		list_push(&a->items, &i->by_ask);
	}
	*out = a;
	return true;
}

void node_ask_cancel(struct node_ask *a)
{
	a->fn = NULL; /* node_step() reaps it at its deadline */
}

/* those that everybody answered, or whose time is over */
static void asks_step(struct node *n, uint64_t now)
{
	bool tried = peers_tried_all(&n->peers);

	list_for_each_safe (it, &n->asks) {
		struct node_ask *a = list_entry(it, struct node_ask, link);

		if (now >= a->deadline_ns || (list_empty(&a->items) && tried))
			ask_end(a);
	}
}

/* ---- the view of the cluster ------------------------------------------------------------- */

void node_touch(struct node *n, struct reg_task *t, uint64_t now)
{
	uint64_t all, persistent;

	/* the fewer copies, the sooner */
	registry_count(t, &all, &persistent);
	repair_touch(&n->repair, t, now + (persistent < 8 ? persistent : 8) * (SEC / 20));
}

/* the copies of @h may be void: look after a while what is missing */
static void host_settle(struct node *n, struct reg_host *h, uint64_t wait_ns, uint64_t now)
{
	list_for_each (it, &h->copies) {
		struct reg_task *t = list_entry(it, struct reg_copy, by_host)->task;

		if (now + wait_ns > t->settle_ns)
			t->settle_ns = now + wait_ns;
		node_touch(n, t, now);
	}
}

/* the host speaks in this incarnation; what an earlier one told is void */
static struct reg_host *host_seen(
	struct node *n, const char *id, uint64_t incarnation, uint64_t now)
{
	struct reg_host *h = registry_host_ensure(&n->reg, id);

	if (!h)
		return NULL;
	if (h->incarnation && h->incarnation != incarnation) {
		node_copies_end(n, RPC_UNAVAILABLE, "the host of the copy has started anew");
		host_settle(n, h, NODE_SETTLE_NS, now);
		registry_host_purge(&n->reg, h);
		repair_host_down(&n->repair, h->id);
	}
	h->incarnation = incarnation;
	h->is_peer = h->is_ours = true;
	return h;
}

void node_host_down(struct node *n, struct reg_host *h, uint64_t grace_ns, uint64_t now)
{
	if (!h->is_live)
		return;
	h->is_live = false;
	h->died_ns = now;
	h->lapse_ns = REG_NEVER;
	node_copies_end(n, RPC_UNAVAILABLE, "this host counts as dead here: register again");
	list_for_each_safe (it, &h->copies) {
		struct reg_copy *c = list_entry(it, struct reg_copy, by_host);
		struct reg_task *t = c->task;

		if (grace_ns && now + grace_ns > t->settle_ns)
			t->settle_ns = now + grace_ns;
		if (c->state == COPY_SUCCEEDED)
			children_copy_gone(&n->children, c);
		else
			registry_copy_free(&n->reg, c);
		node_touch(n, t, now);
	}
	repair_host_down(&n->repair, h->id);
}

static void host_up(struct node *n, struct reg_host *h, uint64_t lapse_ns, uint64_t now)
{
	h->lapse_ns = lapse_ns;
	if (h->is_live)
		return;
	h->is_live = true;
	list_for_each (it, &h->copies) {
		struct reg_copy *c = list_entry(it, struct reg_copy, by_host);

		node_touch(n, c->task, now);
		if (c->state == COPY_SUCCEEDED)
			children_wake(&n->children, c->task);
	}
}

/* What was deleted must stay deleted there too. A peer that starts has forgotten it; so may, a while
 * ago, the one who owns the id, therefore the next ones tell it as well. */
static void tell_deletions(struct node *n, struct peer_link *l)
{
	for (struct reg_tombstone *d = registry_tombstone_next(&n->reg, NULL); d;
		d = registry_tombstone_next(&n->reg, d)) {
		if (peers_is_next(&n->peers, peers_hash(d->id), l, DELETION_TELLERS))
			node_tell(n, l, d->id);
	}
}

static void on_up(void *arg, struct peer_link *l)
{
	struct node *n = arg;
	struct reg_host *h = registry_host(&n->reg, l->host_id);
	uint64_t now = n->peers.changed_ns;

	log_notice("peers: %s is here addr_known=%zu live=%zu", l->host_id, n->peers.n,
		n->peers.n_live);
	if (h) {
		host_up(n, h, REG_NEVER, now);
		h->is_draining = l->is_draining;
	}
	n->view_changed = true;
	n->repair.hold_ns = now + NODE_SETTLE_NS;
	tell_deletions(n, l);
	n->ops->on_peer(n->arg);
}

/* all that @l had been told must be told again */
static void retell(struct node *n, struct peer_link *l)
{
	struct node_link *d = link_data(l);

	for (struct inv_task *t = inventory_next(&n->inv, NULL); d && t;
		t = inventory_next(&n->inv, t)) {
		if (t->owner != l)
			continue;
		t->told = INV_DIRTY;
		list_del(&t->link);
		list_push(&d->dirty, &t->link);
	}
}

static void on_restart(void *arg, struct peer_link *l)
{
	struct node *n = arg;

	log_notice("peers: %s has started anew", l->host_id);
	retell(n, l);
	tell_deletions(n, l);
	n->ops->on_peer(n->arg);
}

static void on_down(void *arg, struct peer_link *l, bool leaving, const char *why)
{
	struct node *n = arg;
	struct reg_host *h = registry_host(&n->reg, l->host_id);
	struct node_link *d = l->data;

	log_notice("peers: %s is gone: %s live=%zu", l->host_id, why, n->peers.n_live);
	if (h)
		/* A dead peer is tried again within a third of a heartbeat: a link that was only
		 * down for a while, or takes several peers with it, is known for that by then. */
		node_host_down(n, h, leaving ? n->leave_grace_ns : n->peers.heartbeat_ns * 2 / 5,
			n->peers.changed_ns);
	if (d) {
		facts_free(&d->facts);
		d->n_facts = 0;
		items_free(&d->asks);
	}
	n->view_changed = true;
}

static void on_forget(void *arg, struct peer_link *l)
{
	struct node *n = arg;
	struct node_link *d = l->data;

	for (struct inv_task *t = inventory_next(&n->inv, NULL); t;
		t = inventory_next(&n->inv, t)) {
		if (t->owner == l) {
			list_del(&t->link);
			t->owner = NULL;
			n->view_changed = true;
		}
	}
	if (!d)
		return;
	facts_free(&d->facts);
	facts_free(&d->facts_sent);
	items_free(&d->asks);
	items_free(&d->asks_sent);
	free(d);
	l->data = NULL;
}

static const struct peers_ops peers_ops = {
	.on_up = on_up, .on_restart = on_restart, .on_down = on_down, .on_forget = on_forget};

/* who is to be told about the copy here */
static void assign(struct node *n, struct inv_task *t, struct peer_link *owner)
{
	struct node_link *d = owner ? link_data(owner) : NULL;

	list_del(&t->link);
	t->owner = owner;
	t->told = INV_DIRTY;
	if (owner && d)
		list_push(&d->dirty, &t->link);
	else if (!owner)
		list_push(&n->own, &t->link);
}

static void reassign(struct node *n, uint64_t now)
{
	struct inv_task *next;

	n->view_changed = false;
	for (struct reg_task *t = registry_task_next(&n->reg, NULL), *after; t; t = after) {
		bool owned = !peers_owner_of(&n->peers, t->hash, NULL);

		after = registry_task_next(&n->reg, t);
		if (t->is_owned && !owned) {
			node_copies_end(n, RPC_UNAVAILABLE,
				"another peer schedules this task now: register again");
			registry_task_free(&n->reg, t);
		} else if (!t->is_owned && owned) {
			t->is_owned = true;
			t->settle_ns = now + NODE_SETTLE_NS;
			repair_touch(&n->repair, t, now);
		}
	}
	for (struct inv_task *t = inventory_next(&n->inv, NULL); t; t = next) {
		struct peer_link *owner = peers_owner_of(&n->peers, t->hash, NULL);

		next = inventory_next(&n->inv, t);
		if (owner != t->owner || !owner)
			assign(n, t, owner);
	}
}

/* ---- the copies here --------------------------------------------------------------------- */

int node_local_put(struct node *n, const struct node_local *l, uint64_t now)
{
	struct inv_task *t;

	if (!task_id_is_valid(l->id) || !peer_id_is_valid(l->peer_id) ||
		(l->tag && strlen(l->tag) > INV_TEXT_MAX) ||
		(l->application && strlen(l->application) > INV_TEXT_MAX))
		return -EINVAL;
	t = inventory_put(&n->inv, l->id, l->peer_id, l->tag, l->application,
		l->state == DFCACHEFILES__V1__TASK_STATE__IMPORTING ? n->peers.host_id : NULL);
	if (!t)
		return -ENOMEM;
	if (l->version.generation > n->clock)
		n->clock = l->version.generation;
	t->version = l->version;
	t->length = l->length;
	t->wanted = l->wanted < INV_REPLICAS_MAX ? l->wanted : INV_REPLICAS_MAX;
	t->expires_ns = l->expires_ns;
	t->created_wall_ns = l->created_wall_ns;
	t->piece_length = l->piece_length;
	t->n_pieces = l->n_pieces;
	t->importer_uid = l->importer_uid;
	t->state = l->state;
	t->persistent = l->persistent;
	t->is_kept = l->is_kept;
	t->change++;
	assign(n, t, peers_owner_of(&n->peers, t->hash, NULL));
	node_judge(n, l->id, NULL, 0, 0);
	return 0;
}

void node_local_remove(struct node *n, const char *id)
{
	struct inv_task *t = inventory_find(&n->inv, id);

	if (!t || t->state == DFCACHEFILES__V1__TASK_STATE__GONE)
		return;
	t->state = DFCACHEFILES__V1__TASK_STATE__GONE;
	t->change++;
	assign(n, t, peers_owner_of(&n->peers, t->hash, NULL));
}

/* ---- building and sending ---------------------------------------------------------------- */

struct member {
	Dfcachefiles__V1__Member m;
	char ip[ADDR_TEXT];
};

static Dfcachefiles__V1__Member *set_member(
	struct member *m, const char *host_id, const struct sockaddr_storage *a)
{
	uint16_t port;

	dfcachefiles__v1__member__init(&m->m);
	addr_text(a, m->ip, &port);
	m->m.host_id = (char *)host_id;
	m->m.ip = m->ip;
	m->m.has_port = true;
	m->m.port = port;
	return &m->m;
}

/* the live peers, at most PEERS_MAX; returns the count */
static size_t set_members(const struct node *n, struct member *v, Dfcachefiles__V1__Member **out)
{
	size_t count = 0;

	list_for_each (it, &n->peers.links) {
		const struct peer_link *l = list_entry(it, struct peer_link, link);

		if (l->is_live && count < PEERS_MAX) {
			out[count] = set_member(&v[count], l->host_id, &l->addr);
			count++;
		}
	}
	return count;
}

struct scratch { /* of one message being built; one per process is enough, on the loop's thread */
	struct member self, members[PEERS_MAX];
	Dfcachefiles__V1__Member *member_list[PEERS_MAX];
	inv_entry entries[INV_BATCH];
	inv_entry *entry_list[INV_BATCH];
	char *ids[INV_BATCH];
};

static size_t add_facts(
	struct node *n, struct node_link *d, struct scratch *s, size_t count, uint64_t now)
{
	while (!list_empty(&d->facts) && count < INV_BATCH) {
		struct fact *f = list_entry(list_pop(&d->facts), struct fact, link);
		struct reg_tombstone *tomb = registry_tombstone(&n->reg, f->id);
		struct reg_task *t = registry_task(&n->reg, f->id);

		d->n_facts--;
		list_push(&d->facts_sent, &f->link);
		if (t && !(tomb && tomb->generation >= t->version.generation))
			entry_of_task(t, now, &s->entries[count++]);
		else if (tomb)
			entry_of_tombstone(tomb, now, &s->entries[count++]);
	}
	return count;
}

static size_t add_dirty(struct node_link *d, struct scratch *s, size_t count, uint64_t now)
{
	while (!list_empty(&d->dirty) && count < INV_BATCH) {
		struct inv_task *t = list_entry(list_pop(&d->dirty), struct inv_task, link);

		t->told = INV_SENT;
		t->sent_change = t->change;
		list_push(&d->sent, &t->link);
		inventory_entry(t, now, &s->entries[count++]);
	}
	return count;
}

static void init_request(
	const struct node *n, Dfcachefiles__V1__ExchangeRequest *m, struct scratch *s)
{
	dfcachefiles__v1__exchange_request__init(m);
	m->sender = set_member(&s->self, n->peers.host_id, &n->self);
	m->incarnation = n->peers.incarnation;
	m->is_draining = n->is_draining;
	m->is_leaving = n->is_leaving;
	m->clock = n->clock;
}

static void link_send(struct node *n, struct peer_link *l, uint64_t now)
{
	Dfcachefiles__V1__ExchangeRequest m;
	_cleanup_buf_ struct buf out = {0};
	_cleanup_free_ struct scratch *s = malloc(sizeof(*s));
	struct node_link *d = link_data(l);
	size_t n_entries, n_ids = 0;

	peers_sent(&n->peers, l, now);
	if (!s || !d) {
		peers_no_answer(&n->peers, l, now);
		return;
	}
	init_request(n, &m, s);
	m.n_members = set_members(n, s->members, s->member_list);
	m.members = s->member_list;
	n_entries = add_facts(n, d, s, 0, now);
	/* only a live one is told of copies: it must be the owner */
	if (l->is_live)
		n_entries = add_dirty(d, s, n_entries, now);
	for (size_t i = 0; i < n_entries; i++)
		s->entry_list[i] = &s->entries[i];
	m.entries = s->entry_list;
	m.n_entries = n_entries;
	while (!list_empty(&d->asks) && n_ids < INV_BATCH) {
		struct list *it = list_pop(&d->asks);

		list_push(&d->asks_sent, it);
		s->ids[n_ids++] = list_entry(it, struct ask_item, by_link)->ask->id;
	}
	m.ask_ids = s->ids;
	m.n_ask_ids = n_ids;
	if (pbc_pack(&m.base, &out)) {
		node_exchange_done(n, l, false, NULL, 0, now);
		return;
	}
	n->ops->exchange(n->arg, l, out.data, out.len);
}

int node_build_ask(struct node *n, const char *id, struct buf *out)
{
	Dfcachefiles__V1__ExchangeRequest m;
	_cleanup_free_ struct scratch *s = malloc(sizeof(*s));
	char *ids[] = {(char *)id};

	if (!s)
		return -ENOMEM;
	init_request(n, &m, s);
	m.ask_ids = ids;
	m.n_ask_ids = 1;
	return pbc_pack(&m.base, out);
}

int node_build_set_expiry(struct node *n, const char *id, uint64_t in_ns, struct buf *out)
{
	Dfcachefiles__V1__ExchangeRequest m;
	_cleanup_free_ struct scratch *s = malloc(sizeof(*s));
	inv_entry e = DFCACHEFILES__V1__ENTRY__INIT, *list[] = {&e};

	if (!s)
		return -ENOMEM;
	e.id = (char *)id;
	e.has_state = true;
	e.state = DFCACHEFILES__V1__TASK_STATE__TASK_STATE_UNKNOWN;
	if (in_ns != REG_NEVER) {
		e.has_expires_in_ms = true;
		e.expires_in_ms = in_ns / 1000000;
	}
	e.expiry_revision = INV_REVISION_NEXT;
	init_request(n, &m, s);
	m.entries = list;
	m.n_entries = 1;
	return pbc_pack(&m.base, out);
}

int node_build_leave(struct node *n, struct buf *out)
{
	Dfcachefiles__V1__ExchangeRequest m;
	_cleanup_free_ struct scratch *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	n->is_leaving = true;
	init_request(n, &m, s);
	return pbc_pack(&m.base, out);
}

/* ---- answers ----------------------------------------------------------------------------- */

/* the copies that were told are told, or are to be told again */
static void settle_sent(struct node *n, struct node_link *d, bool ok)
{
	struct list *it;

	while ((it = list_pop(&d->sent))) {
		struct inv_task *t = list_entry(it, struct inv_task, link);

		if (!ok || t->change != t->sent_change) {
			t->told = INV_DIRTY;
			list_push(&d->dirty, &t->link);
		} else if (t->state == DFCACHEFILES__V1__TASK_STATE__GONE) {
			inventory_free(&n->inv, t);
		} else {
			t->told = INV_TOLD;
		}
	}
	if (ok) {
		facts_free(&d->facts_sent);
	} else {
		while ((it = list_pop(&d->facts_sent))) {
			list_push_front(&d->facts, it);
			d->n_facts++;
		}
	}
	items_free(&d->asks_sent);
}

static void learn_members(struct node *n, const struct peer_link *from,
	Dfcachefiles__V1__Member *const *v, size_t count, uint64_t now)
{
	if (!from->is_trusted)
		return;
	for (size_t i = 0; i < count; i++) {
		struct sockaddr_storage a = member_addr(v[i]);
		struct peer_link *l = peers_find_host(&n->peers, v[i]->host_id);

		if (!strcmp(v[i]->host_id, n->peers.host_id))
			continue;
		if (!l)
			(void)peers_learn(&n->peers, &a, true, now);
		else if (!l->is_live)
			peers_hint(&n->peers, l, now);
	}
}

void node_exchange_done(
	struct node *n, struct peer_link *l, bool ok, const void *p, size_t len, uint64_t now)
{
	struct node_link *d = link_data(l);
	Dfcachefiles__V1__ExchangeResponse *m = NULL;
	struct reg_host *h;
	const char *why = NULL;

	if (ok) {
		m = pbc_unpack(&dfcachefiles__v1__exchange_response__descriptor, p, len);
		why = m ? exchange_check_response(m, node_wall(n, now)) : "it is not protobuf";
		if (why)
			LOG_LIMITED(LOG_WARNING, "peers: bad answer to an exchange: %s host=%s",
				why, l->host_id);
	}
	if (d)
		settle_sent(n, d, ok && !why);
	if (!ok || why) {
		peers_no_answer(&n->peers, l, now);
		if (m)
			protobuf_c_message_free_unpacked(&m->base, NULL);
		return;
	}
	h = strcmp(m->sender->host_id, n->peers.host_id)
		    ? host_seen(n, m->sender->host_id, m->incarnation, now)
		    : NULL;
	if (h && h->addr.ss_family == AF_UNSPEC)
		h->addr = l->addr;
	peers_answer(&n->peers, l, m->sender->host_id, m->incarnation, m->is_draining, now);
	if (h) {
		if (h->is_draining != m->is_draining) {
			h->is_draining = m->is_draining;
			host_settle(n, h, 0, now);
		}
		if (m->clock > n->clock)
			n->clock = m->clock;
		learn_members(n, l, m->members, m->n_members, now);
		for (size_t i = 0; i < m->n_entries; i++)
			node_claim(n, h, m->entries[i], NULL, now);
	} else if (!l->is_self) {
		LOG_LIMITED(LOG_WARNING,
			"peers: another daemon calls itself %s: give each its own hostname",
			m->sender->host_id);
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

/* ---- serving ----------------------------------------------------------------------------- */

/* what is known about @id: the copy here, the tombstone, and (as information) other copies */
static void answer_ask(struct node *n, const char *id, struct node_reply *r, uint64_t now)
{
	const struct inv_task *t = inventory_find(&n->inv, id);
	const struct reg_task *task = registry_task(&n->reg, id);
	const struct reg_tombstone *d = registry_tombstone(&n->reg, id);

	if (d && r->n < INV_BATCH)
		entry_of_tombstone(d, now, &r->entries[r->n++]);
	if (t && t->state != DFCACHEFILES__V1__TASK_STATE__GONE && r->n < INV_BATCH)
		inventory_entry(t, now, &r->entries[r->n++]);
	if (!task)
		return;
	list_for_each (it, &task->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (c->host != n->self_host && c->host->is_live && *c->peer_id && r->n < INV_BATCH)
			entry_of_copy(c, now, &r->entries[r->n++]);
	}
}

static int pack_reply(struct node *n, struct node_reply *r, struct scratch *s, struct buf *out)
{
	Dfcachefiles__V1__ExchangeResponse m;

	dfcachefiles__v1__exchange_response__init(&m);
	m.sender = set_member(&s->self, n->peers.host_id, &n->self);
	m.incarnation = n->peers.incarnation;
	m.is_draining = n->is_draining;
	m.clock = n->clock;
	m.n_members = set_members(n, s->members, s->member_list);
	m.members = s->member_list;
	for (size_t i = 0; i < r->n; i++)
		s->entry_list[i] = &r->entries[i];
	m.entries = s->entry_list;
	m.n_entries = r->n;
	return pbc_pack(&m.base, out);
}

static struct reg_host *sender_seen(
	struct node *n, const Dfcachefiles__V1__ExchangeRequest *m, uint64_t now)
{
	struct sockaddr_storage addr = member_addr(m->sender);
	struct peer_link *l = peers_find_host(&n->peers, m->sender->host_id);
	struct reg_host *h = host_seen(n, m->sender->host_id, m->incarnation, now);

	if (!h)
		return NULL;
	if (!l || (!l->is_live && !peers_addr_equal(&l->addr, &addr, true)))
		l = peers_learn(&n->peers, &addr, true, now);
	if (l)
		peers_told(&n->peers, l, &addr, now);
	/* it lives, or lives anew: see whether we reach it */
	if (l && !m->is_leaving && (!l->is_live || l->incarnation != m->incarnation))
		peers_hint(&n->peers, l, now);
	if (h->addr.ss_family == AF_UNSPEC)
		h->addr = addr;
	if (m->is_leaving) {
		if (l)
			peers_leaving(&n->peers, l, now);
		node_host_down(n, h, n->leave_grace_ns, now);
	} else if (!l || (!l->is_live && l->n_failures < 3)) {
		/* taken at its word until our own heartbeats have failed three times */
		host_up(n, h, now + 3 * n->peers.heartbeat_ns, now);
	}
	if (h->is_draining != m->is_draining) {
		h->is_draining = m->is_draining;
		host_settle(n, h, 0, now);
	}
	return h;
}

const char *node_exchange_serve(
	struct node *n, const void *p, size_t len, struct buf *out, uint64_t now)
{
	Dfcachefiles__V1__ExchangeRequest *m =
		pbc_unpack(&dfcachefiles__v1__exchange_request__descriptor, p, len);
	_cleanup_free_ struct scratch *s = malloc(sizeof(*s));
	struct node_reply r = {.entries = s ? s->entries : NULL};
	struct reg_host *h = NULL;
	const char *why = NULL;

	if (!m)
		return "the message is not an ExchangeRequest";
	if (!s) {
		why = "out of memory";
	} else if (!(why = exchange_check_request(m, node_wall(n, now)))) {
		if (strcmp(m->sender->host_id, n->peers.host_id))
			h = sender_seen(n, m, now);
		else if (m->incarnation == n->peers.incarnation)
			h = n->self_host; /* our own client */
		else
			why = "another daemon has the same host id: give each its own hostname";
		if (!h && !why)
			why = "too many hosts";
	}
	if (!why && h) {
		if (m->clock > n->clock)
			n->clock = m->clock;
		for (size_t i = 0; i < m->n_entries; i++)
			node_claim(n, h, m->entries[i], &r, now);
	}
	if (!why) {
		for (size_t i = 0; i < m->n_ask_ids; i++)
			answer_ask(n, m->ask_ids[i], &r, now);
		if (pack_reply(n, &r, s, out))
			why = "out of memory";
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return why;
}

/* ---- life ------------------------------------------------------------------------------- */

uint64_t node_wall(const struct node *n, uint64_t now)
{
	return (uint64_t)((int64_t)now + n->wall_offset_ns);
}

uint64_t node_new_generation(struct node *n, uint64_t now)
{
	uint64_t g = (node_wall(n, now) & ~UINT64_C(0xfff)) | (placement_random(&n->rng) & 0xfff);

	if (g <= n->clock)
		g = n->clock + 1;
	n->clock = g;
	return g;
}

void node_copies_end(struct node *n, int status, const char *message)
{
	n->gone_status = status;
	n->gone_message = message;
}

static void on_copy_gone(void *arg, struct reg_copy *c)
{
	struct node *n = arg;
	struct child *k = c->child;

	if (k) {
		n->ops->children.end(n->arg, k, n->gone_status, n->gone_message);
		children_leave(&n->children, k);
	}
	children_copy_gone(&n->children, c);
}

static void on_task_gone(void *arg, struct reg_task *t)
{
	struct node *n = arg;

	repair_task_gone(&n->repair, t);
}

static const struct registry_ops registry_ops = {
	.on_copy_gone = on_copy_gone, .on_task_gone = on_task_gone};

int node_init(struct node *n, const struct node_config *cfg, const struct node_ops *ops, void *arg,
	uint64_t now)
{
	if (!host_id_is_valid(cfg->host_id) || !cfg->incarnation)
		return -EINVAL;
	*n = (struct node){.ops = ops,
		.arg = arg,
		.self = cfg->self,
		.started_ns = now,
		.leave_grace_ns = cfg->leave_grace_ns,
		.rng.state = cfg->seed};
	list_init(&n->asks);
	list_init(&n->own);
	list_init(&n->orders);
	node_copies_end(n, RPC_UNAVAILABLE, "the scheduler stops");
	peers_init(&n->peers, cfg->host_id, cfg->incarnation, cfg->heartbeat_ns, &peers_ops, n);
	registry_init(&n->reg, cfg->max_tasks, &registry_ops, n);
	inventory_init(&n->inv);
	repair_init(&n->repair, &n->reg, &n->rng, cfg->max_repairs, &ops->repair, arg);
	children_init(&n->children, &n->rng, &ops->children, arg);
	n->self_host = registry_host_ensure(&n->reg, cfg->host_id);
	if (!n->self_host)
		return -ENOMEM;
	n->self_host->is_live = n->self_host->is_peer = n->self_host->is_ours = true;
	n->self_host->addr = cfg->self;
	n->self_host->incarnation = cfg->incarnation;
	return 0;
}

void node_fini(struct node *n)
{
	struct list *it;

	node_copies_end(n, RPC_UNAVAILABLE, "the scheduler stops");
	list_for_each_safe (at, &n->asks) {
		struct node_ask *a = list_entry(at, struct node_ask, link);

		a->fn = NULL;
		ask_end(a);
	}
	while ((it = list_pop(&n->orders)))
		free(list_entry(it, struct node_order, link));
	inventory_fini(&n->inv);
	peers_fini(&n->peers);
	registry_fini(&n->reg);
	repair_fini(&n->repair);
}

void node_readdress(struct node *n, const struct sockaddr_storage *self)
{
	n->self = *self;
	n->self_host->addr = *self;
	list_for_each (it, &n->peers.links) /* tell everybody at once */
		list_entry(it, struct peer_link, link)->next_ns = 0;
}

static bool has_news(const struct peer_link *l)
{
	const struct node_link *d = l->data;

	return d && l->is_live &&
	       (!list_empty(&d->dirty) || !list_empty(&d->facts) || !list_empty(&d->asks));
}

/* foreign hosts, and peers that we have not reached ourselves, live only for a while */
static void hosts_step(struct node *n, uint64_t now)
{
	if (now < n->hosts_checked_ns + SEC)
		return;
	n->hosts_checked_ns = now;
	for (struct reg_host *h = registry_host_next(&n->reg, NULL), *next; h; h = next) {
		next = registry_host_next(&n->reg, h);
		if (h->is_live && h->lapse_ns <= now) {
			log_notice("scheduler: host %s is not heard of any more", h->id);
			node_host_down(n, h, 0, now);
		} else if (!h->is_live && h != n->self_host && !h->n_fetching &&
			   now - h->died_ns > HOST_FORGET_SEC * SEC) {
			registry_host_free(&n->reg, h);
		}
	}
}

static void orders_step(struct node *n, uint64_t now)
{
	const struct scheduler_ops *ops = &n->ops->local;
	struct list *it;

	while ((it = list_pop(&n->orders))) {
		struct node_order *o = list_entry(it, struct node_order, link);

		if (o->is_drop)
			ops->drop(n->ops->local_arg, o->id, o->generation, o->reason, o->why);
		else
			ops->set_expiry(n->ops->local_arg, o->id,
				o->expires_ns == REG_NEVER ? REG_NEVER
				: o->expires_ns > now      ? o->expires_ns - now
							   : 0);
		free(o);
	}
}

void node_step(struct node *n, uint64_t now)
{
	struct peer_link *l;
	struct list *it;

	peers_tick(&n->peers, now);
	hosts_step(n, now);
	if (n->view_changed)
		reassign(n, now);
	while ((it = list_pop(&n->own)))
		node_claim_local(n, list_entry(it, struct inv_task, link), now);
	orders_step(n, now);
	node_copies_end(n, RPC_NOT_FOUND, "the task has expired");
	registry_expire(&n->reg, now);
	children_tick(&n->children, now);
	repair_step(&n->repair, now);
	asks_step(n, now);
	if (n->is_leaving)
		return;
	while ((l = peers_due(&n->peers, now)))
		link_send(n, l, now);
	list_for_each (at, &n->peers.links) {
		l = list_entry(at, struct peer_link, link);
		if (!l->is_busy && has_news(l) && !l->n_failures)
			link_send(n, l, now);
	}
}

uint64_t node_next(const struct node *n, uint64_t now)
{
	uint64_t next = now + SEC, t;

	if ((t = peers_next(&n->peers)) < next)
		next = t;
	if ((t = registry_next(&n->reg)) < next)
		next = t;
	if ((t = repair_next(&n->repair)) < next)
		next = t;
	if ((t = children_next(&n->children)) < next)
		next = t;
	list_for_each (it, &n->asks) {
		t = list_entry(it, struct node_ask, link)->deadline_ns;
		if (t < next)
			next = t;
	}
	if (n->view_changed || !list_empty(&n->own) || !list_empty(&n->orders))
		return now;
	list_for_each (it, &n->peers.links) {
		const struct peer_link *l = list_entry(it, struct peer_link, link);

		if (!l->is_busy && has_news(l) && !l->n_failures)
			return now;
	}
	return next;
}
