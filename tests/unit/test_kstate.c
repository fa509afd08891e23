// SPDX-License-Identifier: GPL-2.0-or-later
/* kstate: the line of the device, as recorded from real kernels and as it might be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cachefilesd/kstate.h"

static int parse(const char *text, struct kstate *s)
{
	/* a copy of the exact size, so that a read past the end is seen by the sanitizer */
	size_t n = strlen(text);
	char *copy = malloc(n ? n : 1);
	int r;

	memcpy(copy, text, n);
	r = kstate_parse(copy, n, s);
	free(copy);
	return r;
}

static void the_recorded_line(void **state)
{
	struct kstate s;

	assert_int_equal(parse("cull=0 frun=1507 fcull=f05 fstop=301 brun=4be8 bcull=3638 "
			       "bstop=ad8 freleased=0 breleased=0",
				 &s),
		0);
	assert_true(s.is_bound && !s.cull && s.has_released);
	assert_int_equal(s.thresholds.files.run, 0x1507);
	assert_int_equal(s.thresholds.files.cull, 0xf05);
	assert_int_equal(s.thresholds.files.stop, 0x301);
	assert_int_equal(s.thresholds.blocks.run, 0x4be8);
	assert_int_equal(s.thresholds.blocks.cull, 0x3638);
	assert_int_equal(s.thresholds.blocks.stop, 0xad8);
	assert_int_equal(s.n_released, 0);
}

static void other_orders_unknown_and_missing_keys(void **state)
{
	struct kstate s;

	assert_int_equal(parse("breleased=FF future=zz bstop=A x y= cull=1\n", &s), 0);
	assert_true(s.is_bound && s.cull && !s.has_released);
	assert_int_equal(s.released_sectors, 255);
	assert_int_equal(s.thresholds.blocks.stop, 10);
	assert_int_equal(parse("brun=ffffffffffffffff cull=1", &s), 0);
	assert_true(s.thresholds.blocks.run == UINT64_MAX);
}

static void nothing_means_not_bound(void **state)
{
	struct kstate s;

	assert_int_equal(parse("", &s), 0);
	assert_false(s.is_bound);
	assert_int_equal(parse("  \n", &s), 0);
	assert_false(s.is_bound);
}

static void malformed_values_are_refused(void **state)
{
	static const char *const bad[] = {"cull", "cull=", "cull=1 brun=12x", "cull=-1", "cull=0x1",
		"cull=1 bstop=11112222333344445", "cull=1 frun==2", "cull=1 brun= 5"};
	struct kstate s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(parse(bad[i], &s) < 0);
		assert_false(s.is_bound);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_recorded_line),
		cmocka_unit_test(other_orders_unknown_and_missing_keys),
		cmocka_unit_test(nothing_means_not_bound),
		cmocka_unit_test(malformed_values_are_refused),
	};

	return cmocka_run_group_tests_name("kstate", tests, NULL, NULL);
}
