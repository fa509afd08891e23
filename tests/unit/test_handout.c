/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handout: rules P5 to P7 of swarm-scheduling.md, with time moved by hand */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "p2p/handout.h"

#define TP UINT64_C(100000000) /* a piece time */

struct kid {
	struct handout_child c; /* first */
	uint64_t wanted[2];
	uint32_t offers[256];
	unsigned n;
};

static void join(struct handout *h, struct kid *k, uint32_t n_pieces)
{
	*k = (struct kid){0};
	for (uint32_t i = 0; i < n_pieces; i++)
		k->wanted[i / 64] |= 1ull << (i % 64);
	k->c.wanted = k->wanted;
	handout_join(h, &k->c);
}

/* as many offers as there are now */
static unsigned offers(struct handout *h, uint64_t now, uint64_t *wake)
{
	struct handout_child *c;
	uint32_t number;
	unsigned n = 0;

	while (handout_next(h, now, TP, &c, &number, wake)) {
		struct kid *k = (struct kid *)c;

		assert_true(k->wanted[number / 64] >> (number % 64) & 1);
		k->wanted[number / 64] &= ~(1ull << (number % 64));
		k->offers[k->n++] = number;
		n++;
	}
	return n;
}

static void each_piece_is_told_to_one_child_and_evenly(void **state)
{
	struct handout *h;
	struct kid k[4];
	bool seen[100] = {false};
	uint64_t wake;

	assert_int_equal(handout_new(&h, 100, 1), 0);
	for (int i = 0; i < 4; i++)
		join(h, &k[i], 100);
	while (!handout_is_over(h)) {
		assert_true(offers(h, 0, &wake) <= 4);
		for (int i = 0; i < 4; i++) { /* whoever was told asks at once */
			for (unsigned o = 0; o < k[i].n; o++) {
				handout_asked(h, k[i].offers[o], 0);
				handout_sent(h, k[i].offers[o]);
			}
		}
		offers(h, 0, &wake);
	}
	for (int i = 0; i < 4; i++) {
		assert_int_equal(k[i].n, 25);
		for (unsigned o = 0; o < 25; o++) {
			assert_false(seen[k[i].offers[o]]);
			seen[k[i].offers[o]] = true;
		}
	}
	handout_free(h);
}

static void few_offers_are_open_at_a_time(void **state)
{
	struct handout *h;
	struct kid k;
	uint64_t wake;

	assert_int_equal(handout_new(&h, 100, 1), 0);
	join(h, &k, 100);
	assert_int_equal(offers(h, TP, &wake), 4);
	assert_true(wake == TP + 3 * TP); /* then they do not count any more */
	assert_int_equal(offers(h, TP + 3 * TP - 1, &wake), 0);
	handout_asked(h, k.offers[2], 0);
	assert_int_equal(offers(h, TP + 3 * TP - 1, &wake), 1);
	assert_int_equal(offers(h, TP + 3 * TP, &wake), 3);
	handout_asked(h, 99999, 0); /* a stranger's number */
	assert_int_equal(offers(h, TP + 3 * TP, &wake), 0);
	handout_free(h);
}

static void what_nobody_asks_for_goes_to_another_and_then_it_ends(void **state)
{
	struct handout *h;
	struct kid a, b;
	uint64_t wake;

	assert_int_equal(handout_new(&h, 8, 3), 0);
	join(h, &a, 8);
	assert_int_equal(offers(h, 0, &wake), 4);
	for (int i = 0; i < 4; i++) {
		handout_asked(h, a.offers[i], 0);
		handout_sent(h, a.offers[i]);
	}
	assert_int_equal(offers(h, 0, &wake), 4);
	join(h, &b, 8);
	/* the last four: the first of them is stale when the others are not */
	handout_sent(h, a.offers[5]);
	handout_sent(h, a.offers[6]);
	assert_int_equal(offers(h, 15 * TP, &wake), 0);
	assert_false(handout_is_over(h));
	assert_true(wake == 16 * TP);
	assert_int_equal(offers(h, 16 * TP, &wake), 0);
	assert_true(handout_is_over(h)); /* P7: sent, or offered long ago */
	handout_free(h);

	assert_int_equal(
		handout_new(&h, 1, 3), 0); /* a transfer that does not end is not waited for */
	join(h, &a, 1);
	assert_int_equal(offers(h, 0, &wake), 1);
	handout_asked(h, a.offers[0], TP);
	assert_int_equal(offers(h, 24 * TP, &wake), 0);
	assert_false(handout_is_over(h));
	assert_true(wake == 25 * TP);
	assert_int_equal(offers(h, wake, &wake), 0);
	assert_true(handout_is_over(h));
	handout_free(h);

	assert_int_equal(handout_new(&h, 6, 3), 0);
	join(h, &a, 6);
	assert_int_equal(offers(h, 0, &wake), 4);
	assert_int_equal(offers(h, 10 * TP, &wake), 2);
	join(h, &b, 6);
	assert_int_equal(offers(h, 16 * TP, &wake), 4); /* P6: four stale, two fresh */
	assert_int_equal(b.n, 4);
	assert_false(handout_is_over(h));
	handout_free(h);
}

static void who_leaves_gives_back_and_who_has_it_is_not_told(void **state)
{
	struct handout *h;
	struct kid a, b;
	uint64_t wake;

	assert_int_equal(handout_new(&h, 4, 9), 0);
	join(h, &a, 4);
	assert_int_equal(offers(h, 0, &wake), 4);
	handout_asked(h, a.offers[0], 0);
	handout_sent(h, a.offers[0]);
	handout_leave(h, &a.c);
	assert_int_equal(offers(h, 0, &wake), 0); /* nobody is there */
	join(h, &b, 4);
	b.wanted[0] &= ~(1ull << a.offers[1]);
	/* not the one that was sent, nor what it has */
	assert_int_equal(offers(h, 0, &wake), 2);
	for (int i = 0; i < 2; i++) {
		handout_asked(h, b.offers[i], 0);
		assert_int_equal(offers(h, 0, &wake), 0);
		assert_false(handout_is_over(h)); /* not before they are sent */
	}
	handout_sent(h, b.offers[0]);
	handout_broke(h, b.offers[0]); /* of a second request: it was sent once */
	handout_broke(h, b.offers[1]);
	assert_int_equal(offers(h, 0, &wake), 0);
	assert_true(handout_is_over(h)); /* nobody wants what is left */
	handout_leave(h, &b.c);
	handout_free(h);
}

static void holders_have_orders_of_their_own(void **state)
{
	struct handout *h;
	struct kid a, b;
	uint64_t wake;

	assert_int_equal(handout_new(&h, 100, 1), 0);
	join(h, &a, 100);
	offers(h, 0, &wake);
	handout_free(h);
	assert_int_equal(handout_new(&h, 100, 2), 0);
	join(h, &b, 100);
	offers(h, 0, &wake);
	handout_free(h);
	assert_memory_not_equal(a.offers, b.offers, 4 * sizeof(*a.offers));
	assert_int_equal(handout_new(&h, 0, 1), 0);
	assert_true(handout_is_over(h));
	handout_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_piece_is_told_to_one_child_and_evenly),
		cmocka_unit_test(few_offers_are_open_at_a_time),
		cmocka_unit_test(what_nobody_asks_for_goes_to_another_and_then_it_ends),
		cmocka_unit_test(who_leaves_gives_back_and_who_has_it_is_not_told),
		cmocka_unit_test(holders_have_orders_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
