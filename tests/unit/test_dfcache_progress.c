/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dfcache_progress.c — the line says what matters, in any width, and never wraps */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/buf.h"
#include "dfcache/progress.h"

static const struct progress_view view = {
	.verb = "Exporting",
	.done = 3ull << 30,
	.total = 5ull << 30,
	.elapsed_ns = 3000000000ull,
	.rate = 1ull << 30,
	.has_sources = true,
	.local_bytes = 1ull << 30,
	.peer_bytes = 2ull << 30,
	.n_peers = 3,
};

static void says(size_t width, const char *expected)
{
	_cleanup_buf_ struct buf b = {0};

	progress_format(&view, width, &b);
	assert_string_equal(buf_str(&b), expected);
	assert_true(b.len <= width);
}

static void eighty_columns(void **state)
{
	says(79, "3.0 GiB/5.0 GiB [####>---] 1.0 GiB/s 0:02 left 1.0 GiB here, 2.0 GiB of 3 peers");
}

static void forty_columns(void **state)
{
	says(39, "3.0 GiB/5.0 GiB 1.0 GiB/s 0:02 left");
}

static void never_wider_and_plain(void **state)
{
	struct progress_view v = view;

	v.files_total = 1000;
	v.files_done = 999;
	for (size_t width = 1; width < 200; width++) {
		_cleanup_buf_ struct buf b = {0};

		progress_format(&v, width, &b);
		assert_true(b.len <= width);
		for (size_t i = 0; i < b.len; i++)
			assert_in_range(b.data[i], ' ', '~');
	}
}

static void unknown_total(void **state)
{
	const struct progress_view v = {.verb = "Importing", .elapsed_ns = 65000000000ull};
	_cleanup_buf_ struct buf b = {0};

	progress_format(&v, 79, &b);
	assert_string_equal(buf_str(&b), "Importing 1:05");
}

static void counts_sources(void **state)
{
	struct progress p;

	progress_begin(&p, false, "Exporting");
	progress_piece(&p, 10, false, NULL);
	progress_piece(&p, 5, true, "a");
	progress_piece(&p, 5, true, "b");
	progress_piece(&p, 5, true, "a");
	assert_int_equal(p.view.done, 25);
	assert_int_equal(p.view.local_bytes, 10);
	assert_int_equal(p.view.peer_bytes, 15);
	assert_int_equal(p.view.n_peers, 2);
	progress_piece(&p, 5, true, "");
	assert_int_equal(p.view.peer_bytes, 20);
	assert_int_equal(p.view.n_peers, 2);
	for (int i = 0; i < 2 * PROGRESS_PEERS; i++) {
		char name[16] = {(char)('A' + i % 26), (char)('0' + i / 26)};

		progress_piece(&p, 1, true, name);
	}
	assert_int_equal(p.view.n_peers, PROGRESS_PEERS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eighty_columns),
		cmocka_unit_test(forty_columns),
		cmocka_unit_test(never_wider_and_plain),
		cmocka_unit_test(unknown_total),
		cmocka_unit_test(counts_sources),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
