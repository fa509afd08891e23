/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_record.c — the meta record: torn writes leave the old header, flipped bits are noticed */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "cachefilesd/api/record.h"
#include "common/fd.h"

static struct record sample(void)
{
	struct record r = {.info = {.id = "12345",
				   .state = STORE_PARTIAL,
				   .length = 1000,
				   .piece_length = 100,
				   .n_pieces = 10,
				   .created_ns = 5000000000ull,
				   .expires_ns = 6,
				   .uid = 1000,
				   .generation = 8},
		.attrs_len = 4,
		.recorded_ns = 9};

	memcpy(r.attrs, "abcd", 4);
	memset(r.token, 7, sizeof(r.token));
	memset(r.boot, 3, sizeof(r.boot));
	memset(r.info.fingerprint, 2, sizeof(r.info.fingerprint));
	return r;
}

static void comes_back(void **state)
{
	struct record r = sample(), b;
	int fd = memfd_create("record", 0);

	assert_int_equal(record_write(fd, &r), 0);
	assert_int_equal(record_read(fd, &b), 0);
	assert_string_equal(b.info.id, "12345");
	assert_int_equal(b.info.state, STORE_PARTIAL);
	assert_int_equal(b.info.n_present, 0);
	assert_int_equal(b.info.generation, 8);
	assert_int_equal(b.sequence, 1);
	assert_memory_equal(b.attrs, "abcd", 4);
	assert_memory_equal(b.token, r.token, sizeof(r.token));
	r.info.state = STORE_COMPLETE;
	r.pinned = true;
	r.attrs_len = STORE_ATTR_MAX;
	assert_int_equal(record_write(fd, &r), 0);
	assert_int_equal(record_read(fd, &b), 0);
	assert_int_equal(b.info.state, STORE_COMPLETE);
	assert_int_equal(b.info.n_present, 10);
	assert_true(b.pinned && b.info.pinned);
	assert_int_equal(b.attrs_len, STORE_ATTR_MAX);
	close(fd);
}

/* whatever prefix of the second write reached the disk, one of the two headers is read */
static void torn_header(void **state)
{
	struct record r = sample(), b;
	uint8_t before[RECORD_TABLE], after[RECORD_TABLE];
	int fd = memfd_create("record", 0);

	assert_int_equal(ftruncate(fd, RECORD_TABLE), 0);
	assert_int_equal(record_write(fd, &r), 0);
	assert_int_equal(fd_pread_full(fd, before, sizeof(before), 0), sizeof(before));
	r.info.expires_ns = 777;
	assert_int_equal(record_write(fd, &r), 0);
	assert_int_equal(fd_pread_full(fd, after, sizeof(after), 0), sizeof(after));
	for (size_t cut = 0; cut <= RECORD_HEADER_SIZE + 4; cut++) {
		size_t slot = memcmp(before, after, RECORD_SLOT_SIZE) ? 0 : RECORD_SLOT_SIZE;
		uint8_t torn[RECORD_TABLE];

		memcpy(torn, before, sizeof(torn));
		memcpy(torn + slot, after + slot, cut);
		assert_int_equal(fd_pwrite_full(fd, torn, sizeof(torn), 0), 0);
		assert_int_equal(record_read(fd, &b), 0);
		assert_int_equal(b.info.expires_ns, b.sequence == 2 ? 777 : 6);
		assert_int_equal(b.sequence, cut == RECORD_HEADER_SIZE + 4 ? 2 : b.sequence);
	}
	close(fd);
}

static void flipped_bits(void **state)
{
	struct record r = sample(), b;
	uint8_t slot[RECORD_SLOT_SIZE];
	int n = record_encode(&r, slot);

	assert_int_equal(n, RECORD_HEADER_SIZE + 4);
	assert_int_equal(record_decode(slot, (size_t)n, &b), 0);
	for (int bit = 0; bit < n * 8; bit++) {
		slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(record_decode(slot, (size_t)n, &b), -EBADMSG);
		slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (int k = 0; k < n; k++)
		assert_int_equal(record_decode(slot, (size_t)k, &b), -EBADMSG);
}

static void impossible_records(void **state)
{
	struct record r = sample();
	uint8_t slot[RECORD_SLOT_SIZE];

	r.info.n_pieces = 11;
	assert_int_equal(record_encode(&r, slot), -EINVAL);
	r = sample();
	r.info.piece_length = 0;
	assert_int_equal(record_encode(&r, slot), -EINVAL);
	r = sample();
	strcpy(r.info.id, "../x");
	assert_int_equal(record_encode(&r, slot), -EINVAL);
	r = sample();
	r.info.state = STORE_COMPLETE;
	r.info.id[0] = '\0';
	assert_int_equal(record_encode(&r, slot), -EINVAL);
	r = sample();
	r.attrs_len = STORE_ATTR_MAX + 1;
	assert_int_equal(record_encode(&r, slot), -EINVAL);
}

static void pieces(void **state)
{
	struct record r = sample();
	struct store_piece p[] = {{0, 10}, {1, 11}, {2, 12}, {7, 17}, {5, 15}};
	struct record_piece out[10];
	int fd = memfd_create("record", 0);

	assert_int_equal(record_write(fd, &r), 0);
	/* no table yet: nothing is present */
	assert_int_equal(record_read_pieces(fd, &r, 0, 10, out), 0);
	for (int i = 0; i < 10; i++)
		assert_false(out[i].present);
	assert_int_equal(record_write_pieces(fd, &r, p, 5, r.info.created_ns), 0);
	assert_int_equal(record_read_pieces(fd, &r, 0, 10, out), 0);
	for (uint32_t i = 0; i < 10; i++) {
		bool here = i < 3 || i == 5 || i == 7;

		assert_int_equal(out[i].present, here);
		assert_int_equal(out[i].crc32, here ? 10 + i : 0);
	}
	assert_int_equal(record_clear_piece(fd, 1), 0);
	assert_int_equal(record_read_pieces(fd, &r, 1, 1, out), 0);
	assert_false(out[0].present);
	assert_int_equal(record_read_pieces(fd, &r, 5, 6, out), -EINVAL);
	assert_int_equal(record_read_pieces(fd, &r, 11, 0, out), -EINVAL);
	p[0].number = 10;
	assert_int_equal(record_write_pieces(fd, &r, p, 1, 0), -EINVAL);
	close(fd);
}

static void torn_entries(void **state)
{
	struct record r = sample(), other = sample();
	uint8_t e[RECORD_ENTRY_SIZE], f[RECORD_ENTRY_SIZE];

	record_piece_encode(&r, 3, 0xabcdef01, r.info.created_ns + 5000000000ull, e);
	assert_true(record_piece_decode(&r, 3, e).present);
	assert_int_equal(record_piece_decode(&r, 3, e).crc32, 0xabcdef01);
	/* of another place, or of another task */
	assert_false(record_piece_decode(&r, 4, e).present);
	other.token[0] ^= 1;
	assert_false(record_piece_decode(&other, 3, e).present);
	for (int bit = 0; bit < RECORD_ENTRY_SIZE * 8; bit++) {
		memcpy(f, e, sizeof(f));
		f[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(record_piece_decode(&r, 3, f).present);
	}
	for (size_t cut = 0; cut < RECORD_ENTRY_SIZE; cut++) {
		memset(f, 0, sizeof(f));
		memcpy(f, e, cut);
		assert_false(record_piece_decode(&r, 3, f).present);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(torn_header),
		cmocka_unit_test(flipped_bits),
		cmocka_unit_test(impossible_records),
		cmocka_unit_test(pieces),
		cmocka_unit_test(torn_entries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
