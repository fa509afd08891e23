/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_digest.c — known values, combining, texts */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/digest.h"
#include "common/num.h"

static void knows_the_check_value(void **state)
{
	assert_int_equal(digest_crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(digest_crc32(digest_crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
	assert_int_equal(digest_crc32(0, "", 0), 0);
	assert_int_equal(digest_crc32(7, NULL, 0), 7);
}

static void combines_pieces(void **state)
{
	uint8_t data[10000];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / 7);
	for (size_t cut = 0; cut <= sizeof(data); cut += 997) {
		uint32_t a = digest_crc32(0, data, cut);
		uint32_t b = digest_crc32(0, data + cut, sizeof(data) - cut);

		assert_int_equal(digest_crc32_combine(a, b, sizeof(data) - cut),
			digest_crc32(0, data, sizeof(data)));
	}
}

static void zeros_agree_with_reading_them(void **state)
{
	static const uint64_t sizes[] = {0, 1, 2, 3, 4095, 4096, 65537, 1 << 20};
	uint8_t *zeros = calloc(1, 1 << 20);
	uint64_t five_gib = 5ull << 30;
	uint32_t crc = 0;

	assert_non_null(zeros);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_int_equal(
			digest_crc32_zeros(sizes[i]), digest_crc32(0, zeros, (size_t)sizes[i]));
	/* beyond 2 and 4 GiB, where lengths have been cut short before */
	for (uint64_t n = 0; n < five_gib; n += 1 << 20)
		crc = digest_crc32(crc, zeros, 1 << 20);
	assert_int_equal(digest_crc32_zeros(five_gib), crc);
	assert_int_equal(digest_crc32_combine(
				 digest_crc32(0, "x", 1), digest_crc32_zeros(five_gib), five_gib),
		digest_crc32_combine(
			digest_crc32_combine(digest_crc32(0, "x", 1), digest_crc32_zeros(1), 1),
			digest_crc32_zeros(five_gib - 1), five_gib - 1));
	/* and beyond what a signed length can say: A|0^a|0^b in one step and in two */
	assert_int_equal(digest_crc32_combine(1, 2, UINT64_MAX),
		digest_crc32_combine(1, 0, UINT64_MAX) ^ digest_crc32_combine(0, 2, UINT64_MAX));
	assert_int_equal(digest_crc32_combine(1, 0, UINT64_MAX),
		digest_crc32_combine(
			digest_crc32_combine(1, 0, INT64_MAX), 0, UINT64_MAX - INT64_MAX));
	free(zeros);
}

static void xxh3_streams(void **state)
{
	struct digest_xxh3 *x = digest_xxh3_new();
	struct digest_128 whole, parts;
	uint8_t data[5000];

	assert_non_null(x);
	memset(data, 'q', sizeof(data));
	whole = digest_xxh3_128(data, sizeof(data));
	for (int round = 0; round < 2; round++) {
		digest_xxh3_reset(x);
		digest_xxh3_update(x, data, 1);
		digest_xxh3_update(x, data + 1, sizeof(data) - 1);
		parts = digest_xxh3_final(x);
		assert_true(parts.hi == whole.hi && parts.lo == whole.lo);
	}
	/* XXH3-128 of nothing, from its specification */
	whole = digest_xxh3_128("", 0);
	assert_true(whole.hi == 0x99aa06d3014798d8ull && whole.lo == 0x6001c324468d497full);
	x = digest_xxh3_free(x);
	assert_null(x);
	digest_xxh3_free(NULL);
}

static void digest_of(enum digest_algorithm a, const char *text, const char *want)
{
	struct digest *d = digest_new(a);
	char out[DIGEST_TEXT];

	assert_non_null(d);
	digest_update(d, text, 1);
	digest_update(d, text + 1, strlen(text) - 1);
	digest_final(d, out);
	assert_string_equal(out, want);
	digest_free(d);
}

static void names_its_digests(void **state)
{
	digest_of(DIGEST_CRC32, "123456789", "crc32:3421780262");
	digest_of(DIGEST_SHA256, "abc",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	digest_of(DIGEST_SHA512, "abc",
		"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
		"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
	digest_free(NULL);
}

static void reads_its_own_texts(void **state)
{
	static const char *const bad[] = {"", "crc32", "crc32:", "crc32:x", "crc32:4294967296",
		"crc32:-1", "md5:00", "sha256:abcd", "SHA256:", ":", "crc32 :1", "crc32:1 "};
	char canonical[DIGEST_TEXT], reason[NUM_REASON], text[DIGEST_TEXT];
	enum digest_algorithm a;

	assert_int_equal(digest_parse("crc32:0003421780262", &a, canonical, reason), 0);
	assert_int_equal(a, DIGEST_CRC32);
	assert_string_equal(canonical, "crc32:3421780262");
	assert_int_equal(
		digest_parse(
			"sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
			&a, canonical, NULL),
		0);
	assert_int_equal(a, DIGEST_SHA256);
	assert_string_equal(canonical,
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		reason[0] = 0;
		assert_int_equal(digest_parse(bad[i], &a, canonical, reason), -EINVAL);
		assert_true(strlen(reason) > 10);
	}
	memset(text, 'a', sizeof(text));
	memcpy(text, "sha512:", 7);
	text[7 + 128] = 0;
	assert_int_equal(digest_parse(text, &a, canonical, reason), 0);
	text[20] = 'g';
	assert_int_equal(digest_parse(text, &a, canonical, reason), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_the_check_value),
		cmocka_unit_test(combines_pieces),
		cmocka_unit_test(zeros_agree_with_reading_them),
		cmocka_unit_test(xxh3_streams),
		cmocka_unit_test(names_its_digests),
		cmocka_unit_test(reads_its_own_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
