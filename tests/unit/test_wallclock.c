/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_wallclock.c — a wrong clock expires nothing, a right one is believed */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cachefilesd/store/wallclock.h"

#define SEC  1000000000ull
#define T0   (1700000000ull * SEC)
#define HOUR (3600 * SEC)
#define YEAR (365 * 24 * HOUR)

static struct wallclock_now at(uint64_t wall, uint64_t mono, bool sync)
{
	return (struct wallclock_now){.wall_ns = wall, .mono_ns = mono, .is_synchronized = sync};
}

static void ordinary_time(void **state)
{
	struct wallclock w;

	wallclock_start(&w, 0, at(T0, 0, false));
	for (uint64_t s = 1; s < 100; s++)
		assert_int_equal(
			wallclock_expiry(&w, at(T0 + s * SEC, s * SEC, false)), T0 + s * SEC);
	assert_false(wallclock_is_doubtful(&w));
	/* switched off for some minutes, and then on again */
	wallclock_start(&w, T0, at(T0 + 600 * SEC, 5, false));
	assert_int_equal(wallclock_expiry(&w, at(T0 + 600 * SEC, 5, false)), T0 + 600 * SEC);
	/* switched off for a week: believed at once when it is synchronised, else later */
	wallclock_start(&w, T0, at(T0 + 168 * HOUR, 5, true));
	assert_int_equal(wallclock_expiry(&w, at(T0 + 168 * HOUR, 5, true)), T0 + 168 * HOUR);
	wallclock_start(&w, T0, at(T0 + 168 * HOUR, 5, false));
	assert_true(wallclock_expiry(&w, at(T0 + 168 * HOUR, 5, false)) <= T0 + SEC);
	assert_true(wallclock_is_doubtful(&w));
	assert_int_equal(
		wallclock_expiry(&w, at(T0 + 168 * HOUR + 600 * SEC, 5 + 600 * SEC, false)),
		T0 + 168 * HOUR + 600 * SEC);
}

static void boots_in_1970(void **state)
{
	struct wallclock w;

	wallclock_start(&w, T0, at(5 * SEC, 1, false));
	assert_int_equal(wallclock_expiry(&w, at(6 * SEC, SEC, false)), 0);
	assert_int_equal(wallclock_expiry(&w, at(4000 * SEC, 3995 * SEC, false)), 0);
	/* then the time arrives from the network */
	assert_int_equal(wallclock_expiry(&w, at(T0 + 2 * HOUR, 4000 * SEC, true)), T0 + 2 * HOUR);
}

static void jumps_forward(void **state)
{
	struct wallclock w;
	uint64_t t;

	wallclock_start(&w, T0, at(T0, 0, false));
	t = wallclock_expiry(&w, at(T0 + YEAR, 10 * SEC, false));
	assert_int_equal(t, T0 + 10 * SEC);
	/* and back again before it settled: nothing was lost */
	assert_int_equal(wallclock_expiry(&w, at(T0 + 20 * SEC, 20 * SEC, false)), T0 + 20 * SEC);
	assert_false(wallclock_is_doubtful(&w));
	/* a jump that stays is believed after ten minutes */
	wallclock_expiry(&w, at(T0 + YEAR, 30 * SEC, false));
	assert_true(wallclock_expiry(&w, at(T0 + YEAR + 599 * SEC, 629 * SEC, false)) < T0 + HOUR);
	assert_int_equal(wallclock_expiry(&w, at(T0 + YEAR + 601 * SEC, 631 * SEC, false)),
		T0 + YEAR + 601 * SEC);
}

static void jumps_back(void **state)
{
	struct wallclock w;

	wallclock_start(&w, T0, at(T0, 0, false));
	assert_int_equal(wallclock_expiry(&w, at(T0 - YEAR, 10 * SEC, false)), 0);
	assert_int_equal(wallclock_expiry(&w, at(T0 - YEAR + HOUR, HOUR, false)), 0);
	/* synchronised, and still there after ten minutes: then the recorded time was wrong */
	assert_int_equal(wallclock_expiry(&w, at(T0 - YEAR + 2 * HOUR, 2 * HOUR, true)),
		T0 - YEAR + 2 * HOUR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_time),
		cmocka_unit_test(boots_in_1970),
		cmocka_unit_test(jumps_forward),
		cmocka_unit_test(jumps_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
