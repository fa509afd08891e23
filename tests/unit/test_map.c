/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_map.c — insert, find, remove, iterate; keys are bytes */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/heap.h"
#include "common/map.h"
#include "tests/lib/oom.h"

struct item {
	struct map_node node;
	char key[16];
	unsigned n_seen;
};

static void holds_many(void **state)
{
	enum { N = 5000 };
	struct item *items = calloc(N, sizeof(*items));
	struct map m = {0};
	struct map_node *next;
	struct item twin;

	assert_non_null(items);
	assert_null(map_next(&m, NULL));
	assert_null(map_find(&m, "x", 1));
	for (int i = 0; i < N; i++) {
		snprintf(items[i].key, sizeof(items[i].key), "%d", i);
		assert_int_equal(
			map_insert(&m, &items[i].node, items[i].key, strlen(items[i].key)), 0);
	}
	assert_int_equal(m.n, N);
	assert_int_equal(map_insert(&m, &twin.node, "77", 2), -EEXIST);
	for (int i = 0; i < N; i++)
		assert_ptr_equal(map_find(&m, items[i].key, strlen(items[i].key)), &items[i].node);
	assert_null(map_find(&m, "5000", 4));
	assert_null(map_find(&m, "77", 1 + 2)); /* the nul byte counts here */
	/* iterate, removing every other one on the way */
	for (struct map_node *n = map_next(&m, NULL); n; n = next) {
		struct item *it = container_of(n, struct item, node);

		next = map_next(&m, n);
		it->n_seen++;
		if ((it - items) % 2)
			map_remove(&m, n);
	}
	assert_int_equal(m.n, N / 2);
	for (int i = 0; i < N; i++) {
		assert_int_equal(items[i].n_seen, 1);
		assert_ptr_equal(map_find(&m, items[i].key, strlen(items[i].key)),
			i % 2 ? NULL : &items[i].node);
	}
	map_fini(&m);
	map_fini(&m);
	free(items);
}

static void keys_are_bytes(void **state)
{
	struct map_node a, b, c, d;
	struct map m = {0};

	assert_int_equal(map_insert(&m, &a, "a\0b", 3), 0);
	assert_int_equal(map_insert(&m, &b, "a\0c", 3), 0);
	assert_int_equal(map_insert(&m, &c, "a", 1), 0);
	assert_int_equal(map_insert(&m, &d, "", 0), 0);
	assert_ptr_equal(map_find(&m, "a\0b", 3), &a);
	assert_ptr_equal(map_find(&m, "a\0c", 3), &b);
	assert_ptr_equal(map_find(&m, "a", 1), &c);
	assert_ptr_equal(map_find(&m, NULL, 0), &d);
	map_remove(&m, &a);
	assert_null(map_find(&m, "a\0b", 3));
	map_fini(&m);
}

static void survives_failed_growth(void **state)
{
	enum { N = 200 };

	OOM_FOR_EACH(n)
	{
		struct heap_node deadlines[N];
		struct item items[N];
		struct map m = {0};
		struct heap h = {0};
		size_t n_in = 0, n_heap = 0;

		for (int i = 0; i < N; i++) {
			int r;

			snprintf(items[i].key, sizeof(items[i].key), "%d", i);
			r = map_insert(&m, &items[i].node, items[i].key, strlen(items[i].key));
			assert_true(r == 0 || (r == -ENOMEM && oom_hit() && !m.n));
			n_in += r == 0;
			r = heap_insert(&h, &deadlines[i], 1000 - (uint64_t)i);
			assert_true(r == 0 || (r == -ENOMEM && oom_hit()));
			n_heap += r == 0;
		}
		oom_stop();
		assert_int_equal(m.n, n_in);
		assert_int_equal(h.n, n_heap);
		assert_true(n_in >= N - 1 && n_heap >= N - 1);
		map_fini(&m);
		heap_fini(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_many),
		cmocka_unit_test(keys_are_bytes),
		cmocka_unit_test(survives_failed_growth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
