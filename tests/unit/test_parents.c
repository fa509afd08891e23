/* SPDX-License-Identifier: GPL-2.0-or-later */
/* parents: rules C2 to C7 of swarm-scheduling.md, one by one, with time moved by hand */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "p2p/parents.h"

#define MSEC UINT64_C(1000000)
#define SEC  (1000 * MSEC)

static struct parents *new_parents(uint32_t n_pieces, unsigned max_running, uint64_t seed)
{
	struct parents_options o = {
		.n_pieces = n_pieces,
		.piece_length = 4 << 20,
		.max_running = max_running,
		.seed = seed,
	};
	struct parents *p = NULL;

	assert_int_equal(parents_new(&p, &o), 0);
	return p;
}

static int add_with_all(struct parents *p, bool is_holder, uint32_t n)
{
	int slot = parents_add(p, is_holder);

	assert_true(slot >= 0);
	for (uint32_t i = 0; i < n; i++)
		parents_announced(p, slot, i);
	return slot;
}

static void nothing_to_ask_without_parents_or_announcements(void **state)
{
	struct parents *p = new_parents(10, 8, 1);
	uint64_t wake;
	uint32_t number;
	int slot;

	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_WAIT);
	assert_true(wake == UINT64_MAX);
	parents_add(p, true);
	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_WAIT);
	parents_free(p);
}

static void every_piece_is_asked_once_and_only_of_who_has_it(void **state)
{
	struct parents *p = new_parents(100, 8, 7);
	int a = parents_add(p, false), b = parents_add(p, false), slot;
	bool seen[100] = {false};
	uint64_t wake;
	uint32_t number;

	for (uint32_t i = 0; i < 100; i++)
		parents_announced(p, i % 2 ? a : b, i);
	parents_announced(p, a, 100); /* out of range: ignored */
	while (parents_n_missing(p)) {
		assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_ASK);
		assert_true(number < 100);
		assert_false(seen[number]);
		assert_int_equal(slot, number % 2 ? a : b);
		seen[number] = true;
		parents_done(p, slot, number, MSEC);
		assert_true(parents_has(p, number));
	}
	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_WAIT);
	parents_free(p);
}

static void c2_one_request_per_parent_two_when_parents_are_few(void **state)
{
	struct parents *p = new_parents(100, 4, 1);
	unsigned per_slot[8] = {0}, n = 0;
	uint64_t wake;
	uint32_t number;
	int slot;

	for (int i = 0; i < 2; i++)
		add_with_all(p, false, 100);
	while (parents_next(p, 0, &slot, &number, &wake) == PARENTS_ASK) {
		per_slot[slot]++;
		n++;
	}
	assert_int_equal(n, 4); /* C = 4 at once, two at each of the two */
	assert_int_equal(per_slot[0], 2);
	assert_int_equal(per_slot[1], 2);
	parents_free(p);

	p = new_parents(100, 4, 1);
	for (int i = 0; i < 4; i++)
		add_with_all(p, false, 100);
	memset(per_slot, 0, sizeof(per_slot));
	for (n = 0; parents_next(p, 0, &slot, &number, &wake) == PARENTS_ASK; n++)
		per_slot[slot]++;
	assert_int_equal(n, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(per_slot[i], 1);
	parents_free(p);
}

static void c3_what_only_a_holder_announced_comes_first(void **state)
{
	for (uint64_t seed = 1; seed < 50; seed++) {
		struct parents *p = new_parents(64, 8, seed);
		int holder = parents_add(p, true), other = parents_add(p, false), slot;
		uint64_t wake;
		uint32_t number;

		for (uint32_t i = 0; i < 63; i++)
			parents_announced(p, other, i);
		parents_announced(p, holder, 5); /* the other has it too */
		parents_announced(p, holder, 63); /* an offer to us alone */
		assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_ASK);
		assert_int_equal(number, 63);
		assert_int_equal(slot, holder);
		parents_free(p);
	}
}

static void c3_draws_are_uniform_and_repeatable(void **state)
{
	unsigned count[16] = {0};
	uint32_t first = 0, number;
	uint64_t wake;
	int slot;

	for (uint64_t seed = 0; seed < 4000; seed++) {
		struct parents *p = new_parents(16, 8, seed * 7919 + 3);

		add_with_all(p, false, 16);
		assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_ASK);
		count[number]++;
		if (!seed)
			first = number;
		parents_free(p);
	}
	for (int i = 0; i < 16; i++) /* 250 expected; five standard deviations */
		assert_in_range(count[i], 172, 328);
	for (int i = 0; i < 3; i++) {
		struct parents *p = new_parents(16, 8, 3);

		add_with_all(p, false, 16);
		parents_next(p, 0, &slot, &number, &wake);
		assert_int_equal(number, first);
		parents_free(p);
	}
}

static void c4_busy_parent_is_left_alone_for_one_and_a_half_piece_times(void **state)
{
	struct parents *p = new_parents(10, 8, 1);
	int a = add_with_all(p, true, 10), slot;
	uint64_t wake, now = SEC;
	uint32_t number;

	assert_int_equal(parents_next(p, now, &slot, &number, &wake), PARENTS_ASK);
	parents_busy(p, a, number, now);
	assert_int_equal(parents_n_running(p), 0);
	/* no piece yet: t_p is taken as 20 ms */
	assert_int_equal(parents_next(p, now, &slot, &number, &wake), PARENTS_WAIT);
	assert_true(wake == now + 30 * MSEC);
	assert_int_equal(parents_next(p, now + 29 * MSEC, &slot, &number, &wake), PARENTS_WAIT);
	assert_int_equal(parents_next(p, now + 30 * MSEC, &slot, &number, &wake), PARENTS_ASK);
	parents_free(p);
}

static void c4_backoff_has_limits(void **state)
{
	struct parents *p = new_parents(10, 8, 1);
	int a = add_with_all(p, true, 10), slot;
	uint64_t wake, now = SEC;
	uint32_t number;

	parents_next(p, now, &slot, &number, &wake);
	parents_done(p, a, number, 60 * SEC);
	parents_next(p, now, &slot, &number, &wake);
	parents_busy(p, a, number, now);
	assert_int_equal(parents_next(p, now + 500 * MSEC, &slot, &number, &wake), PARENTS_ASK);
	for (int i = 0; i < 8; i++) {
		parents_done(p, a, number, 1000);
		if (i < 7)
			assert_int_equal(
				parents_next(p, now + SEC, &slot, &number, &wake), PARENTS_ASK);
	}
	assert_true(parents_n_missing(p) == 1);
	parents_next(p, now + SEC, &slot, &number, &wake);
	parents_busy(p, a, number, now + SEC);
	assert_int_equal(parents_next(p, now + SEC + 2 * MSEC, &slot, &number, &wake), PARENTS_ASK);
	parents_free(p);
}

static void c5_another_choice_is_one_that_could_be_asked_now(void **state)
{
	struct parents *p = new_parents(2, 8, 1);
	int a = add_with_all(p, true, 2), b = parents_add(p, false), slot;
	uint64_t wake;
	uint32_t number;

	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_ASK);
	assert_int_equal(slot, a);
	assert_false(parents_other_choice(p, a, number, 0)); /* b has nothing */
	parents_announced(p, b, number);
	assert_true(parents_other_choice(p, a, number, 0)); /* b has the very piece */
	parents_announced(p, b, !number);
	assert_true(parents_other_choice(p, a, number, 0));
	parents_free(p);
}

static void c7_a_failed_piece_is_asked_elsewhere_and_two_failures_lose_the_parent(void **state)
{
	struct parents *p = new_parents(3, 8, 1);
	int a = add_with_all(p, true, 3), slot;
	uint64_t wake;
	uint32_t bad, number;

	parents_next(p, 0, &slot, &bad, &wake);
	assert_false(parents_failed(p, a, bad));
	/* the only parent is not asked for it again */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_ASK);
		assert_int_not_equal(number, bad);
	}
	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_WAIT);
	assert_int_equal(parents_add(p, false), 1);
	parents_announced(p, 1, bad);
	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_ASK);
	assert_int_equal(slot, 1);
	assert_int_equal(number, bad);
	parents_done(p, 1, bad, MSEC);

	/* the second failure of the first parent, with no success in between */
	for (uint32_t i = 0; i < 3; i++) {
		if (i == bad)
			continue;
		assert_true(parents_failed(p, a, i));
		break;
	}
	parents_free(p);
}

static void a_disabled_parent_is_not_asked_and_its_slot_can_be_used_again(void **state)
{
	struct parents *p = new_parents(10, 8, 1);
	int a = add_with_all(p, true, 10), slot;
	uint64_t wake;
	uint32_t number;

	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_ASK);
	parents_disable(p, a);
	assert_false(parents_useful(p, a));
	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_WAIT);
	parents_dropped(p, a, number);
	parents_remove(p, a);
	assert_int_equal(parents_add(p, false), a);
	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_WAIT);
	parents_free(p);
}

static void slots_are_bounded(void **state)
{
	struct parents *p = new_parents(1, 8, 1);

	for (int i = 0; i < PARENTS_MAX; i++)
		assert_int_equal(parents_add(p, false), i);
	assert_int_equal(parents_add(p, false), -ENOSPC);
	parents_free(p);
}

static void missing_pieces_are_listed_in_order(void **state)
{
	struct parents *p = new_parents(130, 8, 1);
	uint32_t v[200];

	for (uint32_t i = 0; i < 130; i++)
		if (i != 3 && i != 64 && i != 129)
			parents_have(p, i);
	assert_int_equal(parents_n_missing(p), 3);
	assert_int_equal(parents_missing(p, v, 200), 3);
	assert_int_equal(v[0], 3);
	assert_int_equal(v[1], 64);
	assert_int_equal(v[2], 129);
	assert_int_equal(parents_missing(p, v, 2), 2);
	parents_have(p, 64);
	parents_have(p, 64);
	assert_int_equal(parents_n_missing(p), 2);
	parents_free(p);
}

static void times_follow_the_last_pieces(void **state)
{
	struct parents *p = new_parents(100, 8, 1);
	int slot;
	uint64_t wake;
	uint32_t number;

	add_with_all(p, false, 100);
	add_with_all(p, false, 100);
	assert_true(parents_piece_time(p) == 20 * MSEC);
	assert_true(parents_stall_timeout(p) == SEC);
	/* four at once, each takes 400 ms: a piece every 100 ms */
	for (int i = 0; i < 4; i++)
		parents_next(p, 0, &slot, &number, &wake);
	for (int i = 0; i < 20; i++) {
		uint32_t was = number;
		int at = slot;

		assert_int_equal(parents_n_running(p), 4);
		parents_done(p, at, was, 400 * MSEC);
		parents_next(p, 0, &slot, &number, &wake);
	}
	assert_true(parents_piece_time(p) == 100 * MSEC);
	assert_true(parents_patience(p) == 50 * MSEC);
	assert_true(parents_stall_timeout(p) == SEC);
	for (int i = 0; i < 8; i++) {
		uint32_t was = number;
		int at = slot;

		parents_done(p, at, was, 3 * SEC);
		parents_next(p, 0, &slot, &number, &wake);
	}
	assert_true(parents_stall_timeout(p) == 6 * SEC);
	parents_free(p);
}

static void an_empty_task_needs_nobody(void **state)
{
	struct parents *p = new_parents(0, 8, 1);
	uint64_t wake;
	uint32_t number;
	int slot = parents_add(p, true);

	assert_int_equal(parents_n_missing(p), 0);
	parents_announced(p, slot, 0);
	assert_false(parents_has(p, 0));
	assert_int_equal(parents_next(p, 0, &slot, &number, &wake), PARENTS_WAIT);
	parents_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_to_ask_without_parents_or_announcements),
		cmocka_unit_test(every_piece_is_asked_once_and_only_of_who_has_it),
		cmocka_unit_test(c2_one_request_per_parent_two_when_parents_are_few),
		cmocka_unit_test(c3_what_only_a_holder_announced_comes_first),
		cmocka_unit_test(c3_draws_are_uniform_and_repeatable),
		cmocka_unit_test(c4_busy_parent_is_left_alone_for_one_and_a_half_piece_times),
		cmocka_unit_test(c4_backoff_has_limits),
		cmocka_unit_test(c5_another_choice_is_one_that_could_be_asked_now),
		cmocka_unit_test(
			c7_a_failed_piece_is_asked_elsewhere_and_two_failures_lose_the_parent),
		cmocka_unit_test(a_disabled_parent_is_not_asked_and_its_slot_can_be_used_again),
		cmocka_unit_test(slots_are_bounded),
		cmocka_unit_test(missing_pieces_are_listed_in_order),
		cmocka_unit_test(times_follow_the_last_pieces),
		cmocka_unit_test(an_empty_task_needs_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
