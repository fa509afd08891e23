/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_buf.c — growth, front consumption, JSON quoting */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/buf.h"

static void grows_and_consumes(void **state)
{
	_cleanup_buf_ struct buf b = {0};

	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%03d,", i);
	assert_true(buf_ok(&b));
	assert_int_equal(b.len, 4000);
	assert_memory_equal(b.data, "000,001,", 8);
	buf_consume(&b, 4);
	assert_memory_equal(b.data, "001,002,", 8);
	buf_consume(&b, 1 << 20);
	assert_int_equal(b.len, 0);
	assert_string_equal(buf_str(&b), "");
}

static void refuses_absurd_sizes(void **state)
{
	_cleanup_buf_ struct buf b = {0};

	buf_adds(&b, "x");
	assert_null(buf_reserve(&b, SIZE_MAX - 1));
	assert_false(buf_ok(&b));
	assert_null(buf_take(&b, NULL));
	assert_true(buf_ok(&b));
}

static void quotes_json(void **state)
{
	_cleanup_buf_ struct buf b = {0};

	buf_json_string(&b, "a\"\\\n\xff\xc3\xa9");
	assert_string_equal(buf_str(&b), "\"a\\\"\\\\\\u000a\xef\xbf\xbd\xc3\xa9\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_consumes),
		cmocka_unit_test(refuses_absurd_sizes),
		cmocka_unit_test(quotes_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
