/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_task_id.c — ids exactly as the reference daemon computes them; the fingerprint */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "p2p/task_id.h"

static const char content[] = "This is a test file";

static const struct {
	struct task_id_inputs in;
	const char *sha256, *crc32;
} rows[] = {
	{{0}, "91ae5d9d7ea8763cc482e9999a6d5edac534a6000599777d6a26d1c66d2bab16", "656996176"},
	{{.application = "app1"},
		"0d0f8536f51227fda07141308f5ae8149b561b51b61c6517125f25dfa27acf5b", "735741469"},
	{{.tag = "tag1"}, "a98b76813681e30cf83733fe055792b86393bba6f18e3d89fd8c18253922d992",
		"3954905097"},
	{{.has_piece_length = true, .piece_length = 1024},
		"e894374a39e39cfa78c409cac02f2cdbb5605a24f5ff55c7bc2b624877556c03", "4162557545"},
	{{.tag = "tag1", .application = "app1", .has_piece_length = true, .piece_length = 1024},
		"7160a071a9acea5ac341e770c14d0211c38a4b15b3bbe2c5f848a706fd47419e", NULL},
	{{.tag = "tag1", .application = "app1", .has_piece_length = true, .piece_length = 4194304},
		"06149eed9221a4feaccc75a4797330b6f01df4288d9cc0953df5b8123300e1ab", "3630151782"},
	{{.content = "This is a test file"},
		"e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249", "107352521"},
	/* content text stands alone: nothing else counts */
	{{.content = "This is a test file",
		 .tag = "tag1",
		 .application = "app1",
		 .has_piece_length = true,
		 .piece_length = 1024},
		"e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249", "107352521"},
	/* empty is as good as absent; a length that nobody gave is not fed */
	{{.tag = "", .application = "", .piece_length = 1024},
		"91ae5d9d7ea8763cc482e9999a6d5edac534a6000599777d6a26d1c66d2bab16", "656996176"},
};

static void worked_examples_sha256(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct digest *d = digest_new(DIGEST_SHA256);
		char id[TASK_ID_SIZE];

		digest_update(d, content, 7);
		digest_update(d, content + 7, strlen(content) - 7);
		assert_int_equal(task_id_sha256(&rows[i].in, d, id), 0);
		assert_string_equal(id, rows[i].sha256);
		assert_true(task_id_is_valid(id));
		digest_free(d);
	}
}

static void worked_examples_crc32(void **state)
{
	/* as an import has it: combined from the pieces' values */
	uint32_t crc = digest_crc32_combine(
		digest_crc32(0, content, 7), digest_crc32(0, content + 7, 12), 12);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char id[TASK_ID_SIZE];

		task_id_crc32(&rows[i].in, crc, id);
		if (rows[i].crc32)
			assert_string_equal(id, rows[i].crc32);
		assert_true(task_id_is_valid(id));
	}
}

static void wrong_streams_are_refused(void **state)
{
	struct task_id_inputs in = {.tag = "tag1"}, text = {.content = "x"};
	struct digest *d = digest_new(DIGEST_SHA512);
	char id[TASK_ID_SIZE];

	assert_int_equal(task_id_sha256(&in, NULL, id), -EINVAL);
	assert_int_equal(task_id_sha256(&in, d, id), -EINVAL);
	assert_int_equal(task_id_sha256(&text, NULL, id), 0);
	digest_free(d);
}

static void valid_ids(void **state)
{
	static const char *const good[] = {"1", "2229733261", "a.b", "-", "_x",
		"91ae5d9d7ea8763cc482e9999a6d5edac534a6000599777d6a26d1c66d2bab16"};
	static const char *const bad[] = {"", ".", "..", ".x", "a/b", "a b", "a\n", "\xc3\xa4",
		"91ae5d9d7ea8763cc482e9999a6d5edac534a6000599777d6a26d1c66d2bab161"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(task_id_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(task_id_is_valid(bad[i]));
}

static void print_of(uint64_t length, uint32_t piece_length, uint32_t crc, struct digest_128 x,
	unsigned n, uint8_t out[16])
{
	struct fingerprint *f = fingerprint_new(length, piece_length);

	for (unsigned i = 0; i < n; i++)
		fingerprint_piece(f, crc + i, x);
	fingerprint_final(f, out);
	assert_null(fingerprint_free(f));
}

static void fingerprint_is_of_all_its_inputs(void **state)
{
	const struct digest_128 x = {.hi = 0x0123456789abcdef, .lo = 0xfedcba9876543210},
				y = {.hi = 0x0123456789abcdef, .lo = 0xfedcba9876543211};
	uint8_t a[16], b[16];

	print_of(100, 10, 5, x, 10, a);
	print_of(100, 10, 5, x, 10, b);
	assert_memory_equal(a, b, 16);
	print_of(101, 10, 5, x, 10, b);
	assert_memory_not_equal(a, b, 16);
	print_of(100, 11, 5, x, 10, b);
	assert_memory_not_equal(a, b, 16);
	print_of(100, 10, 6, x, 10, b);
	assert_memory_not_equal(a, b, 16);
	print_of(100, 10, 5, y, 10, b);
	assert_memory_not_equal(a, b, 16);
	print_of(100, 10, 5, x, 9, b);
	assert_memory_not_equal(a, b, 16);
}

/* The layout is a promise between peers of different builds: the same bytes hashed in one call. */
static void fingerprint_layout(void **state)
{
	static const uint8_t bytes[32] = {/* length */ 8, 7, 6, 5, 4, 3, 2, 1,
		/* piece length */ 0x0d, 0x0c, 0x0b, 0x0a,
		/* crc32 */ 0x44, 0x33, 0x22, 0x11,
		/* xxh3: low half, high half */ 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
		0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01};
	struct digest_128 h = digest_xxh3_128(bytes, sizeof(bytes));
	uint8_t got[16];

	print_of(0x0102030405060708, 0x0a0b0c0d, 0x11223344,
		(struct digest_128){.hi = 0x0123456789abcdef, .lo = 0xfedcba9876543210}, 1, got);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(got[i], h.lo >> (8 * i) & 0xff);
		assert_int_equal(got[8 + i], h.hi >> (8 * i) & 0xff);
	}
}

static void ids_of_hosts_and_peers(void **state)
{
	char host[HOST_ID_SIZE], a[PEER_ID_SIZE], b[PEER_ID_SIZE], hex[3][16];
	unsigned version, variant;

	host_id_make("10.0.0.7", "node-7", host);
	assert_string_equal(host, "10.0.0.7-node-7");
	peer_id_make("10.0.0.7", "node-7", a);
	peer_id_make("10.0.0.7", "node-7", b);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), strlen(host) + 1 + 36);
	assert_int_equal(sscanf(a, "10.0.0.7-node-7-%8[0-9a-f]-%4[0-9a-f]-%1x%3[0-9a-f]-%1x",
				 hex[0], hex[1], &version, hex[2], &variant),
		5);
	assert_int_equal(version, 4);
	assert_true(variant >= 8 && variant <= 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(worked_examples_sha256),
		cmocka_unit_test(worked_examples_crc32),
		cmocka_unit_test(wrong_streams_are_refused),
		cmocka_unit_test(valid_ids),
		cmocka_unit_test(fingerprint_is_of_all_its_inputs),
		cmocka_unit_test(fingerprint_layout),
		cmocka_unit_test(ids_of_hosts_and_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
