/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mem.c — see mem.h */
#include "common/rpc/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_FROM ((size_t)128 << 10) /* below this malloc does well by itself */
#define GROW_FROM ((size_t)4 << 10)

bool mem_charge(struct mem *m, size_t n)
{
	if (n > m->max || m->used > m->max - n)
		return false;
	m->used += n;
	return true;
}

void mem_discharge(struct mem *m, size_t n)
{
	m->used -= n;
}

/* take_kept - the smallest kept block of at least @n bytes, not yet charged */
static struct mem_block take_kept(struct mem *m, size_t n)
{
	struct mem_block *best = NULL, b = {0};

	if (n < KEEP_FROM)
		return b;
	for (size_t i = 0; i < MEM_KEEP_N; i++) {
		struct mem_block *k = &m->kept[i];

		if (k->p && k->cap >= n && (!best || k->cap < best->cap))
			best = k;
	}
	if (!best)
		return b;
	b = *best;
	*best = (struct mem_block){0};
	m->kept_bytes -= b.cap;
	return b;
}

void *mem_get(struct mem *m, size_t n, size_t *cap)
{
	struct mem_block b = take_kept(m, n);

	if (!b.p) {
		b.cap = n ? n : 1;
		b.p = malloc(b.cap);
		if (!b.p)
			return NULL;
	}
	if (!mem_charge(m, b.cap)) {
		free(b.p);
		return NULL;
	}
	*cap = b.cap;
	return b.p;
}

void *mem_grow(struct mem *m, void *p, size_t *cap, size_t n, size_t most)
{
	size_t want = *cap < GROW_FROM ? GROW_FROM : *cap * 2;
	struct mem_block b;
	void *q;

	if (n <= *cap)
		return p;
	if (want < n)
		want = n;
	if (want > most)
		want = most;
	/* a kept block is resident already: take one that holds all that may come */
	b = take_kept(m, most);
	if (b.p) {
		if (!mem_charge(m, b.cap)) {
			free(b.p);
			return NULL;
		}
		if (p)
			memcpy(b.p, p, *cap);
		mem_put(m, p, *cap);
		*cap = b.cap;
		return b.p;
	}
	if (!mem_charge(m, want - *cap))
		return NULL;
	q = realloc(p, want);
	if (!q) {
		mem_discharge(m, want - *cap);
		return NULL;
	}
	*cap = want;
	return q;
}

void mem_put(struct mem *m, void *p, size_t cap)
{
	if (!p)
		return;
	m->used -= cap;
	if (cap >= KEEP_FROM && cap <= MEM_KEEP_BYTES - m->kept_bytes) {
		for (size_t i = 0; i < MEM_KEEP_N; i++) {
			if (m->kept[i].p)
				continue;
			m->kept[i] = (struct mem_block){p, cap};
			m->kept_bytes += cap;
			return;
		}
	}
	free(p);
}

void *mem_block(struct mem *m, size_t n)
{
	for (size_t i = 0; i < MEM_KEEP_N; i++) {
		struct mem_block *k = &m->kept[i];
		void *p = k->p;

		if (!p || k->cap != n)
			continue;
		*k = (struct mem_block){0};
		m->kept_bytes -= n;
		return p;
	}
	return malloc(n);
}

void mem_trim(struct mem *m)
{
	if (!m->kept_bytes)
		return;
	for (size_t i = 0; i < MEM_KEEP_N; i++) {
		free(m->kept[i].p);
		m->kept[i] = (struct mem_block){0};
	}
	m->kept_bytes = 0;
	malloc_trim(0); /* after big blocks glibc keeps the top of the heap */
}
