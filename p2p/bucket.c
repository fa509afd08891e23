/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bucket.c — see bucket.h */
#include "p2p/bucket.h"

#define SECOND    1000000000ull
#define BURST_MIN (16u << 10)

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void refill(struct bucket *b, uint64_t now)
{
	/* the fraction of a byte is carried, so frequent calls lose nothing */
	unsigned __int128 grown;

	if (now <= b->at_ns)
		return;
	grown = (unsigned __int128)(now - b->at_ns) * b->rate + b->remainder;
	b->at_ns = now;
	if (grown / SECOND >= b->burst - b->tokens) {
		b->tokens = b->burst;
		b->remainder = 0;
	} else {
		b->tokens += (uint64_t)(grown / SECOND);
		b->remainder = (uint64_t)(grown % SECOND);
	}
}

void bucket_set_rate(struct bucket *b, uint64_t rate, uint64_t now)
{
	refill(b, now);
	b->rate = rate;
	b->burst = rate / 10 > BURST_MIN ? rate / 10 : BURST_MIN;
	b->tokens = min(b->tokens, b->burst);
}

void bucket_init(struct bucket *b, uint64_t rate, uint64_t now)
{
	*b = (struct bucket){.at_ns = now};
	bucket_set_rate(b, rate, now);
	b->tokens = b->burst;
}

uint64_t bucket_take(struct bucket *b, uint64_t now, uint64_t want)
{
	uint64_t n;

	if (!b->rate)
		return want;
	refill(b, now);
	n = min(want, b->tokens);
	b->tokens -= n;
	return n;
}

void bucket_return(struct bucket *b, uint64_t n)
{
	b->tokens = min(b->burst, b->tokens + n);
}

uint64_t bucket_when(struct bucket *b, uint64_t now, uint64_t want)
{
	unsigned __int128 missing;

	if (!b->rate)
		return now;
	refill(b, now);
	want = min(want, b->burst);
	if (b->tokens >= want)
		return now;
	missing = (unsigned __int128)(want - b->tokens) * SECOND - b->remainder;
	return now + (uint64_t)((missing + b->rate - 1) / b->rate);
}
