/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_vortex_tlv.c — frames byte for byte as the published library makes them, and what is not */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "p2p/vortex/tlv.h"

#define TASK "91ae5d9d7ea8763cc482e9999a6d5edac534a6000599777d6a26d1c66d2bab16"

/* unhex - "a9 05 | 00…" to bytes; blanks and bars are for the reader */
static size_t unhex(const char *text, uint8_t *out, size_t cap)
{
	size_t n = 0;

	for (; *text; text++) {
		unsigned v;

		if (*text == ' ' || *text == '|')
			continue;
		assert_int_equal(sscanf(text, "%2x", &v), 1);
		assert_true(n < cap);
		out[n++] = (uint8_t)v;
		text++;
	}
	return n;
}

static void check_bytes(const uint8_t *got, size_t n, const char *hex)
{
	uint8_t want[512];

	assert_int_equal(n, unhex(hex, want, sizeof(want)));
	assert_memory_equal(got, want, n);
}

static void request_as_the_library_makes_it(void **state)
{
	static const char hex[] =
		"9404000000443931616535643964376561383736336363343832653939393961366435656461633533"
		"346136303030353939373737643661323664316336366432626162313600000003";
	struct vortex_download d = {.task_id = TASK, .number = 3}, back;
	struct vortex_header h;
	uint8_t b[VORTEX_REQUEST_SIZE];

	check_bytes(b, vortex_download_encode(b, sizeof(b), 0x94, &d), hex);
	assert_int_equal(vortex_header_parse(b, &h), 0);
	assert_int_equal(h.identifier, 0x94);
	assert_int_equal(h.tag, VORTEX_TAG_PERSISTENT_CACHE_REQUEST);
	assert_int_equal(h.length, 68);
	assert_int_equal(vortex_download_parse(h.tag, b + VORTEX_HEADER_SIZE, h.length, &back), 0);
	assert_string_equal(back.task_id, TASK);
	assert_int_equal(back.number, 3);
	assert_false(back.keep);
	assert_int_equal(vortex_download_encode(b, sizeof(b) - 1, 0x94, &d), 0);
}

static void our_own_request_differs_in_the_tag(void **state)
{
	struct vortex_download d = {.task_id = "2229733261", .number = 7, .keep = true}, back;
	uint8_t b[VORTEX_REQUEST_SIZE];

	assert_int_equal(vortex_download_encode(b, sizeof(b), 0, &d), VORTEX_REQUEST_SIZE);
	assert_int_equal(b[1], 253);
	assert_int_equal(vortex_download_parse(b[1], b + VORTEX_HEADER_SIZE, 68, &back), 0);
	assert_string_equal(back.task_id, "2229733261"); /* NUL padding is gone */
	assert_int_equal(back.number, 7);
	assert_true(back.keep);
}

static void content_as_the_library_makes_it(void **state)
{
	static const char hex[] =
		"a9 05 00000040 | 0000003c | 00000000 | 0000000000000000 | 0000000000000013 | "
		"0000000f 63726333323a313037333532353231 | 00000000 | 01 | 0000000000000000 | "
		"0000000068632500";
	struct vortex_content c = {.length = 19,
				      .digest = "crc32:107352521",
				      .traffic_type = 1,
				      .created_s = 1751328000},
			      back;
	uint8_t b[128];
	size_t n = vortex_content_encode(b, sizeof(b), 0xa9, &c);

	check_bytes(b, n, hex);
	assert_int_equal(
		vortex_content_parse(b + VORTEX_HEADER_SIZE, n - VORTEX_HEADER_SIZE, &back), 0);
	assert_int_equal(back.length, 19);
	assert_string_equal(back.digest, "crc32:107352521");
	assert_string_equal(back.parent_id, "");
	assert_int_equal(back.created_s, 1751328000);
	assert_int_equal(vortex_content_encode(b, n - 1, 0xa9, &c), 0);
}

static void the_librarys_own_test_piece(void **state)
{
	static const char hex[] =
		"0000005b 0000002a 0000000000000400 0000000000000800 00000020 "
		"6161616161616161616161616161616161616161616161616161616161616161 "
		"0000000e 746573745f706172656e745f6964 01 0000000000000005 0000000064eb7300";
	struct vortex_content c = {0};
	uint8_t value[128], b[128];
	size_t n = unhex(hex, value, sizeof(value));

	assert_int_equal(n, 95);
	assert_int_equal(vortex_content_parse(value, n, &c), 0);
	assert_int_equal(c.number, 42);
	assert_int_equal(c.offset, 1024);
	assert_int_equal(c.length, 2048);
	assert_string_equal(c.digest, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	assert_string_equal(c.parent_id, "test_parent_id");
	assert_int_equal(c.traffic_type, 1);
	assert_int_equal(c.cost_s, 5);
	assert_int_equal(c.created_s, 1693152000);
	assert_int_equal(vortex_content_encode(b, sizeof(b), 0, &c), n + VORTEX_HEADER_SIZE);
	assert_memory_equal(b + VORTEX_HEADER_SIZE, value, n);
}

static void error_and_close_as_the_library_makes_them(void **state)
{
	uint8_t b[64];
	struct vortex_failure f;
	size_t n = vortex_failure_encode(b, sizeof(b), 0x1d, 2, "piece x-9 not found");

	check_bytes(b, n, "1d ff 00000014 02 706965636520782d39206e6f7420666f756e64");
	assert_int_equal(
		vortex_failure_parse(b + VORTEX_HEADER_SIZE, n - VORTEX_HEADER_SIZE, &f), 0);
	assert_int_equal(f.code, VORTEX_E_NOT_FOUND);
	assert_string_equal(f.message, "piece x-9 not found");
	check_bytes(b, vortex_close_encode(b, sizeof(b), 0x3f), "3f fe 00000000");
	assert_int_equal(vortex_close_encode(b, 5, 0), 0);
}

static void hostile_requests(void **state)
{
	struct vortex_download d = {.task_id = TASK};
	struct vortex_header h;
	uint8_t b[VORTEX_REQUEST_SIZE + 1] = {0}, *value = b + VORTEX_HEADER_SIZE;

	assert_int_equal(vortex_download_encode(b, sizeof(b), 0, &d), VORTEX_REQUEST_SIZE);
	assert_int_equal(vortex_download_parse(4, value, 67, &d), -EBADMSG);
	assert_int_equal(vortex_download_parse(4, value, 69, &d), -EBADMSG);
	assert_int_equal(vortex_download_parse(4, value, 0, &d), -EBADMSG);
	for (unsigned tag = 0; tag < 256; tag++)
		assert_int_equal(vortex_download_parse((uint8_t)tag, value, 68, &d),
			tag == 4 || tag == 253 ? 0 : -EBADMSG);
	value[10] = 0; /* text after the padding began */
	assert_int_equal(vortex_download_parse(4, value, 68, &d), -EBADMSG);
	memset(value, 0, 64);
	assert_int_equal(vortex_download_parse(4, value, 68, &d), -EBADMSG);
	memcpy(value, "../../etc/passwd", 16);
	assert_int_equal(vortex_download_parse(4, value, 68, &d), -EBADMSG);

	memset(b, 0xff, 6); /* 4 GiB less one */
	assert_int_equal(vortex_header_parse(b, &h), -EMSGSIZE);
	memcpy(b, "\0\5\0\0\0\0", 6);
	b[4] = VORTEX_VALUE_MAX >> 8;
	b[5] = VORTEX_VALUE_MAX & 0xff;
	assert_int_equal(vortex_header_parse(b, &h), 0);
	b[5]++;
	assert_int_equal(vortex_header_parse(b, &h), -EMSGSIZE);
}

static void hostile_content(void **state)
{
	struct vortex_content c = {.number = 1,
				      .offset = 5,
				      .length = 9,
				      .digest = "crc32:1",
				      .parent_id = "p",
				      .traffic_type = 1},
			      back;
	uint8_t frame[128], *b = frame + VORTEX_HEADER_SIZE, keep;
	size_t n = vortex_content_encode(frame, sizeof(frame), 0, &c) - VORTEX_HEADER_SIZE;

	assert_int_equal(vortex_content_parse(b, n, &back), 0);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(vortex_content_parse(b, cut, &back), -EBADMSG);
	for (size_t i = 0; i < 4; i++) { /* lengths that lie, by one and by gigabytes */
		static const size_t at[] = {0, 24, 24 + 4 + 7};

		for (size_t k = 0; k < ARRAY_SIZE(at); k++) {
			keep = b[at[k] + i];
			b[at[k] + i] ^= i == 3 ? 1 : 0x80;
			assert_true(vortex_content_parse(b, n, &back) < 0);
			b[at[k] + i] = keep;
		}
	}
	for (size_t at = 28; at <= 28 + 7 + 4; at += 7 + 4) { /* in the digest, in the parent id */
		static const uint8_t bad[] = {0, '\n', 0x7f, 0xff, 0xc3};

		for (size_t k = 0; k < sizeof(bad); k++) {
			keep = b[at];
			b[at] = bad[k];
			assert_int_equal(vortex_content_parse(b, n, &back), -EBADMSG);
			b[at] = keep;
		}
	}
	assert_int_equal(vortex_content_parse(b, n, &back), 0);
}

static void limits_of_texts(void **state)
{
	struct vortex_content c = {0}, back;
	uint8_t *b = malloc(8192);
	char *text = malloc(8192);
	size_t n;

	memset(c.digest, 'd', VORTEX_DIGEST_MAX);
	memset(c.parent_id, 'p', VORTEX_PARENT_MAX);
	n = vortex_content_encode(b, 8192, 0, &c);
	assert_int_equal(n, VORTEX_HEADER_SIZE + VORTEX_VALUE_MAX);
	assert_int_equal(vortex_content_parse(b + 6, n - 6, &back), 0);
	assert_string_equal(back.digest, c.digest);
	assert_string_equal(back.parent_id, c.parent_id);
	c.digest[VORTEX_DIGEST_MAX] = 'd'; /* without an end */
	assert_int_equal(vortex_content_encode(b, 8192, 0, &c), 0);
	memset(text, 'x', 8191);
	text[8191] = 0;
	assert_int_equal(vortex_failure_encode(b, 8192, 0, 0, text), 0);
	text[VORTEX_VALUE_MAX - 1] = 0;
	assert_int_equal(vortex_failure_encode(b, 8192, 0, 0, text), 6 + VORTEX_VALUE_MAX);
	free(b);
	free(text);
}

static void messages_are_made_safe_to_log(void **state)
{
	struct vortex_failure f;
	uint8_t longer[600];

	assert_int_equal(vortex_failure_parse((const uint8_t *)"", 0, &f), -EBADMSG);
	assert_int_equal(vortex_failure_parse((const uint8_t *)"\3", 1, &f), 0);
	assert_int_equal(f.code, 3);
	assert_string_equal(f.message, "");
	assert_int_equal(
		vortex_failure_parse((const uint8_t *)"\0a\nb\0c\xff\xc3\xa4\x1b[1m", 13, &f), 0);
	assert_string_equal(f.message, "a?b?c?\xc3\xa4?[1m");
	longer[0] = 1;
	for (size_t i = 1; i + 1 < sizeof(longer); i += 2)
		memcpy(longer + i, "\xc3\xa4", 2);
	assert_int_equal(vortex_failure_parse(longer, sizeof(longer), &f), 0);
	assert_int_equal(strlen(f.message), 254); /* cut between characters */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_as_the_library_makes_it),
		cmocka_unit_test(our_own_request_differs_in_the_tag),
		cmocka_unit_test(content_as_the_library_makes_it),
		cmocka_unit_test(the_librarys_own_test_piece),
		cmocka_unit_test(error_and_close_as_the_library_makes_them),
		cmocka_unit_test(hostile_requests),
		cmocka_unit_test(hostile_content),
		cmocka_unit_test(limits_of_texts),
		cmocka_unit_test(messages_are_made_safe_to_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
