/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_heap.c — the smallest key comes first, whatever was inserted, changed and removed */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/heap.h"

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void check(const struct heap *h)
{
	for (size_t i = 1; i <= h->n; i++) {
		assert_int_equal(h->v[i]->index, i);
		if (i > 1)
			assert_true(h->v[i / 2]->key <= h->v[i]->key);
	}
}

static void keeps_order_under_any_change(void **state)
{
	enum { N = 300 };
	struct heap_node nodes[N] = {0};
	struct heap h = {0};
	uint64_t s = 88172645463325252ull;
	size_t n_in = 0;

	for (int i = 0; i < 20000; i++) {
		struct heap_node *node = &nodes[rnd(&s) % N];
		uint64_t key = rnd(&s) % 100; /* many equal ones */

		if (!heap_contains(node)) {
			assert_int_equal(heap_insert(&h, node, key), 0);
			n_in++;
		} else if (rnd(&s) & 1) {
			heap_update(&h, node, key);
		} else {
			heap_remove(&h, node);
			n_in--;
			heap_remove(&h, node); /* not in it any more: nothing happens */
		}
		assert_int_equal(h.n, n_in);
		if (i % 50 == 0)
			check(&h);
	}
	for (uint64_t last = 0; heap_first(&h);) {
		assert_true(heap_first(&h)->key >= last);
		last = heap_first(&h)->key;
		heap_remove(&h, heap_first(&h));
	}
	assert_int_equal(h.n, 0);
	heap_fini(&h);
	heap_fini(&h);
}

static void reserves(void **state)
{
	struct heap_node nodes[100] = {0};
	struct heap_node **v;
	struct heap h = {0};

	assert_int_equal(heap_reserve(&h, 100), 0);
	v = h.v;
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(heap_insert(&h, &nodes[i], 100 - i), 0);
	assert_ptr_equal(v, h.v);
	assert_int_equal(heap_reserve(&h, SIZE_MAX), -ENOMEM);
	assert_int_equal(heap_reserve(&h, SIZE_MAX / 8), -ENOMEM);
	check(&h);
	heap_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_order_under_any_change),
		cmocka_unit_test(reserves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
