/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sched_sim.c — see sched_sim.h */
#include "tests/lib/sched_sim.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <sys/random.h>

#include "common/rpc/rpc.h"

enum event_kind { EV_REQUEST, EV_REPLY, EV_ACTION_DONE, EV_FETCHED };

struct event {
	struct heap_node at;
	enum event_kind kind;
	int from, to;
	unsigned from_epoch, to_epoch;
	struct peer_link *link;
	struct repair_action *action;
	enum repair_outcome outcome;
	const char *why;
	bool ok;
	void *bytes;
	size_t len;
	struct sim_copy copy; /* EV_FETCHED: what will be there */
};

static bool sim_is_used;

/* In place of libc's: the only use here is the key of common/map's hash, whose order of iteration would make
 * two runs with one seed differ. Other tests that the linker gives this to have the kernel's. */
ssize_t getrandom(void *p, size_t n, unsigned flags)
{
	const char *key = getenv("SCHED_SIM_KEY");

	if (!sim_is_used)
		return syscall(SYS_getrandom, p, n, flags);
	memset(p, key ? atoi(key) : 1, n);
	return (ssize_t)n;
}

uint64_t sim_random(struct sim *s, uint64_t below)
{
	struct placement_rng g = {s->rng};
	uint64_t r = placement_below(&g, below);

	s->rng = g.state;
	return r;
}

static void *xalloc(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		abort();
	return p;
}

static void post(struct sim *s, struct event *e, uint64_t in_ns)
{
	if (heap_insert(&s->events, &e->at, s->now + in_ns))
		abort();
}

static struct sockaddr_storage addr_of(int host)
{
	struct sockaddr_storage a = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a;

	v4->sin_family = AF_INET;
	v4->sin_port = htons(4000);
	v4->sin_addr.s_addr = htonl(0x0a000001u + (uint32_t)host);
	return a;
}

static int host_of(const struct sockaddr_storage *a)
{
	return (int)(ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) - 0x0a000001u);
}

static bool reaches(const struct sim *s, int a, int b)
{
	return s->hosts[b].is_alive && !s->hosts[b].is_frozen && !s->cut[a][b];
}

static bool is_silent(const struct sim *s, int a, int b)
{
	return s->cut[a][b] || s->hosts[b].is_frozen;
}

/* ---- what a node wants ------------------------------------------------------------------- */

static void do_exchange(void *arg, struct peer_link *l, const void *p, size_t n)
{
	struct sim_host *h = arg;
	struct sim *s = h->sim;
	struct event *e = xalloc(sizeof(*e));
	int to = host_of(&l->addr);

	s->n_messages++;
	e->from = h->index;
	e->from_epoch = h->epoch;
	e->to = to;
	e->link = l;
	if (to < 0 || to >= s->n || !reaches(s, h->index, to)) {
		e->kind = EV_REPLY; /* refused at once, or the deadline of the call */
		post(s, e,
			to < 0 || to >= s->n || !is_silent(s, h->index, to)
				? s->rtt_ns
				: h->node.peers.heartbeat_ns);
		return;
	}
	e->kind = EV_REQUEST;
	e->to_epoch = s->hosts[to].epoch;
	e->bytes = xalloc(n ? n : 1);
	memcpy(e->bytes, p, n);
	e->len = n;
	post(s, e, s->rtt_ns / 2);
}

static void start_action(void *arg, struct repair_action *a)
{
	struct sim_host *h = arg;
	struct sim *s = h->sim;
	struct event *e = xalloc(sizeof(*e));
	int to = host_of(&a->addr);
	struct sim_copy *c = to >= 0 && to < s->n ? sim_copy(s, to, a->task_id) : NULL;

	e->kind = EV_ACTION_DONE;
	e->from = h->index;
	e->from_epoch = h->epoch;
	e->to = to;
	e->action = a;
	a->data = e;
	if (to < 0 || to >= s->n || !reaches(s, h->index, to)) {
		e->outcome = REPAIR_FAILED;
		e->why = "unreachable";
		post(s, e, s->rtt_ns);
	} else if (a->kind == REPAIR_FETCH) {
		struct reg_task *t = registry_task(&h->node.reg, a->task_id);

		if (s->fail_fetches[to] || s->hosts[to].disk_free < a->length) {
			e->outcome = REPAIR_FAILED;
			e->why = "no space left";
			post(s, e, s->rtt_ns);
			return;
		}
		e->kind = EV_FETCHED;
		e->to_epoch = s->hosts[to].epoch;
		snprintf(e->copy.id, sizeof(e->copy.id), "%s", a->task_id);
		snprintf(e->copy.peer_id, sizeof(e->copy.peer_id), "peer-%d-%s", to, "fetch");
		e->copy.version = t->version;
		e->copy.length = t->length;
		e->copy.wanted = t->wanted;
		e->copy.expires_ns = t->expires_ns;
		e->copy.persistent = e->copy.is_complete = true;
		s->n_fetches++;
		s->bytes_fetched += t->length;
		if (s->on_fetch)
			s->on_fetch(t->id, t->length);
		post(s, e, s->rtt_ns * 4 + t->length * 8 / (s->bits_per_second / SIM_SEC));
	} else if (!c) {
		e->outcome = REPAIR_FAILED;
		e->why = "not here";
		post(s, e, s->rtt_ns);
	} else if (a->kind == REPAIR_UNPIN && c->is_kept) {
		e->outcome = REPAIR_REFUSED;
		e->why = "kept on request";
		post(s, e, s->rtt_ns);
	} else {
		c->persistent = a->kind == REPAIR_PROMOTE;
		e->outcome = REPAIR_OK;
		post(s, e, s->rtt_ns);
	}
}

static void cancel_action(void *arg, struct repair_action *a)
{
	struct sim_host *h = arg;
	struct event *e = a->data;

	heap_remove(&h->sim->events, &e->at);
	e->kind = EV_ACTION_DONE;
	e->outcome = REPAIR_FAILED;
	e->why = "canceled";
	post(h->sim, e, 0);
}

static void local_put(struct sim_host *h, const struct sim_copy *c)
{
	struct node_local l = {.id = c->id,
		.peer_id = c->peer_id,
		.version = c->version,
		.length = c->length,
		.wanted = c->wanted,
		.expires_ns = c->expires_ns,
		.piece_length = 4 << 20,
		.n_pieces = (uint32_t)((c->length + (4 << 20) - 1) / (4 << 20)),
		.state = c->is_complete ? DFCACHEFILES__V1__TASK_STATE__COMPLETE
					: DFCACHEFILES__V1__TASK_STATE__IMPORTING,
		.persistent = c->persistent,
		.is_kept = c->is_kept};

	if (node_local_put(&h->node, &l, h->sim->now))
		abort();
}

static void disk_drop(struct sim_host *h, struct sim_copy *c)
{
	h->disk_free += c->length;
	map_remove(&h->disk, &c->node);
	free(c);
}

static void on_drop(
	void *arg, const char *id, uint64_t generation, enum scheduler_drop reason, const char *why)
{
	struct sim_host *h = arg;
	struct sim_copy *c = sim_copy(h->sim, h->index, id);

	(void)why;
	if (!c || c->version.generation > generation)
		return;
	if (reason == SCHEDULER_DROP_DELETED)
		h->n_dropped_deleted++;
	else
		h->n_dropped_superseded++;
	disk_drop(h, c);
}

static void on_set_expiry(void *arg, const char *id, uint64_t in_ns)
{
	struct sim_host *h = arg;
	struct sim_copy *c = sim_copy(h->sim, h->index, id);

	if (c)
		c->expires_ns = in_ns == REG_NEVER ? REG_NEVER : h->sim->now + in_ns;
}

static void on_peer(void *arg)
{
	((struct sim_host *)arg)->n_announced++;
}

static void child_send(void *arg, struct child *c)
{
	(void)arg;
	(void)c;
}

static void child_end(void *arg, struct child *c, int status, const char *message)
{
	(void)arg;
	(void)c;
	(void)status;
	(void)message;
}

/* ---- life ------------------------------------------------------------------------------- */

void sim_init(struct sim *s, int n, uint64_t seed)
{
	sim_is_used = true;
	memset(s, 0, sizeof(*s));
	s->n = n;
	s->rng = seed;
	s->now = 1000 * SIM_SEC;
	s->rtt_ns = SIM_MS / 2;
	s->bits_per_second = UINT64_C(10) * SIM_SEC;
	s->seed_contact = -1;
	for (int i = 0; i < n; i++) {
		s->hosts[i].sim = s;
		s->hosts[i].index = i;
		s->hosts[i].disk_total = s->hosts[i].disk_free = UINT64_C(1) << 40;
	}
}

void sim_announce(struct sim *s, int host)
{
	struct sim_host *h = &s->hosts[host];
	struct node_host_info i = {.id = h->node.peers.host_id,
		.hostname = h->node.peers.host_id,
		.idc = h->idc,
		.location = h->location,
		.addr = addr_of(host),
		.is_ours = true,
		.disable_shared = h->disable_shared,
		.has_disk = true,
		.disk_total = h->disk_total,
		.disk_free = h->disk_free,
		.packed = "",
		.packed_len = 0};
	struct node_answer a;

	h->n_announced = 0;
	for (int k = 0; k < s->n; k++) {
		if (k == host || (reaches(s, host, k) && reaches(s, k, host)))
			node_announce_host(&s->hosts[k].node, &i, &a, s->now);
	}
}

void sim_start(struct sim *s, int host)
{
	struct sim_host *h = &s->hosts[host];
	char name[32];
	struct node_config cfg = {.host_id = name,
		.self = addr_of(host),
		.incarnation = sim_random(s, UINT64_MAX) | 1,
		.leave_grace_ns = 30 * SIM_SEC,
		.seed = sim_random(s, UINT64_MAX),
		.max_tasks = 20000,
		.max_repairs = 8};
	struct sockaddr_storage v[SIM_HOSTS];
	size_t n = 0;

	if (h->is_frozen) { /* the cable is back: it never stopped */
		h->is_frozen = false;
		return;
	}
	snprintf(name, sizeof(name), "10.0.0.%d-node%d", host + 1, host);
	h->ops = (struct node_ops){.exchange = do_exchange,
		.repair = {.start = start_action, .cancel = cancel_action},
		.children = {.send = child_send, .end = child_end},
		.on_peer = on_peer,
		.local = {.drop = on_drop, .set_expiry = on_set_expiry},
		.local_arg = h};
	if (node_init(&h->node, &cfg, &h->ops, h, s->now))
		abort();
	h->node.wall_offset_ns = (int64_t)(UINT64_C(1700000000) * SIM_SEC);
	h->is_alive = true;
	h->epoch++;
	if (s->seed_contact >= 0)
		v[n++] = addr_of(s->seed_contact);
	else
		for (int i = 0; i < s->n; i++)
			v[n++] = addr_of(i);
	peers_set_contacts(&h->node.peers, v, n, s->now);
	for (struct map_node *m = map_next(&h->disk, NULL); m; m = map_next(&h->disk, m))
		local_put(h, container_of(m, struct sim_copy, node));
}

void sim_kill(struct sim *s, int host)
{
	struct sim_host *h = &s->hosts[host];
	struct event *drop[4096];
	size_t n = 0;

	if (!h->is_alive)
		return;
	h->is_alive = h->is_frozen = false;
	node_fini(&h->node);
	/* an import that was not finished is lost with its process */
	for (struct map_node *m = map_next(&h->disk, NULL), *next; m; m = next) {
		struct sim_copy *c = container_of(m, struct sim_copy, node);

		next = map_next(&h->disk, m);
		if (!c->is_complete)
			disk_drop(h, c);
	}
	/* its questions need no answer, and whoever waits for it is refused */
	for (size_t i = 1; i <= s->events.n; i++) {
		struct event *e = container_of(s->events.v[i], struct event, at);

		if (e->from == host && n < 4096)
			drop[n++] = e;
	}
	for (size_t i = 0; i < n; i++) {
		heap_remove(&s->events, &drop[i]->at);
		free(drop[i]->bytes);
		free(drop[i]);
	}
}

void sim_freeze(struct sim *s, int host)
{
	s->hosts[host].is_frozen = true;
}

void sim_leave(struct sim *s, int host)
{
	struct sim_host *h = &s->hosts[host];
	struct buf out = {0};

	if (node_build_leave(&h->node, &out))
		abort();
	for (int i = 0; i < s->n; i++) {
		struct buf reply = {0};

		if (i != host && reaches(s, host, i) &&
			node_exchange_serve(&s->hosts[i].node, out.data, out.len, &reply, s->now))
			abort();
		buf_fini(&reply);
	}
	buf_fini(&out);
	sim_kill(s, host);
}

void sim_cut(struct sim *s, int a, int b, bool cut)
{
	s->cut[a][b] = s->cut[b][a] = cut;
}

void sim_split(struct sim *s, int at)
{
	for (int a = 0; a < s->n; a++) {
		for (int b = 0; b < s->n; b++)
			s->cut[a][b] = at && (a < at) != (b < at);
	}
}

void sim_fini(struct sim *s)
{
	struct heap_node *n;
	struct map_node *m;

	for (int i = 0; i < s->n; i++) {
		sim_kill(s, i);
		while ((m = map_next(&s->hosts[i].disk, NULL)))
			disk_drop(&s->hosts[i], container_of(m, struct sim_copy, node));
		map_fini(&s->hosts[i].disk);
	}
	while ((n = heap_first(&s->events))) {
		struct event *e = container_of(n, struct event, at);

		heap_remove(&s->events, n);
		free(e->bytes);
		free(e);
	}
	heap_fini(&s->events);
}

/* ---- time -------------------------------------------------------------------------------- */

static void deliver_request(struct sim *s, struct event *e)
{
	struct sim_host *to = &s->hosts[e->to];
	struct buf out = {0};

	e->kind = EV_REPLY;
	if (!reaches(s, e->from, e->to) || to->epoch != e->to_epoch) {
		post(s, e, is_silent(s, e->from, e->to) ? 3 * SIM_SEC : s->rtt_ns / 2);
		return;
	}
	e->ok = !node_exchange_serve(&to->node, e->bytes, e->len, &out, s->now);
	free(e->bytes);
	e->len = out.len;
	e->bytes = buf_take(&out, &e->len);
	post(s, e, s->rtt_ns / 2);
}

static void deliver_fetched(struct sim *s, struct event *e)
{
	struct sim_host *to = &s->hosts[e->to];
	struct sim_copy *c;

	e->kind = EV_ACTION_DONE;
	if (!reaches(s, e->from, e->to) || to->epoch != e->to_epoch) {
		e->outcome = REPAIR_FAILED;
		e->why = "the host died";
		post(s, e, 0);
		return;
	}
	c = sim_copy(s, e->to, e->copy.id);
	if (!c) {
		c = xalloc(sizeof(*c));
		*c = e->copy;
		c->node = (struct map_node){0};
		if (map_insert(&to->disk, &c->node, c->id, strlen(c->id)))
			abort();
		to->disk_free -= c->length;
	}
	c->persistent = true;
	local_put(to, c);
	e->outcome = REPAIR_OK;
	post(s, e, s->rtt_ns / 2);
}

static void deliver(struct sim *s, struct event *e)
{
	struct sim_host *h = &s->hosts[e->from];
	struct sim_copy *c;

	switch (e->kind) {
	case EV_REQUEST:
		deliver_request(s, e);
		return;
	case EV_FETCHED:
		deliver_fetched(s, e);
		return;
	case EV_REPLY:
		if (h->is_alive && h->epoch == e->from_epoch)
			node_exchange_done(&h->node, e->link, e->ok && !s->cut[e->from][e->to],
				e->bytes, e->len, s->now);
		break;
	case EV_ACTION_DONE:
		if (!h->is_alive || h->epoch != e->from_epoch)
			break;
		if (e->outcome == REPAIR_OK && e->action->kind != REPAIR_FETCH &&
			s->hosts[e->to].is_alive && (c = sim_copy(s, e->to, e->action->task_id)))
			local_put(&s->hosts[e->to], c); /* the daemon tells its inventory */
		repair_done(&h->node.repair, e->action, e->outcome, e->why, s->now);
		break;
	}
	free(e->bytes);
	free(e);
}

static uint64_t next_time(struct sim *s)
{
	uint64_t next = UINT64_MAX, t;

	if (heap_first(&s->events))
		next = heap_first(&s->events)->key;
	for (int i = 0; i < s->n; i++) {
		if (!s->hosts[i].is_alive || s->hosts[i].is_frozen)
			continue;
		t = node_next(&s->hosts[i].node, s->now);
		if (t < next)
			next = t;
	}
	return next;
}

bool sim_run_until(
	struct sim *s, uint64_t for_ns, bool (*done)(struct sim *s, void *arg), void *arg)
{
	uint64_t end = s->now + for_ns;

	for (;;) {
		uint64_t next = next_time(s);
		struct heap_node *n;

		if (done && done(s, arg))
			return true;
		if (next > end) {
			s->now = end;
			return false;
		}
		if (next > s->now)
			s->now = next;
		while ((n = heap_first(&s->events)) && n->key <= s->now) {
			struct event *e = container_of(n, struct event, at);

			heap_remove(&s->events, n);
			deliver(s, e);
		}
		for (int i = 0; i < s->n; i++) {
			struct sim_host *h = &s->hosts[i];

			if (!h->is_alive || h->is_frozen)
				continue;
			if (h->n_announced)
				sim_announce(s, i);
			if (node_next(&h->node, s->now) <= s->now)
				node_step(&h->node, s->now);
		}
	}
}

void sim_run(struct sim *s, uint64_t for_ns)
{
	sim_run_until(s, for_ns, NULL, NULL);
}

/* ---- what dfdaemon does ------------------------------------------------------------------ */

int sim_owner(struct sim *s, int host, const char *id)
{
	struct peer_link *l = peers_owner(&s->hosts[host].node.peers, id);

	return l ? host_of(&l->addr) : host;
}

struct sim_copy *sim_copy(struct sim *s, int host, const char *id)
{
	struct map_node *m = map_find(&s->hosts[host].disk, id, strlen(id));

	return m ? container_of(m, struct sim_copy, node) : NULL;
}

struct reg_task *sim_task(struct sim *s, int host, const char *id)
{
	return registry_task(&s->hosts[sim_owner(s, host, id)].node.reg, id);
}

int sim_count(struct sim *s, const char *id, int *persistent)
{
	int n = 0, p = 0;

	for (int i = 0; i < s->n; i++) {
		struct sim_copy *c =
			s->hosts[i].is_alive && !s->hosts[i].is_frozen ? sim_copy(s, i, id) : NULL;

		n += c && c->is_complete;
		p += c && c->is_complete && c->persistent;
	}
	if (persistent)
		*persistent = p;
	return n;
}

int sim_import(struct sim *s, int host, const char *id, uint8_t content, uint64_t length,
	uint64_t replicas, uint64_t ttl_ns, char message[512])
{
	struct sim_host *h = &s->hosts[host], *o = &s->hosts[sim_owner(s, host, id)];
	struct node_answer a;
	struct sim_copy *c;
	char peer_id[64];
	struct node_upload u = {.host_id = h->node.peers.host_id,
		.task_id = id,
		.peer_id = peer_id,
		.wanted = replicas,
		.length = length,
		.expires_ns = ttl_ns == REG_NEVER ? REG_NEVER : s->now + ttl_ns,
		.piece_length = 4 << 20,
		.n_pieces = (uint32_t)((length + (4 << 20) - 1) / (4 << 20)),
		.importer_uid = 1000,
		.version = {.generation = node_new_generation(&h->node, s->now),
			.has_fingerprint = true}};

	memset(u.version.fingerprint, content, sizeof(u.version.fingerprint));
	snprintf(peer_id, sizeof(peer_id), "peer-%d-%s", host, "import");
	node_upload_started(&o->node, &u, &a, s->now);
	snprintf(message, 512, "%s", a.message);
	if (a.status != RPC_OK && !(a.status == RPC_ALREADY_EXISTS && a.task &&
					  registry_version_same(&a.task->version, &u.version)))
		return a.status;
	c = sim_copy(s, host, id);
	if (!c) {
		c = xalloc(sizeof(*c));
		snprintf(c->id, sizeof(c->id), "%s", id);
		if (map_insert(&h->disk, &c->node, c->id, strlen(c->id)))
			abort();
		h->disk_free -= length;
	}
	snprintf(c->peer_id, sizeof(c->peer_id), "%s", peer_id);
	c->version = u.version;
	c->length = length;
	c->expires_ns = u.expires_ns;
	c->wanted = replicas;
	c->persistent = c->is_complete = true;
	local_put(h, c);
	if (a.status == RPC_OK) {
		node_upload_finished(&o->node, id, peer_id, &a, s->now);
		snprintf(message, 512, "%s", a.message);
	}
	return a.status;
}

int sim_delete(struct sim *s, int host, const char *id)
{
	struct node_answer a;

	node_delete(&s->hosts[sim_owner(s, host, id)].node, id, &a, s->now);
	return a.status;
}
