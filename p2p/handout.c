/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/handout.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"

#define MAX_OPEN    4 /* A */
#define OPEN_TIMES  3 /* an offer counts as open for so many piece times */
#define STALE_TIMES 16 /* after so many it may be made to another child */
#define SLOW_TIMES  24 /* after so many the end of a transfer is not waited for */

enum piece_state { NEVER, OFFERED, ASKED, SENT };

struct piece {
	uint64_t at; /* OFFERED, ASKED: when */
	const struct handout_child *to;
	uint8_t state;
};

struct handout {
	uint32_t n_pieces, n_never, n_offered, n_asked; /* by state */
	uint32_t first; /* nothing before it in `order` was never offered */
	uint32_t *order; /* our own random one */
	struct piece *pieces;
	struct {
		uint32_t number;
		uint64_t at;
	} open[MAX_OPEN];
	unsigned n_open;
	struct list children;
	uint64_t rng;
	bool is_over;
};

static uint64_t draw(struct handout *h, uint64_t below) /* splitmix64 */
{
	uint64_t z = (h->rng += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	z ^= z >> 31;
	return (uint64_t)(((unsigned __int128)z * below) >> 64);
}

int handout_new(struct handout **out, uint32_t n_pieces, uint64_t seed)
{
	struct handout *h = calloc(1, sizeof(*h));
	uint32_t n = n_pieces ? n_pieces : 1;

	if (!h)
		return -ENOMEM;
	h->order = calloc(n, sizeof(*h->order));
	h->pieces = calloc(n, sizeof(*h->pieces));
	if (!h->order || !h->pieces) {
		handout_free(h);
		return -ENOMEM;
	}
	h->n_pieces = h->n_never = n_pieces;
	h->rng = seed;
	list_init(&h->children);
	for (uint32_t i = 0; i < n_pieces; i++) {
		uint32_t k = (uint32_t)draw(h, i + 1u);

		h->order[i] = h->order[k];
		h->order[k] = i;
	}
	h->is_over = !n_pieces;
	*out = h;
	return 0;
}

struct handout *handout_free(struct handout *h)
{
	if (!h)
		return NULL;
	free(h->order);
	free(h->pieces);
	free(h);
	return NULL;
}

void handout_join(struct handout *h, struct handout_child *c)
{
	list_init(&c->link);
	c->n_offers = 0;
	list_push(&h->children, &c->link);
}

static void set_state(struct handout *h, uint32_t number, enum piece_state state)
{
	uint32_t *const n[] = {&h->n_never, &h->n_offered, &h->n_asked};
	struct piece *p = &h->pieces[number];

	if (p->state < SENT)
		--*n[p->state];
	if (state < SENT)
		++*n[state];
	p->state = state;
}

void handout_leave(struct handout *h, struct handout_child *c)
{
	list_del(&c->link);
	for (uint32_t i = 0; i < h->n_pieces && h->n_offered; i++) {
		struct piece *p = &h->pieces[i];

		if (p->to != c)
			continue;
		p->to = NULL;
		if (p->state == OFFERED)
			set_state(h, i, NEVER);
	}
	h->first = 0;
}

void handout_asked(struct handout *h, uint32_t number, uint64_t now)
{
	if (number >= h->n_pieces || h->pieces[number].state >= ASKED)
		return;
	set_state(h, number, ASKED);
	h->pieces[number].at = now;
}

void handout_sent(struct handout *h, uint32_t number)
{
	if (number < h->n_pieces)
		set_state(h, number, SENT);
}

void handout_broke(struct handout *h, uint32_t number)
{
	if (number >= h->n_pieces || h->pieces[number].state != ASKED)
		return;
	set_state(h, number, NEVER);
	h->first = 0;
}

bool handout_is_over(const struct handout *h)
{
	return h->is_over;
}

static bool wants(const struct handout_child *c, uint32_t number)
{
	return c->wanted[number / 64] >> (number % 64) & 1;
}

/* who was offered least and wants @number, but not @except; ties at random */
static struct handout_child *who(
	struct handout *h, uint32_t number, const struct handout_child *except)
{
	struct handout_child *best = NULL;
	uint64_t n_ties = 0;

	list_for_each (it, &h->children) {
		struct handout_child *c = list_entry(it, struct handout_child, link);

		if (c == except || !wants(c, number) || (best && c->n_offers > best->n_offers))
			continue;
		if (!best || c->n_offers < best->n_offers)
			n_ties = 0;
		if (draw(h, ++n_ties) == 0)
			best = c;
	}
	return best;
}

/* the next piece that nobody was told of, and a child for it */
static struct handout_child *next_new(struct handout *h, uint32_t *number)
{
	bool is_first = true;

	for (uint32_t i = h->first; i < h->n_pieces && h->n_never; i++) {
		struct handout_child *c;

		if (h->pieces[h->order[i]].state != NEVER)
			continue;
		if (is_first) /* no piece before it was left out */
			h->first = i;
		is_first = false;
		c = who(h, h->order[i], NULL);
		if (c) {
			*number = h->order[i];
			return c;
		}
	}
	return NULL;
}

/* P6 and P7: an offer that nobody took up is made to another child; with none left it is over */
static struct handout_child *next_stale(
	struct handout *h, uint64_t now, uint64_t piece_time, uint32_t *number, uint64_t *wake)
{
	struct handout_child *found = NULL;
	bool any_fresh = false;
	uint64_t limit;

	for (uint32_t i = 0; i < h->n_pieces && h->n_offered + h->n_asked; i++) {
		const struct piece *p = &h->pieces[i];
		struct handout_child *c;

		if (p->state != OFFERED && p->state != ASKED)
			continue;
		limit = piece_time * (p->state == OFFERED ? STALE_TIMES : SLOW_TIMES);
		if (now - p->at < limit) {
			any_fresh = true;
			if (p->at + limit < *wake)
				*wake = p->at + limit;
		} else if (!found && p->state == OFFERED && (c = who(h, i, p->to)) != NULL) {
			found = c;
			*number = i;
		}
	}
	h->is_over = !any_fresh;
	return h->is_over ? NULL : found;
}

static void close_offers(struct handout *h, uint64_t now, uint64_t open_ns, uint64_t *wake)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_open; i++) {
		if (h->pieces[h->open[i].number].state != OFFERED || now - h->open[i].at >= open_ns)
			continue;
		if (h->open[i].at + open_ns < *wake)
			*wake = h->open[i].at + open_ns;
		h->open[n++] = h->open[i];
	}
	h->n_open = n;
}

bool handout_next(struct handout *h, uint64_t now, uint64_t piece_time,
	struct handout_child **child, uint32_t *number, uint64_t *wake)
{
	struct handout_child *c;
	struct piece *p;

	*wake = UINT64_MAX;
	if (h->is_over || list_empty(&h->children))
		return false;
	close_offers(h, now, OPEN_TIMES * piece_time, wake);
	if (h->n_open == MAX_OPEN)
		return false;
	c = next_new(h, number);
	if (!c)
		c = next_stale(h, now, piece_time, number, wake);
	if (!c)
		return false;
	p = &h->pieces[*number];
	set_state(h, *number, OFFERED);
	p->at = now;
	p->to = c;
	h->open[h->n_open].number = *number;
	h->open[h->n_open++].at = now;
	c->n_offers++;
	*child = c;
	return true;
}
