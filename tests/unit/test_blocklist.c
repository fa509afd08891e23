/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "p2p/blocklist.h"

static struct blocklist *parse(const char *json)
{
	struct blocklist *b;

	assert_int_equal(blocklist_parse(&b, json, strlen(json)), 0);
	return b;
}

static void tags_and_applications_of_our_kind_of_task(void **state)
{
	struct blocklist *b = parse(
		"{\"load_limit\":200,\"block_list\":{\"task\":{\"download\":{\"tags\":[\"t\"]}},"
		"\"persistent_cache_task\":{\"download\":{\"applications\":[\"a\"],\"tags\":null,"
		"\"urls\":[\"x.*\"],\"priorities\":[3]},\"upload\":{\"tags\":[\"u\",\"\"]}}}}");

	assert_int_equal(blocklist_n(b), 3);
	assert_true(blocklist_has(b, BLOCKLIST_DOWNLOAD, NULL, "a"));
	assert_false(blocklist_has(b, BLOCKLIST_DOWNLOAD, "a", "A"));
	assert_false(blocklist_has(b, BLOCKLIST_DOWNLOAD, "t", NULL)); /* of another kind */
	assert_false(blocklist_has(b, BLOCKLIST_UPLOAD, NULL, "a"));
	assert_true(blocklist_has(b, BLOCKLIST_UPLOAD, "u", "a"));
	assert_true(blocklist_has(b, BLOCKLIST_UPLOAD, "", NULL)); /* given and empty */
	assert_false(blocklist_has(b, BLOCKLIST_UPLOAD, NULL, NULL));
	assert_true(blocklist_equal(b, b));
	assert_false(blocklist_equal(b, NULL));
	blocklist_free(b);
}

static void the_form_of_files_is_taken_too(void **state)
{
	struct blocklist *b =
		parse("{\"blockList\":{\"persistentCacheTask\":{\"upload\":{\"tags\":[\"u\"]}}}}");

	assert_true(blocklist_has(b, BLOCKLIST_UPLOAD, "u", NULL));
	blocklist_free(b);
}

static void nothing_blocks_nothing(void **state)
{
	struct blocklist *b;

	assert_null(parse(""));
	assert_null(parse("{}"));
	assert_null(parse("{\"block_list\":[]}"));
	assert_null(
		parse("{\"block_list\":{\"persistent_cache_task\":{\"upload\":{\"tags\":[1]}}}}"));
	assert_false(blocklist_has(NULL, BLOCKLIST_UPLOAD, "a", "b"));
	assert_int_equal(blocklist_n(NULL), 0);
	assert_int_equal(blocklist_parse(&b, "[]", 2), -EINVAL);
	assert_int_equal(blocklist_parse(&b, "{\"a\":", 5), -EINVAL);
	assert_int_equal(blocklist_parse(&b, "", BLOCKLIST_JSON_MAX + 1), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags_and_applications_of_our_kind_of_task),
		cmocka_unit_test(the_form_of_files_is_taken_too),
		cmocka_unit_test(nothing_blocks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
