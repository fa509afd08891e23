/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dfcache_manifest.c — what goes in comes out; nothing that leads outside comes out */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "dfcache/manifest.h"
#include "tests/lib/oom.h"

static void round_trip(void **state)
{
	struct manifest m = {0}, again;
	_cleanup_buf_ struct buf text = {0};
	struct manifest_entry *e;
	char why[160];

	e = manifest_add(&m, MANIFEST_DIRECTORY, "a b", NULL);
	e->mode = 0750;
	e = manifest_add(&m, MANIFEST_FILE, "a b/x%\n\x7f", NULL);
	e->mode = 0644;
	e->bytes = 1ull << 40;
	strcpy(e->id, "2229733261");
	manifest_add(&m, MANIFEST_LINK, "l", "../away from here");
	manifest_encode(&m, &text);
	assert_string_equal(buf_str(&text), "dfcachefiles manifest 1\n"
					    "d 0750 a%20b\n"
					    "f 0644 1099511627776 2229733261 a%20b/x%25%0A%7F\n"
					    "l ../away%20from%20here l\n");
	assert_int_equal(manifest_parse(&again, buf_str(&text), text.len, why), 0);
	assert_int_equal(again.n, 3);
	assert_string_equal(again.entries[1].path, "a b/x%\n\x7f");
	assert_int_equal(again.entries[1].bytes, 1ull << 40);
	assert_int_equal(again.entries[1].mode, 0644);
	assert_string_equal(again.entries[2].target, "../away from here");
	manifest_fini(&m);
	manifest_fini(&again);
}

static void refuses(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"", "it is empty"},
		{"hello\n", "not a manifest"},
		{"dfcachefiles manifest 2\n", "not a manifest"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a", "not whole"},
		{"dfcachefiles manifest 1\nx 0644 a\n", "begins with d, f or l"},
		{"dfcachefiles manifest 1\nd 4755 a\n", "four octal digits"},
		{"dfcachefiles manifest 1\nd 0789 a\n", "four octal digits"},
		{"dfcachefiles manifest 1\nf 0644 -1 1 a\n", "decimal number"},
		{"dfcachefiles manifest 1\nf 0644 99999999999999999999 1 a\n", "decimal number"},
		{"dfcachefiles manifest 1\nf 0644 1  a\n", "1 to 64 characters"},
		{"dfcachefiles manifest 1\nf 0644 1 1 /etc/passwd\n", "not below"},
		{"dfcachefiles manifest 1\nf 0644 1 1 ../a\n", "not below"},
		{"dfcachefiles manifest 1\nd 0755 a\nf 0644 1 1 a/../../b\n", "not below"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a/./b\n", "not below"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a//b\n", "not below"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a%00b\n", "malformed"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a%2\n", "malformed"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a%41\n", "malformed"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a b\n", "malformed"},
		{"dfcachefiles manifest 1\nl %2e a\n", "target"},
		{"dfcachefiles manifest 1\nd 0755 a\nd 0755 a\n", "appears twice"},
		/* a link as the parent of a later file: the file would be made elsewhere */
		{"dfcachefiles manifest 1\nl /etc a\nf 0644 1 1 a/passwd\n", "in no directory"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a/b\nd 0755 a\n", "in no directory"},
		{"dfcachefiles manifest 1\nf 0644 1 1 a/b\n", "in no directory"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct manifest m;
		char why[160] = "";

		assert_int_equal(
			manifest_parse(&m, bad[i].text, strlen(bad[i].text), why), -EBADMSG);
		if (!strstr(why, bad[i].words))
			fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].text, why, bad[i].words);
		assert_int_equal(m.n, 0);
	}
}

static void out_of_memory(void **state)
{
	static const char text[] = "dfcachefiles manifest 1\n"
				   "d 0755 a\nf 0644 5 1 a/b\nl t a/c\nd 0755 a/d\n";

	OOM_FOR_EACH(n)
	{
		_cleanup_buf_ struct buf b = {0};
		struct manifest m;
		char why[160];
		int r = manifest_parse(&m, text, strlen(text), why);

		if (r == 0)
			manifest_encode(&m, &b);
		oom_stop();
		if (r == 0 && buf_ok(&b))
			assert_string_equal(buf_str(&b), text);
		else if (r < 0)
			assert_int_equal(r, -ENOMEM);
		manifest_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(refuses),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
