/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_bucket.c — what is taken is what was set, whatever the rhythm of the calls */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "p2p/bucket.h"

#define SECOND 1000000000ull

static void ten_seconds_are_within_two_percent(void **state)
{
	static const uint64_t rates[] = {100000, 1000000, 12500000, 1250000000, 50000000000ull};
	static const uint64_t steps[] = {100, 1000000, 7777777}; /* ns between calls */

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++)
		for (size_t k = 0; k < ARRAY_SIZE(steps); k++) {
			uint64_t start = 12345, span = steps[k] == 100 ? SECOND / 100 : 10 * SECOND;
			uint64_t taken = 0, expect = rates[i] * (span / 1000000) / 1000;
			struct bucket b;

			bucket_init(&b, rates[i], start);
			bucket_take(&b, start, UINT64_MAX); /* the burst is for free, once */
			for (uint64_t t = start; t <= start + span; t += steps[k])
				taken += bucket_take(&b, t, UINT64_MAX);
			assert_true(taken <= expect + 1);
			assert_true(taken + expect / 100 + 1 >= expect);
		}
}

static void a_full_bucket_adds_little(void **state)
{
	struct bucket b;

	bucket_init(&b, 1000000, 0);
	assert_true(b.burst * 10 <= 1000000);
	assert_int_equal(bucket_take(&b, 0, UINT64_MAX), b.burst);
	assert_int_equal(bucket_take(&b, 0, 1), 0);
	/* time that nobody used is not saved up beyond the burst */
	assert_int_equal(bucket_take(&b, 3600 * SECOND, UINT64_MAX), b.burst);
}

static void when_is_when(void **state)
{
	struct bucket b;
	uint64_t t;

	bucket_init(&b, 3, 0); /* slow enough for fractions to show */
	bucket_take(&b, 0, UINT64_MAX);
	t = bucket_when(&b, 0, 10);
	assert_int_equal(t, 3333333334ull);
	assert_int_equal(bucket_take(&b, t - 1, 10), 9);
	assert_int_equal(bucket_take(&b, t, 10), 1);
	assert_int_equal(bucket_when(&b, t, 0), t);
	/* more than it ever holds: when it is full */
	assert_int_equal(bucket_when(&b, t, UINT64_MAX), bucket_when(&b, t, b.burst));
	bucket_return(&b, 5);
	assert_int_equal(bucket_when(&b, t, 5), t);
	bucket_return(&b, UINT64_MAX / 2);
	assert_int_equal(bucket_take(&b, t, UINT64_MAX), b.burst);
}

static void no_limit_and_changes(void **state)
{
	struct bucket b;

	bucket_init(&b, 0, 0);
	assert_true(bucket_take(&b, 0, 1ull << 60) == 1ull << 60);
	assert_int_equal(bucket_when(&b, 5, 1ull << 60), 5);
	bucket_set_rate(&b, 1000000, 0);
	bucket_take(&b, 0, UINT64_MAX);
	assert_int_equal(bucket_take(&b, SECOND / 100, UINT64_MAX), 10000);
	bucket_set_rate(&b, 2000000, SECOND / 100);
	assert_int_equal(bucket_take(&b, SECOND / 50, UINT64_MAX), 20000);
	/* a clock that stands still or goes back gives nothing */
	assert_int_equal(bucket_take(&b, 0, UINT64_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_seconds_are_within_two_percent),
		cmocka_unit_test(a_full_bucket_adds_little),
		cmocka_unit_test(when_is_when),
		cmocka_unit_test(no_limit_and_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
