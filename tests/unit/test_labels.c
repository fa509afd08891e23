/* SPDX-License-Identifier: GPL-2.0-or-later */
/* labels: counted apart while there are few, together when there are many; safe text for Prometheus */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "p2p/labels.h"

static void pairs_are_counted_apart(void **state)
{
	_cleanup_buf_ struct buf b = {0};
	struct labels l;
	unsigned a, c;

	labels_init(&l);
	labels_format(&l, LABELS_BEGUN, "x", "2", "", &b);
	assert_string_equal(buf_str(&b), "x{type=\"2\",tag=\"\",app=\"\"} 0\n");
	assert_int_equal(labels_begin(&l, NULL, NULL), labels_begin(&l, "", ""));
	a = labels_begin(&l, "t\"a\\g\n", NULL);
	c = labels_begin(&l, "t\"a\\g\n", "app");
	assert_int_not_equal(a, c);
	labels_end(&l, a, true);
	labels_end(&l, c, false);
	buf_fini(&b);
	labels_format(&l, LABELS_BEGUN, "x", "2", ",p=\"0\"", &b);
	assert_string_equal(buf_str(&b),
		"x{type=\"2\",tag=\"\",app=\"\",p=\"0\"} 2\n"
		"x{type=\"2\",tag=\"t\\\"a\\\\g\\n\",app=\"\",p=\"0\"} 1\n"
		"x{type=\"2\",tag=\"t\\\"a\\\\g\\n\",app=\"app\",p=\"0\"} 1\n");
	assert_int_equal(l.v[a].n_failed, 1);
	assert_int_equal(l.v[a].n_running + l.v[c].n_running + l.v[c].n_failed, 0);
	assert_int_equal(l.v[0].n_running, 2);
	labels_fini(&l);
}

static void strangers_cannot_grow_them(void **state)
{
	_cleanup_buf_ struct buf b = {0};
	struct labels l;
	char text[2000];
	uint64_t n = 0;

	labels_init(&l);
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	labels_end(&l, labels_begin(&l, text, NULL), false);
	assert_int_equal(l.n, 1);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%u", i);
		labels_end(&l, labels_begin(&l, text, "a"), i % 2);
	}
	for (unsigned i = 0; i < LABELS_MAX; i++)
		n += l.v[i].n_begun;
	assert_int_equal(n, 1001);
	labels_format(&l, LABELS_FAILED, "x", "2", "", &b);
	assert_non_null(strstr(buf_str(&b), "tag=\"(others)\",app=\"(others)\"} 469\n"));
	labels_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_counted_apart),
		cmocka_unit_test(strangers_cannot_grow_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
