/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_siphash.c — the vectors of the paper (SipHash-2-4, key 00..0f, input 00, 01, 02 …) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/siphash.h"

static void values_of_the_paper(void **state)
{
	static const struct {
		size_t len;
		uint64_t value;
	} rows[] = {{0, UINT64_C(0x726fdb47dd0e0e31)}, {15, UINT64_C(0xa129ca6149be45e5)}};
	uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
	uint8_t in[16];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_true(siphash(2, 4, key, in, rows[i].len) == rows[i].value);
	/* other rounds are another function */
	assert_true(siphash(1, 3, key, in, 15) != rows[1].value);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(values_of_the_paper)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
