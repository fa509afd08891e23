// SPDX-License-Identifier: GPL-2.0-or-later
/* lru: against an oracle that keeps everything and sorts it. Whatever the order of arrival, the
 * capacity and the length of names: the table yields exactly the oldest, in order, with their
 * right names, and no survivor is older than a victim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cachefilesd/lru.h"

struct object {
	uint64_t used_ns;
	uint32_t dir;
	char name[LRU_NAME_MAX + 1];
	bool is_out; /* popped */
};

static uint64_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

enum order { RANDOM, OLD_FIRST, NEW_FIRST, TIES };

static struct object *make_objects(size_t n, uint32_t n_dirs, size_t name_max, enum order order)
{
	struct object *o = calloc(n, sizeof(*o));

	assert_non_null(o);
	for (size_t i = 0; i < n; i++) {
		size_t len = (size_t)snprintf(o[i].name, sizeof(o[i].name), "D%zu,", i);
		size_t want = len + rnd((uint32_t)(name_max > len ? name_max - len + 1 : 1));

		memset(o[i].name + len, 'x', want - len);
		o[i].dir = rnd(n_dirs);
		o[i].used_ns = order == RANDOM      ? rnd(1000000000)
			       : order == OLD_FIRST ? i
			       : order == NEW_FIRST ? n - i
						    : rnd(5);
	}
	return o;
}

static int by_time(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* What the owner does: name the entries of a window from "directories" */
static unsigned open_window(struct lru *l, const struct object *o, size_t n)
{
	unsigned n_dirs = 0;

	assert_true(lru_window_begin(l) > 0);
	for (uint32_t d = LRU_NO_DIR; (d = lru_window_next_dir(l, d)) != LRU_NO_DIR;) {
		n_dirs++;
		for (size_t i = 0; i < n; i++)
			if (o[i].dir == d && !o[i].is_out)
				lru_window_name(l, d, o[i].name);
	}
	lru_window_end(l);
	return n_dirs;
}

static struct object *find(struct object *o, size_t n, uint32_t dir, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (o[i].dir == dir && !o[i].is_out && !strcmp(o[i].name, name))
			return &o[i];
	return NULL;
}

static void run(size_t n, size_t cap, size_t name_max, size_t budget, enum order order)
{
	const uint32_t n_dirs = 7;
	struct object *o = make_objects(n, n_dirs, name_max, order);
	long refs[8] = {0}, total = 0;
	struct lru l;
	uint64_t last = 0, survivor = UINT64_MAX;
	size_t n_popped = 0, n_windows = 0;

	assert_int_equal(lru_init(&l, cap, budget), 0);
	for (size_t i = 0; i < n; i++) {
		uint32_t released;
		bool would = lru_would_keep(&l, o[i].used_ns);

		if (lru_offer(&l, o[i].used_ns, o[i].dir, o[i].name, &released) == LRU_KEPT)
			refs[o[i].dir]++;
		else
			assert_false(would);
		if (released != LRU_NO_DIR)
			refs[released]--;
	}
	lru_seal(&l);
	for (uint32_t d = 0; d < n_dirs; d++)
		total += refs[d];
	assert_int_equal(total, n < cap ? n : cap);
	for (;;) {
		uint64_t used;
		uint32_t dir;
		const char *name = lru_peek(&l, &used, &dir);
		struct object *victim;

		if (dir == LRU_NO_DIR)
			break;
		if (!name) {
			open_window(&l, o, n);
			assert_true(++n_windows < n);
			continue;
		}
		victim = find(o, n, dir, name);
		assert_non_null(victim);
		/* two names with one hash may be swapped; then the time does not fit */
		assert_true(victim->used_ns == used);
		assert_true(used >= last);
		last = used;
		victim->is_out = true;
		assert_int_equal(lru_pop(&l), dir);
		refs[dir]--;
		n_popped++;
	}
	assert_int_equal(n_popped, n < cap ? n : cap);
	for (uint32_t d = 0; d < n_dirs; d++)
		assert_int_equal(refs[d], 0);
	for (size_t i = 0; i < n; i++)
		if (!o[i].is_out && o[i].used_ns < survivor)
			survivor = o[i].used_ns;
	if (n_popped)
		assert_true(survivor >= last);
	if (n > cap)
		assert_true(l.cutoff_ns >= last && l.cutoff_ns <= survivor);
	lru_fini(&l);
	free(o);
}

static void oracle(void **state)
{
	static const size_t caps[] = {1, 2, 3, 5, 64, 257, 1000};

	for (int order = RANDOM; order <= TIES; order++)
		for (size_t c = 0; c < sizeof(caps) / sizeof(caps[0]); c++) {
			run(0, caps[c], 20, 0, order);
			run(1, caps[c], 20, 0, order);
			run(600, caps[c], 20, 0, order);
			run(600, caps[c], LRU_NAME_MAX, 0, order);
		}
}

/* names far larger than the arena: hashes, windows, and the way out when blocks are too small */
static void names_without_room(void **state)
{
	for (int i = 0; i < 20; i++) {
		seed = (uint64_t)i * 77 + 1;
		run(2000, 1500, LRU_NAME_MAX, 8, RANDOM);
		run(1500, 1500, LRU_NAME_MAX, 1, RANDOM);
		run(1500, 1000, LRU_NAME_MAX, 3, NEW_FIRST);
	}
}

static void short_names_need_no_window(void **state)
{
	struct lru l;
	char name[32];

	assert_int_equal(lru_init(&l, 4096, 0), 0);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t released;

		snprintf(name, sizeof(name), "T1010001,,%08x,%04x,", rnd(1u << 30), i & 0xffff);
		lru_offer(&l, rnd(1u << 30), 0, name, &released);
	}
	lru_seal(&l);
	for (unsigned i = 0; i < 4096; i++) {
		uint64_t used;
		uint32_t dir;

		assert_non_null(lru_peek(&l, &used, &dir));
		lru_pop(&l);
	}
	lru_fini(&l);
}

static void what_vanished_before_its_window_is_empty(void **state)
{
	struct lru l;
	uint32_t released, dir;
	uint64_t used;
	char name[LRU_NAME_MAX + 1];

	assert_int_equal(lru_init(&l, 200, 1), 0);
	for (unsigned i = 0; i < 200; i++) {
		memset(name, 'x', 200);
		snprintf(name + 200, 20, "%u", i);
		lru_offer(&l, 1000 - i, i % 3, name, &released);
	}
	lru_seal(&l);
	assert_null(lru_peek(&l, &used, &dir));
	assert_int_equal(dir, 199 % 3);
	assert_true(lru_window_begin(&l) > 0);
	lru_window_end(&l);
	assert_string_equal(lru_peek(&l, &used, &dir), "");
	assert_int_equal(lru_pop(&l), 199 % 3);
	lru_fini(&l);
}

static void used_again_goes_back_in_its_place(void **state)
{
	struct lru l;
	uint32_t released, dir;
	uint64_t used;
	char name[16];

	assert_int_equal(lru_init(&l, 8, 0), 0);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "D%u", i);
		lru_offer(&l, 10 * i, i, name, &released);
	}
	lru_seal(&l); /* 0 … 70; 80 and 90 were turned away */
	assert_string_equal(lru_peek(&l, &used, &dir), "D0");
	lru_pop(&l);
	assert_int_equal(lru_reoffer(&l, 85, 0, "D0"), LRU_TOO_NEW); /* 80 is older */
	assert_int_equal(lru_reoffer(&l, 80, 0, "D0"), LRU_TOO_NEW);
	assert_int_equal(lru_reoffer(&l, 35, 0, "D0"), LRU_KEPT);
	for (unsigned i = 1; i < 9; i++) {
		static const char *const want[] = {
			"", "D1", "D2", "D3", "D0", "D4", "D5", "D6", "D7"};

		assert_string_equal(lru_peek(&l, &used, &dir), want[i]);
		lru_pop(&l);
	}
	lru_peek(&l, &used, &dir);
	assert_int_equal(dir, LRU_NO_DIR);
	/* nothing is left in the table: everything turned away is newer or equal to the cut */
	assert_int_equal(lru_reoffer(&l, 79, 1, "D1"), LRU_KEPT);
	assert_string_equal(lru_peek(&l, &used, &dir), "D1");
	assert_int_equal(used, 79);
	lru_reset(&l);
	assert_null(lru_peek(&l, &used, &dir));
	assert_int_equal(lru_offer(&l, 1, 1, "D1", &released), LRU_KEPT);
	lru_fini(&l);
}

static void the_oracle_of_all_sorted(void **state)
{
	/* the exact set and order, not only the property */
	struct object *o = make_objects(5000, 3, 30, RANDOM);
	struct object *sorted = calloc(5000, sizeof(*o));
	struct lru l;
	uint32_t released, dir;
	uint64_t used;

	assert_int_equal(lru_init(&l, 1234, 0), 0);
	for (size_t i = 0; i < 5000; i++)
		lru_offer(&l, o[i].used_ns, o[i].dir, o[i].name, &released);
	lru_seal(&l);
	memcpy(sorted, o, 5000 * sizeof(*o));
	qsort(sorted, 5000, sizeof(*o), by_time);
	for (size_t i = 0; i < 1234; i++) {
		assert_non_null(lru_peek(&l, &used, &dir));
		assert_true(used == sorted[i].used_ns);
		lru_pop(&l);
	}
	lru_fini(&l);
	free(sorted);
	free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oracle),
		cmocka_unit_test(names_without_room),
		cmocka_unit_test(short_names_need_no_window),
		cmocka_unit_test(what_vanished_before_its_window_is_empty),
		cmocka_unit_test(used_again_goes_back_in_its_place),
		cmocka_unit_test(the_oracle_of_all_sorted),
	};

	return cmocka_run_group_tests_name("lru", tests, NULL, NULL);
}
