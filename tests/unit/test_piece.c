/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_piece.c — lengths, counts and offsets as the reference daemon has them */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "p2p/piece.h"

#define MIB (1u << 20)

static void automatic_length_at_every_step(void **state)
{
	static const struct {
		uint64_t content;
		uint32_t mib, count;
	} rows[] = {
		{0, 4, 0},
		{1, 4, 1},
		{4 * MIB, 4, 1},
		{4 * MIB + 1, 4, 2},
		{2097152499, 4, 501},
		{2097152500, 8, 251},
		{4194304499, 8, 501},
		{4194304500, 16, 251},
		{8388608499, 16, 501},
		{8388608500, 32, 251},
		{16777216499, 32, 501},
		{16777216500, 64, 251},
		{1ull << 40, 64, 16384},
		{UINT64_MAX, 64, UINT32_MAX},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(piece_length_for(rows[i].content), rows[i].mib * MIB);
		assert_int_equal(piece_count(rows[i].content, rows[i].mib * MIB), rows[i].count);
	}
}

static void pieces_cover_the_content_once(void **state)
{
	static const uint64_t lengths[] = {1, 2, 9, 10, 11, 99, 100, 101, 12345};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint64_t at = 0;
		uint32_t n = piece_count(lengths[i], 10);

		for (uint32_t k = 0; k < n; k++) {
			uint32_t size = piece_size(k, lengths[i], 10);

			assert_int_equal(piece_offset(k, 10), at);
			assert_true(size >= 1 && size <= 10);
			assert_true(size == 10 || k == n - 1);
			at += size;
		}
		assert_int_equal(at, lengths[i]);
		assert_int_equal(piece_size(n, lengths[i], 10), 0);
		assert_int_equal(piece_size(UINT32_MAX, lengths[i], 10), 0);
	}
}

static void extremes(void **state)
{
	assert_int_equal(piece_size(0, 0, 10), 0);
	assert_int_equal(piece_count(0, 0), 0);
	assert_int_equal(piece_count(1, 0), UINT32_MAX);
	assert_int_equal(piece_size(0, 1, 0), 0);
	assert_int_equal(piece_count(UINT64_MAX, 1), UINT32_MAX);
	assert_true(piece_offset(UINT32_MAX, UINT32_MAX) == 0xfffffffe00000001ull);
	assert_int_equal(piece_size(16383, 1ull << 40, 64 * MIB), 64 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(automatic_length_at_every_step),
		cmocka_unit_test(pieces_cover_the_content_once),
		cmocka_unit_test(extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
