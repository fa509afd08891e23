/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attrs: what is kept with a task survives the store, and foreign bytes are judged */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "p2p/attrs.h"

static void what_is_encoded_is_parsed(void **state)
{
	struct task_attrs a = {0}, b;
	uint8_t bytes[ATTRS_ENCODED_MAX];

	assert_int_equal(attrs_set_tag(&a, "größe"), 0);
	assert_int_equal(attrs_set_application(&a, ""), 0);
	a.replicas_wanted = 3;
	a.created_ns = UINT64_MAX;
	a.expiry_revision = 7;
	a.kept = true;
	strcpy(a.peer_id, "10.0.0.1-host-uuid");
	strcpy(a.importer_host_id, "10.0.0.2-other");
	assert_int_equal(attrs_parse(bytes, attrs_encode(&a, bytes), &b), 0);
	assert_string_equal(attrs_tag(&b), "größe");
	assert_string_equal(attrs_application(&b), "");
	assert_true(b.replicas_wanted == 3 && b.created_ns == UINT64_MAX);
	assert_true(b.expiry_revision == 7 && b.kept);
	assert_string_equal(b.peer_id, a.peer_id);
	assert_string_equal(b.importer_host_id, a.importer_host_id);
}

static void absent_is_not_empty(void **state)
{
	struct task_attrs a = {0}, b;
	uint8_t bytes[ATTRS_ENCODED_MAX];

	assert_int_equal(attrs_parse(bytes, attrs_encode(&a, bytes), &b), 0);
	assert_null(attrs_tag(&b));
	assert_null(attrs_application(&b));
	assert_false(b.kept);
	assert_int_equal(attrs_parse(bytes, 0, &b), 0);
	assert_null(attrs_tag(&b));
}

static void the_longest_fits_and_longer_is_refused(void **state)
{
	struct task_attrs *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	char text[ATTRS_TEXT_MAX + 2];
	uint8_t bytes[ATTRS_ENCODED_MAX];

	memset(text, 'x', sizeof(text));
	text[ATTRS_TEXT_MAX + 1] = 0;
	assert_int_equal(attrs_set_tag(a, text), -EMSGSIZE);
	text[ATTRS_TEXT_MAX] = 0;
	assert_int_equal(attrs_set_tag(a, text), 0);
	assert_int_equal(attrs_set_application(a, text), 0);
	memset(a->peer_id, 'p', sizeof(a->peer_id) - 1);
	memset(a->importer_host_id, 'h', sizeof(a->importer_host_id) - 1);
	a->kept = true;
	assert_int_equal(attrs_parse(bytes, attrs_encode(a, bytes), b), 0);
	assert_memory_equal(a, b, sizeof(*a));
	free(a);
	free(b);
}

static void foreign_bytes_are_judged(void **state)
{
	static const uint8_t version[] = {2}, unknown_key[] = {1, 200, 3, 0, 'a', 'b', 'c'},
			     cut[] = {1, 1, 5, 0, 'a', 'b'},
			     short_number[] = {1, 3, 4, 0, 1, 2, 3, 4},
			     nul_inside[] = {1, 1, 3, 0, 'a', 0, 'b'},
			     not_utf8[] = {1, 1, 2, 0, 0xc3, 0x28}, no_length[] = {1, 1};
	struct task_attrs a;

	assert_int_equal(attrs_parse(version, sizeof(version), &a), -ENOTSUP);
	assert_int_equal(attrs_parse(unknown_key, sizeof(unknown_key), &a), 0);
	assert_int_equal(attrs_parse(cut, sizeof(cut), &a), -EBADMSG);
	assert_int_equal(attrs_parse(short_number, sizeof(short_number), &a), -EBADMSG);
	assert_int_equal(attrs_parse(nul_inside, sizeof(nul_inside), &a), -EBADMSG);
	assert_int_equal(attrs_parse(not_utf8, sizeof(not_utf8), &a), -EBADMSG);
	assert_int_equal(attrs_parse(no_length, sizeof(no_length), &a), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_is_parsed),
		cmocka_unit_test(absent_is_not_empty),
		cmocka_unit_test(the_longest_fits_and_longer_is_refused),
		cmocka_unit_test(foreign_bytes_are_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
