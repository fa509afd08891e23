/* SPDX-License-Identifier: GPL-2.0-or-later */
/* placement.c — where replicas go; see placement.h */
#include "p2p/scheduler/placement.h"

#include <string.h>
#include <strings.h>

#include "p2p/peers.h"

uint64_t placement_random(struct placement_rng *g) /* splitmix64 */
{
	uint64_t x = g->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t placement_below(struct placement_rng *g, uint64_t n)
{
	return (uint64_t)((unsigned __int128)placement_random(g) * n >> 64);
}

uint64_t placement_host_hash(const struct reg_host *h)
{
	return peers_hash(h->id);
}

bool placement_fits(const struct reg_host *h, uint64_t length)
{
	uint64_t room;

	if (!h->has_disk)
		return true;
	/* 1 % stays free: the figure is up to an announcement old */
	room = h->disk_free > h->disk_total / 100 ? h->disk_free - h->disk_total / 100 : 0;
	return room >= h->promised_bytes && room - h->promised_bytes >= length;
}

void placement_avoid(struct reg_task *t, const struct reg_host *h, uint64_t until_ns)
{
	struct reg_avoid *slot = &t->avoid[0];
	uint64_t hash = placement_host_hash(h);

	for (size_t i = 0; i < ARRAY_SIZE(t->avoid); i++) {
		if (t->avoid[i].host_hash == hash) {
			slot = &t->avoid[i];
			break;
		}
		if (t->avoid[i].until_ns < slot->until_ns)
			slot = &t->avoid[i];
	}
	*slot = (struct reg_avoid){hash, until_ns};
}

bool placement_is_avoided(const struct reg_task *t, const struct reg_host *h, uint64_t now)
{
	uint64_t hash = placement_host_hash(h);

	for (size_t i = 0; i < ARRAY_SIZE(t->avoid); i++) {
		if (t->avoid[i].host_hash == hash && t->avoid[i].until_ns > now)
			return true;
	}
	return false;
}

/* 0..5 equal leading parts of two paths joined by '|' (dragonfly-p2p.md (m)) */
static unsigned common_location(const char *a, const char *b)
{
	unsigned n = 0;

	if (!a || !b || !*a || !*b)
		return 0;
	if (!strcasecmp(a, b))
		return 5;
	while (n < 5) {
		size_t la = strcspn(a, "|"), lb = strcspn(b, "|");

		if (la != lb || strncasecmp(a, b, la))
			break;
		n++;
		if (!a[la] || !b[lb])
			break;
		a += la + 1;
		b += lb + 1;
	}
	return n;
}

/* how near @h is to the persistent copies of @t other than its own; lower spreads better */
static unsigned nearness(const struct reg_task *t, const struct reg_host *h)
{
	unsigned sum = 0;

	list_for_each (it, &t->copies) {
		const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

		if (c->host == h || !c->host->is_live || !c->persistent)
			continue;
		if (h->idc && c->host->idc && *h->idc && !strcasecmp(h->idc, c->host->idc))
			sum += 8;
		sum += common_location(h->location, c->host->location);
	}
	return sum;
}

static double free_share(const struct reg_host *h)
{
	return h->has_disk && h->disk_total ? (double)h->disk_free / (double)h->disk_total : 0.5;
}

/* < 0: @a is the better target */
static int compare(const struct reg_task *t, const struct reg_host *a, const struct reg_host *b)
{
	unsigned na = nearness(t, a), nb = nearness(t, b);
	double fa = free_share(a), fb = free_share(b);

	if (na != nb)
		return na < nb ? -1 : 1;
	if (a->n_fetching != b->n_fetching)
		return a->n_fetching < b->n_fetching ? -1 : 1;
	/* only real differences: figures wander, and equal hosts should share by chance */
	if (fa - fb > 0.1 || fb - fa > 0.1)
		return fa > fb ? -1 : 1;
	return 0;
}

struct reg_host *placement_target(const struct registry *r, const struct reg_task *t,
	struct placement_rng *g, uint64_t now, const char **why)
{
	struct reg_host *best = NULL;
	const char *reason = "no other peer is there";
	uint64_t n_equal = 0;

	for (struct reg_host *h = registry_host_next(r, NULL); h; h = registry_host_next(r, h)) {
		int d;

		if (!h->is_live || h->addr.ss_family == AF_UNSPEC || registry_copy(t, h))
			continue;
		if (h->disable_shared || h->is_draining) {
			reason = "the other peers do not share or are draining";
			continue;
		}
		if (!placement_fits(h, t->length)) {
			reason = "the other peers have no room";
			continue;
		}
		if (placement_is_avoided(t, h, now)) {
			reason = "the other peers failed to make one";
			continue;
		}
		d = best ? compare(t, h, best) : -1;
		if (d < 0)
			n_equal = 0;
		if (d <= 0 && placement_below(g, ++n_equal) == 0)
			best = h;
	}
	if (why)
		*why = reason;
	return best;
}

struct reg_copy *placement_surplus(const struct reg_task *t, struct placement_rng *g)
{
	struct reg_copy *worst = NULL;
	uint64_t n_equal = 0;

	list_for_each (it, &t->copies) {
		struct reg_copy *c = list_entry(it, struct reg_copy, by_task);
		int d;

		if (!copy_counts(c) || !c->persistent || c->is_kept)
			continue;
		d = worst ? compare(t, worst->host, c->host) : -1;
		if (d < 0)
			n_equal = 0;
		if (d <= 0 && placement_below(g, ++n_equal) == 0)
			worst = c;
	}
	return worst;
}
