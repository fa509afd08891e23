// SPDX-License-Identifier: GPL-2.0-or-later
/* limits: the set is judged as a whole, and its commands are accepted from any state by a kernel
 * that checks each of them against the values in force. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cachefilesd/limits.h"

static void check_accepts_and_names_the_wrong_pair(void **state)
{
	static const struct {
		struct limits l;
		const char *text; /* NULL = fine */
	} rows[] = {
		{LIMITS_DEFAULT, NULL},
		{{{10, 7, 3}, {10, 7, 3}}, NULL},
		{{{99, 98, 97}, {2, 1, 0}}, NULL},
		{{{7, 7, 1}, {7, 5, 1}}, "bcull 7%, bstop 1%: cull must be below run"},
		{{{7, 5, 5}, {7, 5, 1}}, "stop must be below cull"},
		{{{100, 5, 1}, {7, 5, 1}}, "run must be below 100%"},
		{{{7, 5, 1}, {5, 7, 1}}, "frun 5%, fcull 7%"},
		{{{0, 0, 0}, {7, 5, 1}}, "stop must be below cull"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char reason[LIMITS_REASON] = "";
		int r = limits_check(&rows[i].l, reason);

		assert_int_equal(r == 0, !rows[i].text);
		if (rows[i].text)
			assert_non_null(strstr(reason, rows[i].text));
	}
	assert_true(limits_check(&rows[3].l, NULL) < 0);
}

/* fs/cachefiles/daemon.c, one resource: each command against the neighbours in force */
struct kernel {
	unsigned run, cull, stop;
};

static bool kernel_takes(struct kernel *k, const char *what, unsigned v)
{
	if (!strcmp(what, "run")) {
		if (v <= k->cull || v >= 100)
			return false;
		k->run = v;
	} else if (!strcmp(what, "cull")) {
		if (v <= k->stop || v >= k->run)
			return false;
		k->cull = v;
	} else {
		if (v >= k->cull)
			return false;
		k->stop = v;
	}
	return true;
}

static void commands_are_legal_from_every_state(void **state)
{
	/* every target from every corner and from a sample of states in between */
	static const struct kernel starts[] = {{7, 5, 1}, {99, 98, 97}, {2, 1, 0}, {99, 1, 0},
		{50, 49, 48}, {99, 50, 0}, {3, 2, 1}, {10, 7, 3}};

	for (unsigned run = 2; run < 100; run += run < 12 ? 1 : 7)
		for (unsigned cull = 1; cull < run; cull += cull < 12 ? 1 : 5)
			for (unsigned stop = 0; stop < cull; stop += stop < 12 ? 1 : 5) {
				struct limits l = {{run, cull, stop}, {run, cull, stop}};
				char out[LIMITS_N_COMMANDS][LIMITS_COMMAND_MAX];

				limits_commands(&l, out);
				for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
					struct kernel k[2] = {starts[s], starts[s]};

					for (size_t i = 0; i < LIMITS_N_COMMANDS; i++) {
						char res, what[8];
						unsigned v;
						char tail;

						assert_int_equal(sscanf(out[i], "%c%7[a-z] %u%c",
									 &res, what, &v, &tail),
							4);
						assert_int_equal(tail, '%');
						assert_true(kernel_takes(&k[res == 'f'], what, v));
					}
					for (int j = 0; j < 2; j++) {
						assert_int_equal(k[j].run, run);
						assert_int_equal(k[j].cull, cull);
						assert_int_equal(k[j].stop, stop);
					}
				}
			}
}

static void thresholds_divide_first(void **state)
{
	/* reference: 4288 inodes and frun 90 % give 3780, not 3859 */
	struct limits l = {{90, 85, 75}, {90, 85, 75}};
	struct limits_thresholds t = limits_compute(&l, 199, 4288);

	assert_int_equal(t.files.run, 3780);
	assert_int_equal(t.blocks.run, 90);
	assert_int_equal(t.blocks.cull, 85);
	assert_int_equal(t.blocks.stop, 75);
	/* btrfs reports no inodes: nothing about files ever triggers */
	t = limits_compute(&l, 1000, 0);
	assert_int_equal(t.files.stop, 0);
	assert_false(limits_culling(&t, false, 1000, 0));
	assert_false(limits_stopped(&t, 1000, 0));
}

static void hysteresis(void **state)
{
	struct limits l = {{10, 7, 3}, {10, 7, 3}};
	struct limits_thresholds t = limits_compute(&l, 1000, 1000);

	assert_false(limits_culling(&t, false, 100, 100));
	assert_false(limits_culling(&t, false, 70, 70)); /* at cull: not below it */
	assert_true(limits_culling(&t, false, 69, 100));
	assert_true(limits_culling(&t, false, 100, 69));
	assert_true(limits_culling(&t, true, 99, 100)); /* until both reach run */
	assert_true(limits_culling(&t, true, 100, 99));
	assert_false(limits_culling(&t, true, 100, 100));
	assert_false(limits_stopped(&t, 30, 30));
	assert_true(limits_stopped(&t, 29, 30));
	assert_int_equal(limits_deficit(&t.blocks, 40), 60);
	assert_int_equal(limits_deficit(&t.blocks, 100), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_accepts_and_names_the_wrong_pair),
		cmocka_unit_test(commands_are_legal_from_every_state),
		cmocka_unit_test(thresholds_divide_first),
		cmocka_unit_test(hysteresis),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
