/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of pieces are bit maps of 64-bit words. A choice is a handful of passes over the words of at
 * most PARENTS_MAX maps: a few microseconds for a thousand pieces, some tens for 64 Ki, and made
 * once per piece. The uniform draws of rule C3 are what keeps children from herding, so they are
 * exact: count the candidates, draw an index, find it.
 */
#include "p2p/parents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define MSEC      1000000ull
#define N_SAMPLES 8

struct parent {
	bool is_used, is_holder;
	unsigned n_running, n_failures;
	uint64_t backoff_until;
	uint64_t *announced; /* n_words; owned */
};

struct parents {
	struct parents_options o;
	size_t n_words;
	uint32_t n_missing;
	unsigned n_running;
	uint64_t *missing, *requested, *scratch; /* n_words each; one block at `missing` */
	struct parent slots[PARENTS_MAX];
	uint64_t rng;
	uint64_t duration[N_SAMPLES], share[N_SAMPLES]; /* of the last pieces */
	unsigned n_samples;
};

int parents_new(struct parents **out, const struct parents_options *o)
{
	_cleanup_free_ struct parents *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->o = *o;
	p->n_words = ((size_t)o->n_pieces + 63) / 64;
	p->missing = calloc(p->n_words ? 3 * p->n_words : 1, sizeof(uint64_t));
	if (!p->missing)
		return -ENOMEM;
	p->requested = p->missing + p->n_words;
	p->scratch = p->requested + p->n_words;
	for (uint32_t i = 0; i < o->n_pieces; i++)
		p->missing[i / 64] |= 1ull << (i % 64);
	p->n_missing = o->n_pieces;
	p->rng = o->seed;
	*out = take_ptr(&p);
	return 0;
}

struct parents *parents_free(struct parents *p)
{
	if (!p)
		return NULL;
	for (int i = 0; i < PARENTS_MAX; i++)
		free(p->slots[i].announced);
	free(p->missing);
	free(p);
	return NULL;
}

/* splitmix64: enough for choices, and the same everywhere */
static uint64_t draw(struct parents *p, uint64_t below)
{
	uint64_t z = (p->rng += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	z ^= z >> 31;
	return (uint64_t)(((unsigned __int128)z * below) >> 64);
}

static bool bit(const uint64_t *map, uint32_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *map, uint32_t i)
{
	map[i / 64] |= 1ull << (i % 64);
}

static void bit_clear(uint64_t *map, uint32_t i)
{
	map[i / 64] &= ~(1ull << (i % 64));
}

void parents_have(struct parents *p, uint32_t number)
{
	if (number >= p->o.n_pieces || !bit(p->missing, number))
		return;
	bit_clear(p->missing, number);
	p->n_missing--;
}

bool parents_has(const struct parents *p, uint32_t number)
{
	return number < p->o.n_pieces && !bit(p->missing, number);
}

uint32_t parents_n_missing(const struct parents *p)
{
	return p->n_missing;
}

unsigned parents_n_running(const struct parents *p)
{
	return p->n_running;
}

size_t parents_missing(const struct parents *p, uint32_t *out, size_t max)
{
	size_t n = 0;

	for (size_t w = 0; w < p->n_words && n < max; w++)
		for (uint64_t v = p->missing[w]; v && n < max; v &= v - 1)
			out[n++] = (uint32_t)(w * 64 + (unsigned)__builtin_ctzll(v));
	return n;
}

int parents_add(struct parents *p, bool is_holder)
{
	for (int i = 0; i < PARENTS_MAX; i++) {
		struct parent *s = &p->slots[i];

		if (s->is_used)
			continue;
		*s = (struct parent){.is_used = true, .is_holder = is_holder};
		s->announced = calloc(p->n_words ? p->n_words : 1, sizeof(uint64_t));
		if (!s->announced) {
			s->is_used = false;
			return -ENOMEM;
		}
		return i;
	}
	return -ENOSPC;
}

void parents_set_holder(struct parents *p, int slot, bool is_holder)
{
	p->slots[slot].is_holder = is_holder;
}

void parents_remove(struct parents *p, int slot)
{
	struct parent *s = &p->slots[slot];

	free(s->announced);
	*s = (struct parent){0};
}

void parents_disable(struct parents *p, int slot)
{
	memset(p->slots[slot].announced, 0, p->n_words * sizeof(uint64_t));
}

void parents_announced(struct parents *p, int slot, uint32_t number)
{
	if (number < p->o.n_pieces)
		bit_set(p->slots[slot].announced, number);
}

/* is there a piece in @s's map that is in @wanted (and not in @except, which may be NULL)? */
static bool overlaps(const struct parents *p, const struct parent *s, const uint64_t *except)
{
	for (size_t w = 0; w < p->n_words; w++)
		if (p->missing[w] & s->announced[w] & ~(except ? except[w] : 0))
			return true;
	return false;
}

bool parents_useful(const struct parents *p, int slot)
{
	return p->slots[slot].is_used && overlaps(p, &p->slots[slot], NULL);
}

/* C2: one request per parent, two while fewer than C parents have anything for me */
static unsigned requests_per_parent(const struct parents *p)
{
	unsigned n = 0;

	for (int i = 0; i < PARENTS_MAX && n < p->o.max_running; i++)
		if (p->slots[i].is_used && overlaps(p, &p->slots[i], NULL))
			n++;
	return n < p->o.max_running ? 2 : 1;
}

static uint64_t count_bits(const uint64_t *map, size_t n_words)
{
	uint64_t n = 0;

	for (size_t w = 0; w < n_words; w++)
		n += (unsigned)__builtin_popcountll(map[w]);
	return n;
}

static uint32_t nth_bit(const uint64_t *map, uint64_t n)
{
	for (size_t w = 0;; w++) {
		unsigned c = (unsigned)__builtin_popcountll(map[w]);
		uint64_t v = map[w];

		if (n >= c) {
			n -= c;
			continue;
		}
		while (n--)
			v &= v - 1;
		return (uint32_t)(w * 64 + (unsigned)__builtin_ctzll(v));
	}
}

enum parents_verdict parents_next(
	struct parents *p, uint64_t now, int *slot, uint32_t *number, uint64_t *wake_ns)
{
	bool eligible[PARENTS_MAX] = {false}, any = false;
	unsigned limit;
	uint64_t n;

	*wake_ns = UINT64_MAX;
	if (!p->n_missing || p->n_running >= p->o.max_running)
		return PARENTS_WAIT;
	limit = requests_per_parent(p);
	for (int i = 0; i < PARENTS_MAX; i++) {
		const struct parent *s = &p->slots[i];

		if (!s->is_used || s->n_running >= limit || !overlaps(p, s, p->requested))
			continue;
		if (s->backoff_until > now) {
			if (s->backoff_until < *wake_ns)
				*wake_ns = s->backoff_until;
			continue;
		}
		eligible[i] = any = true;
	}
	if (!any)
		return PARENTS_WAIT;

	/* C3, first choice: what only a holder has announced */
	for (size_t w = 0; w < p->n_words; w++) {
		uint64_t holders = 0, others = 0;

		for (int i = 0; i < PARENTS_MAX; i++) {
			if (!p->slots[i].is_used)
				continue;
			if (!p->slots[i].is_holder)
				others |= p->slots[i].announced[w];
			else if (eligible[i])
				holders |= p->slots[i].announced[w];
		}
		p->scratch[w] = p->missing[w] & ~p->requested[w] & holders & ~others;
	}
	n = count_bits(p->scratch, p->n_words);
	if (!n) {
		for (size_t w = 0; w < p->n_words; w++) {
			uint64_t all = 0;

			for (int i = 0; i < PARENTS_MAX; i++)
				if (eligible[i])
					all |= p->slots[i].announced[w];
			p->scratch[w] = p->missing[w] & ~p->requested[w] & all;
		}
		n = count_bits(p->scratch, p->n_words);
	}
	*number = nth_bit(p->scratch, draw(p, n));

	n = 0;
	for (int i = 0; i < PARENTS_MAX; i++)
		if (eligible[i] && bit(p->slots[i].announced, *number) && draw(p, ++n) == 0)
			*slot = i;
	bit_set(p->requested, *number);
	p->slots[*slot].n_running++;
	p->n_running++;
	return PARENTS_ASK;
}

void parents_dropped(struct parents *p, int slot, uint32_t number)
{
	bit_clear(p->requested, number);
	p->slots[slot].n_running--;
	p->n_running--;
}

void parents_done(struct parents *p, int slot, uint32_t number, uint64_t duration_ns)
{
	p->duration[p->n_samples % N_SAMPLES] = duration_ns;
	p->share[p->n_samples % N_SAMPLES] = duration_ns / (p->n_running ? p->n_running : 1);
	p->n_samples++;
	p->slots[slot].n_failures = 0;
	parents_dropped(p, slot, number);
	parents_have(p, number);
}

static uint64_t clamp(uint64_t v, uint64_t lo, uint64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

void parents_busy(struct parents *p, int slot, uint32_t number, uint64_t now)
{
	p->slots[slot].backoff_until =
		now + clamp(parents_piece_time(p) * 3 / 2, 2 * MSEC, 500 * MSEC);
	parents_dropped(p, slot, number);
}

bool parents_failed(struct parents *p, int slot, uint32_t number)
{
	bit_clear(p->slots[slot].announced, number);
	parents_dropped(p, slot, number);
	return ++p->slots[slot].n_failures >= 2;
}

bool parents_other_choice(const struct parents *p, int slot, uint32_t number, uint64_t now)
{
	unsigned limit = requests_per_parent(p);

	for (int i = 0; i < PARENTS_MAX; i++) {
		const struct parent *s = &p->slots[i];

		if (i != slot && s->is_used && s->n_running < limit && s->backoff_until <= now &&
			(bit(s->announced, number) || overlaps(p, s, p->requested)))
			return true;
	}
	return false;
}

static uint64_t mean(const uint64_t *v, unsigned n_samples)
{
	unsigned n = n_samples < N_SAMPLES ? n_samples : N_SAMPLES;
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += v[i] / n;
	return sum;
}

uint64_t parents_piece_time(const struct parents *p)
{
	if (p->n_samples)
		return mean(p->share, p->n_samples);
	if (p->o.bandwidth >= 1000)
		return (uint64_t)p->o.piece_length * 8 * 1000000 / (p->o.bandwidth / 1000);
	return 20 * MSEC;
}

uint64_t parents_patience(const struct parents *p)
{
	return clamp(parents_piece_time(p) / 2, 20 * MSEC, 2000 * MSEC);
}

uint64_t parents_stall_timeout(const struct parents *p)
{
	return clamp(2 * mean(p->duration, p->n_samples), 1000 * MSEC, 20000 * MSEC);
}
