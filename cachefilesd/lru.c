// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/lru.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* entry.name: the high bit marks a hash of 31 bits. Otherwise it is a place in the arena, in units of
 * 8 bytes, and above that the length in units, so that dropping a name does not touch its memory.
 * Unit 0 is never given out, it stands for "there is no such name any more". */
#define NAME_IS_HASH 0x80000000u
#define NAME_LOST    0u
#define PLACE_BITS   25
#define PLACE_MASK   ((1u << PLACE_BITS) - 1)
#define ARENA_MAX    ((size_t)UNIT << PLACE_BITS)
#define UNIT         8
#define HEAP_WIDTH   4
#define SORT_SMALL   12
#define WINDOW_MIN   64
#define WINDOW_MAX   (1u << 18)
#define NAME_TYPICAL 48 /* bytes that a name takes; a wrong guess costs only another window */

static uint32_t name_hash(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3u;
	return (uint32_t)(h ^ h >> 32) | NAME_IS_HASH;
}

static size_t units_of(const char *name)
{
	return (strlen(name) + UNIT) / UNIT; /* with the NUL, rounded up */
}

/* @place may be an entry's name */
static char *arena_at(const struct lru *l, uint32_t place)
{
	return (char *)l->arena + (size_t)(place & PLACE_MASK) * UNIT;
}

/* A free block begins with the place of the next one in its class. */
static void arena_push(struct lru *l, uint32_t place, size_t units)
{
	memcpy(arena_at(l, place), &l->free_lists[units], sizeof(uint32_t));
	l->free_lists[units] = place;
}

static uint32_t arena_pop(struct lru *l, size_t units)
{
	uint32_t place = l->free_lists[units];

	if (place)
		memcpy(&l->free_lists[units], arena_at(l, place), sizeof(uint32_t));
	return place;
}

/* Place for @units units: fresh memory up to @limit bytes, a free block of this class, or the front of a
 * larger free block. 0 when there is none. */
static uint32_t arena_alloc(struct lru *l, size_t units, size_t limit)
{
	uint32_t place = arena_pop(l, units);

	if (place)
		return place;
	if (l->arena_used + units * UNIT <= limit) {
		place = (uint32_t)(l->arena_used / UNIT);
		l->arena_used += units * UNIT;
		return place;
	}
	for (size_t c = units + 1; c < LRU_N_CLASSES; c++) {
		place = arena_pop(l, c);
		if (place) {
			arena_push(l, place + (uint32_t)units, c - units);
			return place;
		}
	}
	return 0;
}

/* The last seventeenth is kept for windows, so that a full arena can always learn some names. */
static size_t fill_limit(const struct lru *l)
{
	return l->arena_size - l->arena_size / 17;
}

static uint32_t name_store(struct lru *l, const char *name, size_t limit)
{
	size_t units = units_of(name);
	uint32_t place = units < LRU_N_CLASSES ? arena_alloc(l, units, limit) : 0;

	if (!place)
		return name_hash(name);
	memcpy(arena_at(l, place), name, strlen(name) + 1);
	l->arena_live += units * UNIT;
	return place | (uint32_t)units << PLACE_BITS;
}

static void name_drop(struct lru *l, uint32_t name)
{
	size_t units;

	if (name & NAME_IS_HASH || name == NAME_LOST)
		return;
	units = name >> PLACE_BITS;
	arena_push(l, name & PLACE_MASK, units);
	l->arena_live -= units * UNIT;
}

static void arena_reset(struct lru *l)
{
	l->arena_used = UNIT; /* unit 0 is NAME_LOST */
	l->arena_live = 0;
	memset(l->free_lists, 0, sizeof(l->free_lists));
}

static void window_drop(struct lru *l)
{
	free(l->window);
	l->window = NULL;
	l->n_window = 0;
}

static void *map_pages(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* huge pages would make the bound on resident memory untrue */
	madvise(p, n, MADV_NOHUGEPAGE);
	return p;
}

/* The first entry lies at the end of a cache line, so that the four children of a node share one. */
#define ENTRIES_OFFSET (64 - sizeof(struct lru_entry))

static size_t map_size(const struct lru *l)
{
	return ENTRIES_OFFSET + l->cap * sizeof(struct lru_entry);
}

int lru_init(struct lru *l, size_t cap, size_t name_budget)
{
	size_t budget = name_budget ? name_budget : LRU_NAME_BUDGET;

	*l = (struct lru){.cap = cap};
	l->arena_size = cap * budget + cap * budget / 16 + UNIT;
	if (l->arena_size < (size_t)16 * LRU_N_CLASSES * UNIT)
		l->arena_size = (size_t)16 * LRU_N_CLASSES * UNIT;
	if (l->arena_size > ARENA_MAX)
		l->arena_size = ARENA_MAX;
	l->map = map_pages(map_size(l));
	l->arena = map_pages(l->arena_size);
	if (!l->map || !l->arena) {
		lru_fini(l);
		return -ENOMEM;
	}
	l->entries = (struct lru_entry *)((char *)l->map + ENTRIES_OFFSET);
	lru_reset(l);
	return 0;
}

void lru_fini(struct lru *l)
{
	if (l->map)
		munmap(l->map, map_size(l));
	if (l->arena)
		munmap(l->arena, l->arena_size);
	window_drop(l);
	*l = (struct lru){0};
}

void lru_reset(struct lru *l)
{
	if (l->n || l->head)
		madvise(l->map, map_size(l), MADV_DONTNEED);
	if (l->arena_used)
		madvise(l->arena, l->arena_size, MADV_DONTNEED);
	window_drop(l);
	l->n = l->head = 0;
	l->is_sealed = l->is_stuck = false;
	l->cutoff_ns = UINT64_MAX;
	arena_reset(l);
}

/* Put @e into the hole at @i of the max-heap of @n entries, moving larger ones up. */
static void sift_down(struct lru_entry *v, size_t n, size_t i, struct lru_entry e)
{
	for (;;) {
		size_t first = i * HEAP_WIDTH + 1, largest = first, last;

		if (first >= n)
			break;
		last = first + HEAP_WIDTH < n ? first + HEAP_WIDTH : n;
		for (size_t c = first + 1; c < last; c++)
			if (v[c].used_ns > v[largest].used_ns)
				largest = c;
		if (v[largest].used_ns <= e.used_ns)
			break;
		v[i] = v[largest];
		i = largest;
	}
	v[i] = e;
}

static void make_heap(struct lru_entry *v, size_t n)
{
	for (size_t i = n > 1 ? (n - 2) / HEAP_WIDTH + 1 : 0; i--;)
		sift_down(v, n, i, v[i]);
}

/* Ascending, in place (qsort would take as much memory again). Quicksort; where it does not halve,
 * the heap takes over. */
static void sort(struct lru_entry *v, size_t n, unsigned depth)
{
	while (n > SORT_SMALL) {
		uint64_t a = v[0].used_ns, b = v[n / 2].used_ns, c = v[n - 1].used_ns, pivot;
		size_t i = 0, j = n - 1;

		if (!depth--) {
			make_heap(v, n);
			for (; n > 1; n--) {
				struct lru_entry last = v[n - 1];

				v[n - 1] = v[0];
				sift_down(v, n - 1, 0, last);
			}
			return;
		}
		pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
		for (;; i++, j--) { /* Hoare: i stops at or after, j at or before the pivot */
			struct lru_entry t;

			while (v[i].used_ns < pivot)
				i++;
			while (v[j].used_ns > pivot)
				j--;
			if (i >= j)
				break;
			t = v[i];
			v[i] = v[j];
			v[j] = t;
		}
		sort(v, j + 1, depth);
		v += j + 1;
		n -= j + 1;
	}
	for (size_t i = 1; i < n; i++) {
		struct lru_entry e = v[i];
		size_t j = i;

		for (; j && v[j - 1].used_ns > e.used_ns; j--)
			v[j] = v[j - 1];
		v[j] = e;
	}
}

static void turn_away(struct lru *l, uint64_t used_ns)
{
	if (used_ns < l->cutoff_ns)
		l->cutoff_ns = used_ns;
}

enum lru_result lru_offer(
	struct lru *l, uint64_t used_ns, uint32_t dir, const char *name, uint32_t *released_dir)
{
	struct lru_entry e = {.used_ns = used_ns, .dir = dir};

	*released_dir = LRU_NO_DIR;
	if (l->n == l->cap) {
		struct lru_entry *newest = &l->entries[0];

		if (used_ns >= newest->used_ns) {
			turn_away(l, used_ns);
			return LRU_TOO_NEW;
		}
		turn_away(l, newest->used_ns);
		*released_dir = newest->dir;
		name_drop(l, newest->name);
		e.name = name_store(l, name, fill_limit(l));
		sift_down(l->entries, l->n, 0, e);
		return LRU_KEPT;
	}
	e.name = name_store(l, name, fill_limit(l));
	l->entries[l->n++] = e;
	if (l->n == l->cap)
		make_heap(l->entries, l->n);
	return LRU_KEPT;
}

void lru_seal(struct lru *l)
{
	unsigned depth = 4;

	for (size_t n = l->n; n; n /= 2)
		depth += 2;
	sort(l->entries, l->n, depth);
	l->head = 0;
	l->is_sealed = true;
}

const char *lru_peek(const struct lru *l, uint64_t *used_ns, uint32_t *dir)
{
	const struct lru_entry *e = &l->entries[l->head];

	*dir = LRU_NO_DIR;
	if (!l->n)
		return NULL;
	*used_ns = e->used_ns;
	*dir = e->dir;
	if (e->name & NAME_IS_HASH)
		return NULL;
	return e->name == NAME_LOST ? "" : arena_at(l, e->name);
}

uint32_t lru_pop(struct lru *l)
{
	struct lru_entry *e = &l->entries[l->head];

	name_drop(l, e->name);
	l->head++;
	l->n--;
	return e->dir;
}

enum lru_result lru_reoffer(struct lru *l, uint64_t used_ns, uint32_t dir, const char *name)
{
	struct lru_entry *v = l->entries + l->head;
	size_t lo = 0, hi = l->n;

	if (used_ns >= l->cutoff_ns || !l->head)
		return LRU_TOO_NEW;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].used_ns <= used_ns)
			lo = mid + 1;
		else
			hi = mid;
	}
	/* the popped entry left a free place in front: move those before it down by one */
	memmove(v - 1, v, lo * sizeof(*v));
	v[(ptrdiff_t)lo - 1] = (struct lru_entry){
		.used_ns = used_ns, .dir = dir, .name = name_store(l, name, l->arena_size)};
	l->head--;
	l->n++;
	return LRU_KEPT;
}

static int compare_slots(const void *a, const void *b)
{
	const struct lru_window_slot *x = a, *y = b;

	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return 0;
}

/* All names become hashes: the way out when the free blocks are too small for the oldest name. */
static void forget_names(struct lru *l)
{
	for (size_t i = l->head; i < l->head + l->n; i++) {
		struct lru_entry *e = &l->entries[i];

		if (!(e->name & NAME_IS_HASH) && e->name != NAME_LOST)
			e->name = name_hash(arena_at(l, e->name));
	}
	arena_reset(l);
}

int lru_window_begin(struct lru *l)
{
	size_t limit;

	window_drop(l);
	if (l->is_stuck) {
		forget_names(l);
		limit = l->arena_size / (LRU_N_CLASSES * UNIT) - 1; /* all of them fit */
	} else {
		limit = (l->arena_size - l->arena_live) / NAME_TYPICAL;
	}
	limit = limit < WINDOW_MIN && !l->is_stuck ? WINDOW_MIN : limit;
	limit = limit > WINDOW_MAX ? WINDOW_MAX : limit;
	l->window = malloc(limit * sizeof(*l->window));
	if (!l->window)
		return -ENOMEM;
	for (size_t i = l->head; i < l->head + l->n && l->n_window < limit; i++) {
		const struct lru_entry *e = &l->entries[i];

		if (e->name & NAME_IS_HASH)
			l->window[l->n_window++] = (struct lru_window_slot){
				.dir = e->dir, .hash = e->name, .entry = (uint32_t)i};
	}
	qsort(l->window, l->n_window, sizeof(*l->window), compare_slots);
	if (!l->n_window)
		window_drop(l);
	return (int)l->n_window;
}

uint32_t lru_window_next_dir(const struct lru *l, uint32_t after)
{
	size_t lo = 0, hi = l->n_window;

	if (after == LRU_NO_DIR)
		return l->n_window ? l->window[0].dir : LRU_NO_DIR;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->window[mid].dir <= after)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->n_window ? l->window[lo].dir : LRU_NO_DIR;
}

void lru_window_name(struct lru *l, uint32_t dir, const char *name)
{
	struct lru_window_slot key = {.dir = dir, .hash = name_hash(name)};
	size_t lo = 0, hi = l->n_window;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (compare_slots(&l->window[mid], &key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	/* two names with one hash: each takes one of the entries; a wrong guess shows when its time
	 * is read again before the cull */
	for (; lo < l->n_window && !compare_slots(&l->window[lo], &key); lo++) {
		struct lru_window_slot *slot = &l->window[lo];

		if (slot->is_seen)
			continue;
		slot->is_seen = true;
		l->entries[slot->entry].name = name_store(l, name, l->arena_size);
		return;
	}
}

void lru_window_end(struct lru *l)
{
	for (size_t i = 0; i < l->n_window; i++)
		if (!l->window[i].is_seen)
			l->entries[l->window[i].entry].name = NAME_LOST;
	window_drop(l);
	l->is_stuck = l->n && l->entries[l->head].name & NAME_IS_HASH;
}
