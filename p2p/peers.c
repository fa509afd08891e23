/* SPDX-License-Identifier: GPL-2.0-or-later */
/* peers.c — membership and rendezvous hashing; see peers.h */
#include "p2p/peers.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEC UINT64_C(1000000000)

enum {
	DEAD_BEATS_TENTHS = 27, /* silent for 2.7 heartbeats: dead (8.1 s) */
	REFUSED_BEATS_TENTHS = 13, /* two failures in a row and silent for 1.3: dead (3.9 s) */
};

static uint64_t mix(uint64_t x) /* the finalizer of splitmix64 */
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t peers_hash(const char *id)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (; *id; id++)
		h = (h ^ (uint8_t)*id) * UINT64_C(0x100000001b3);
	return mix(h);
}

/* the IPv4 form of a mapped address, so that dual-stack sockets compare */
static struct in6_addr addr_v6(const struct sockaddr_storage *a)
{
	struct in6_addr r = IN6ADDR_ANY_INIT;

	if (a->ss_family == AF_INET6)
		return ((const struct sockaddr_in6 *)a)->sin6_addr;
	if (a->ss_family == AF_INET) {
		r.s6_addr[10] = r.s6_addr[11] = 0xff;
		memcpy(&r.s6_addr[12], &((const struct sockaddr_in *)a)->sin_addr, 4);
	}
	return r;
}

static in_port_t addr_port(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
					: ((const struct sockaddr_in *)a)->sin_port;
}

bool peers_addr_equal(
	const struct sockaddr_storage *a, const struct sockaddr_storage *b, bool with_port)
{
	struct in6_addr x, y;

	if ((a->ss_family != AF_INET && a->ss_family != AF_INET6) ||
		(b->ss_family != AF_INET && b->ss_family != AF_INET6))
		return false;
	x = addr_v6(a);
	y = addr_v6(b);
	return !memcmp(&x, &y, sizeof(x)) && (!with_port || addr_port(a) == addr_port(b));
}

static struct peer_link *link_of(struct list *n)
{
	return list_entry(n, struct peer_link, link);
}

void peers_init(struct peers *p, const char *host_id, uint64_t incarnation, uint64_t heartbeat_ns,
	const struct peers_ops *ops, void *arg)
{
	*p = (struct peers){.incarnation = incarnation,
		.heartbeat_ns = heartbeat_ns ? heartbeat_ns : 3 * SEC,
		.ops = ops,
		.arg = arg};
	list_init(&p->links);
	snprintf(p->host_id, sizeof(p->host_id), "%s", host_id);
	p->hash = peers_hash(p->host_id);
}

static void forget(struct peers *p, struct peer_link *l)
{
	p->ops->on_forget(p->arg, l);
	list_del(&l->link);
	p->n--;
	free(l);
}

void peers_fini(struct peers *p)
{
	list_for_each_safe (it, &p->links)
		forget(p, link_of(it));
	p->n_live = 0;
}

struct peer_link *peers_find(const struct peers *p, const struct sockaddr_storage *addr)
{
	list_for_each (it, &p->links) {
		if (peers_addr_equal(&link_of(it)->addr, addr, true))
			return link_of(it);
	}
	return NULL;
}

struct peer_link *peers_find_host(const struct peers *p, const char *host_id)
{
	struct peer_link *found = NULL;

	list_for_each (it, &p->links) {
		struct peer_link *l = link_of(it);

		if (strcmp(l->host_id, host_id))
			continue;
		if (l->is_live)
			return l;
		if (!found)
			found = l;
	}
	return found;
}

struct peer_link *peers_learn(
	struct peers *p, const struct sockaddr_storage *addr, bool trusted, uint64_t now)
{
	struct peer_link *l = peers_find(p, addr);

	if (!l) {
		if (p->n >= PEERS_MAX)
			return NULL;
		l = calloc(1, sizeof(*l));
		if (!l)
			return NULL;
		l->addr = *addr;
		l->next_ns = now;
		list_push(&p->links, &l->link);
		p->n++;
	}
	l->learned_ns = now;
	l->is_trusted = l->is_trusted || trusted;
	return l;
}

int peers_set_contacts(struct peers *p, const struct sockaddr_storage *v, size_t n, uint64_t now)
{
	int r = 0;

	list_for_each (it, &p->links)
		link_of(it)->is_contact = false;
	for (size_t i = 0; i < n; i++) {
		struct peer_link *l = peers_learn(p, &v[i], true, now);

		if (l)
			l->is_contact = true;
		else
			r = p->n >= PEERS_MAX ? -ENOSPC : -ENOMEM;
	}
	return r;
}

struct peer_link *peers_due(struct peers *p, uint64_t now)
{
	list_for_each (it, &p->links) {
		struct peer_link *l = link_of(it);

		if (!l->is_busy && !l->is_self && l->next_ns <= now)
			return l;
	}
	return NULL;
}

void peers_sent(struct peers *p, struct peer_link *l, uint64_t now)
{
	l->is_busy = true;
	l->sent_ns = now;
	/* spread by host so that a whole cluster started at once does not beat in step */
	l->next_ns = now + p->heartbeat_ns - p->heartbeat_ns / 10 * (l->hash % 8) / 8;
}

static void down(struct peers *p, struct peer_link *l, bool leaving, const char *why, uint64_t now)
{
	if (!l->is_live)
		return;
	l->is_live = false;
	p->n_live--;
	p->changed_ns = now;
	list_for_each (it, &p->links) { /* perhaps it answers at another address */
		if (link_of(it)->is_alias && !strcmp(link_of(it)->host_id, l->host_id))
			link_of(it)->next_ns = now;
	}
	p->ops->on_down(p->arg, l, leaving, why);
}

void peers_answer(struct peers *p, struct peer_link *l, const char *host_id, uint64_t incarnation,
	bool draining, uint64_t now)
{
	struct peer_link *other;

	l->is_busy = false;
	l->n_failures = 0;
	l->is_draining = draining;
	if (!strcmp(host_id, p->host_id)) {
		/* our own address in the list, or a second host with our name: then it must not
		 * be taken for us, but it cannot be a peer either */
		l->is_self = incarnation == p->incarnation;
		l->next_ns = now + 10 * p->heartbeat_ns;
		l->ok_ns = now;
		return;
	}
	if (strcmp(l->host_id, host_id)) {
		down(p, l, false, "another host answers at its address", now);
		snprintf(l->host_id, sizeof(l->host_id), "%s", host_id);
		l->hash = peers_hash(l->host_id);
		l->incarnation = incarnation;
	}
	l->ok_ns = now;
	other = peers_find_host(p, host_id);
	l->is_alias = other && other != l && other->is_live;
	if (l->is_alias) {
		l->next_ns = now + 10 * p->heartbeat_ns;
		return;
	}
	if (!l->is_live) {
		l->incarnation = incarnation;
		l->is_live = true;
		p->n_live++;
		p->changed_ns = now;
		p->ops->on_up(p->arg, l);
	} else if (l->incarnation != incarnation) {
		l->incarnation = incarnation;
		p->changed_ns = now;
		p->ops->on_restart(p->arg, l);
	}
}

/* how long @l has been silent is enough to call it dead */
static uint64_t patience(const struct peers *p, const struct peer_link *l)
{
	return p->heartbeat_ns / 10 *
	       (l->n_failures >= 2 ? REFUSED_BEATS_TENTHS : DEAD_BEATS_TENTHS);
}

void peers_no_answer(struct peers *p, struct peer_link *l, uint64_t now)
{
	uint64_t wait;

	l->is_busy = false;
	l->n_failures++;
	/* soon again while it counts as live; later the longer it is dead */
	if (l->is_live || !l->host_id[0])
		wait = p->heartbeat_ns / 3;
	else
		wait = p->heartbeat_ns;
	if (l->n_failures > 10)
		wait = 3 * p->heartbeat_ns;
	l->next_ns = now + wait;
	if (l->is_live && now - l->ok_ns >= patience(p, l))
		down(p, l, false, "it does not answer", now);
}

void peers_hint(struct peers *p, struct peer_link *l, uint64_t now)
{
	uint64_t at = l->sent_ns + p->heartbeat_ns / 3;

	if (at < now)
		at = now;
	if (!l->is_busy && !l->is_self && !l->is_alias && at < l->next_ns)
		l->next_ns = at;
}

void peers_told(
	struct peers *p, struct peer_link *l, const struct sockaddr_storage *addr, uint64_t now)
{
	bool has_moved = l->told.ss_family && !peers_addr_equal(&l->told, addr, true);

	l->told = *addr;
	if (!has_moved || peers_find(p, addr))
		return;
	l->addr = *addr;
	l->next_ns = now;
}

void peers_leaving(struct peers *p, struct peer_link *l, uint64_t now)
{
	down(p, l, true, "it stops", now);
	l->next_ns = now + 2 * p->heartbeat_ns;
}

void peers_tick(struct peers *p, uint64_t now)
{
	list_for_each_safe (it, &p->links) {
		struct peer_link *l = link_of(it);

		if (l->is_live && now - l->ok_ns >= patience(p, l))
			down(p, l, false, "it is silent", now);
		/* learned ones are forgotten after an hour; configured ones never */
		if (!l->is_live && !l->is_busy && !l->is_contact && !l->is_self &&
			now - l->learned_ns > 3600 * SEC &&
			(!l->ok_ns || now - l->ok_ns > 3600 * SEC))
			forget(p, l);
	}
}

uint64_t peers_next(const struct peers *p)
{
	uint64_t next = UINT64_MAX;

	list_for_each (it, &p->links) {
		const struct peer_link *l = link_of(it);

		if (!l->is_busy && !l->is_self && l->next_ns < next)
			next = l->next_ns;
		if (l->is_live && l->ok_ns + patience(p, l) < next)
			next = l->ok_ns + patience(p, l);
	}
	return next;
}

bool peers_tried_all(const struct peers *p)
{
	list_for_each (it, &p->links) {
		const struct peer_link *l = link_of(it);

		if (l->is_contact && !l->ok_ns && !l->n_failures)
			return false;
	}
	return true;
}

struct peer_link *peers_owner_of(
	const struct peers *p, uint64_t task_hash, const struct peer_link *except)
{
	struct peer_link *best = NULL;
	uint64_t top = mix(p->hash ^ task_hash), top_hash = p->hash;

	list_for_each (it, &p->links) {
		struct peer_link *l = link_of(it);
		uint64_t score;

		if (!l->is_live || l == except)
			continue;
		score = mix(l->hash ^ task_hash);
		if (score > top || (score == top && l->hash > top_hash)) {
			top = score;
			top_hash = l->hash;
			best = l;
		}
	}
	return best;
}

bool peers_is_next(
	const struct peers *p, uint64_t task_hash, const struct peer_link *except, unsigned n)
{
	uint64_t own = mix(p->hash ^ task_hash);
	unsigned n_before = 0;

	list_for_each (it, &p->links) {
		const struct peer_link *l = link_of(it);

		n_before += l->is_live && l != except && mix(l->hash ^ task_hash) > own;
	}
	return n_before < n;
}

struct peer_link *peers_owner(const struct peers *p, const char *task_id)
{
	return peers_owner_of(p, peers_hash(task_id), NULL);
}

bool peers_trusts(const struct peers *p, const struct sockaddr_storage *addr)
{
	list_for_each (it, &p->links) {
		if (link_of(it)->is_trusted && peers_addr_equal(&link_of(it)->addr, addr, false))
			return true;
	}
	return false;
}
