/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_store_proto.c — every message survives the way over the wire; what does not fit is refused */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "cachefilesd/api/proto.h"

static uint8_t bytes[PROTO_MESSAGE_MAX + 64];

static const struct {
	enum proto_type type;
	uint32_t mask;
} requests[] = {
	{PROTO_HELLO, 0},
	{PROTO_CREATE, PROTO_F_CREATE},
	{PROTO_CREATE, PROTO_F_CREATE | PROTO_F_ID | PROTO_F_ATTRS},
	{PROTO_ATTACH, PROTO_F_TOKEN},
	{PROTO_PIECES, PROTO_F_LEASE | PROTO_F_PIECES},
	{PROTO_COMMIT, PROTO_F_LEASE | PROTO_F_ID | PROTO_F_FPRINT},
	{PROTO_COMMIT, PROTO_F_LEASE | PROTO_F_ID | PROTO_F_FPRINT | PROTO_F_ATTRS},
	{PROTO_ABORT, PROTO_F_LEASE},
	{PROTO_OPEN, PROTO_F_ID},
	{PROTO_RELEASE, PROTO_F_LEASE},
	{PROTO_STAT, PROTO_F_ID},
	{PROTO_LIST, PROTO_F_CURSOR},
	{PROTO_TOUCH, PROTO_F_ID},
	{PROTO_PIN, PROTO_F_ID | PROTO_F_PIN},
	{PROTO_EXTEND, PROTO_F_ID | PROTO_F_EXPIRES},
	{PROTO_DELETE, PROTO_F_ID},
	{PROTO_SET_ATTRS, PROTO_F_ID | PROTO_F_ATTRS},
	{PROTO_CULL, PROTO_F_CULL},
	{PROTO_CONTROL, PROTO_F_TEXT},
};
#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

static void fill(struct proto_request *rq, size_t i)
{
	static const uint8_t attrs[STORE_ATTR_MAX] = {9, 8, 7};

	memset(rq, 0, sizeof(*rq));
	rq->type = requests[i].type;
	rq->mask = requests[i].mask;
	rq->number = 0x01020304;
	rq->lease = 0xdeadbeef;
	strcpy(rq->id, "0123-task_id.x");
	memset(rq->token, 0x5a, sizeof(rq->token));
	memset(rq->fingerprint, 0xa5, sizeof(rq->fingerprint));
	rq->reserve_bytes = 1ull << 40;
	rq->length = 3ull << 40;
	rq->generation = UINT64_MAX;
	rq->wait_ns = 77;
	rq->piece_length = 4 << 20;
	rq->uid = 65534;
	rq->expires_ns = 123456789012345678ull;
	rq->pin = true;
	rq->cursor = 1ull << 63;
	rq->n_pieces = STORE_PIECES_BATCH;
	for (uint32_t k = 0; k < STORE_PIECES_BATCH; k++)
		rq->pieces[k] = (struct store_piece){k * 3, ~k};
	rq->attrs = attrs;
	rq->attrs_len = sizeof(attrs);
	rq->dry_run = true;
	rq->bytes = 42;
	rq->text = "status json";
	rq->text_len = 11;
}

static void requests_come_back(void **state)
{
	struct proto_request a, b;
	const char *why;

	for (size_t i = 0; i < N_REQUESTS; i++) {
		uint8_t again[PROTO_MESSAGE_MAX];
		int n, m;

		fill(&a, i);
		n = proto_request_encode(&a, bytes, sizeof(bytes));
		assert_true(n > 0);
		assert_int_equal(proto_request_decode(bytes, (size_t)n, &b, &why), 0);
		assert_int_equal(b.type, a.type);
		m = proto_request_encode(&b, again, sizeof(again));
		assert_int_equal(m, n);
		assert_memory_equal(again, bytes, (size_t)n);
		/* every shorter message is refused, and so is a longer one */
		for (int k = 0; k < n; k++)
			assert_int_equal(
				proto_request_decode(bytes, (size_t)k, &b, &why), -EBADMSG);
		assert_int_equal(proto_request_decode(bytes, (size_t)n + 1, &b, &why), -EBADMSG);
		assert_non_null(why);
	}
}

static void wrong_requests(void **state)
{
	struct proto_request rq;
	const char *why;
	int n;

	/* fields that do not belong, or are missing */
	for (size_t i = 0; i < N_REQUESTS; i++) {
		for (unsigned bit = 0; bit < 13; bit++) {
			uint32_t mask = requests[i].mask ^ (1u << bit);
			bool known = false;

			for (size_t k = 0; k < N_REQUESTS; k++)
				known |= requests[k].type == requests[i].type &&
					 requests[k].mask == mask;
			/* the two optional fields of create may come alone */
			if (known || (requests[i].type == PROTO_CREATE && mask & PROTO_F_CREATE &&
					     !(mask & ~(uint32_t)(PROTO_F_CREATE | PROTO_F_ID |
								  PROTO_F_ATTRS))))
				continue;
			fill(&rq, i);
			n = proto_request_encode(&rq, bytes, sizeof(bytes));
			assert_true(n > 0);
			rq.mask = mask;
			assert_int_equal(proto_request_encode(&rq, bytes, sizeof(bytes)), -EINVAL);
			bytes[16] = (uint8_t)mask;
			bytes[17] = (uint8_t)(mask >> 8);
			assert_int_equal(
				proto_request_decode(bytes, (size_t)n, &rq, &why), -EBADMSG);
			assert_int_equal(rq.number, 0x01020304);
		}
	}
	fill(&rq, 0);
	n = proto_request_encode(&rq, bytes, sizeof(bytes));
	bytes[4] = 2; /* version */
	assert_int_equal(proto_request_decode(bytes, (size_t)n, &rq, &why), -EPROTONOSUPPORT);
	assert_int_equal(rq.number, 0x01020304);
	bytes[4] = 1;
	bytes[0] ^= 1;
	assert_int_equal(proto_request_decode(bytes, (size_t)n, &rq, &why), -EBADMSG);
	assert_int_equal(rq.number, 0);
}

static void ids(void **state)
{
	char longest[STORE_ID_MAX + 2];

	assert_true(proto_id_ok("0", 1));
	assert_true(proto_id_ok("a.b_c-D9", 8));
	assert_false(proto_id_ok("", 0));
	assert_false(proto_id_ok(".", 1));
	assert_false(proto_id_ok("..", 2));
	assert_false(proto_id_ok(".hidden", 7));
	assert_false(proto_id_ok("a/b", 3));
	assert_false(proto_id_ok("a\0b", 3));
	assert_false(proto_id_ok("a b", 3));
	assert_false(proto_id_ok("\xc3\xa9", 2));
	memset(longest, 'f', sizeof(longest));
	assert_true(proto_id_ok(longest, STORE_ID_MAX));
	assert_false(proto_id_ok(longest, STORE_ID_MAX + 1));
	/* and the decoder asks */
	{
		struct proto_request rq;
		const char *why;
		int n;

		fill(&rq, 8);
		n = proto_request_encode(&rq, bytes, sizeof(bytes));
		assert_int_equal(proto_request_decode(bytes, (size_t)n, &rq, &why), 0);
		memcpy(memmem(bytes, (size_t)n, "task", 4), "../x", 4);
		assert_int_equal(proto_request_decode(bytes, (size_t)n, &rq, &why), -EBADMSG);
	}
}

static void replies_come_back(void **state)
{
	struct store_info in[PROTO_LIST_ENTRIES], out[PROTO_LIST_ENTRIES];
	struct proto_reply r = {.type = PROTO_LIST,
		.number = 7,
		.mask = 0x7ff,
		.status = STORE_NO_SPACE,
		.message = "wanted 1, available 2",
		.lease = 5,
		.info = {.id = "x", .state = STORE_COMPLETE, .pinned = true, .length = 99},
		.attrs = (const uint8_t *)"abc",
		.attrs_len = 3,
		.entries = in,
		.n_entries = PROTO_LIST_ENTRIES,
		.cursor = 12,
		.free_bytes = 1,
		.total_bytes = 2,
		.cull_bytes = 3,
		.run_bytes = 4,
		.stop_bytes = 5,
		.freed_bytes = 6};
	struct proto_reply b = {.entries = out};
	uint8_t again[PROTO_MESSAGE_MAX];
	int n;

	for (size_t i = 0; i < PROTO_LIST_ENTRIES; i++) {
		in[i] = (struct store_info){.state = i % 2 ? STORE_PARTIAL : STORE_COMPLETE,
			.leased = i % 3 == 0,
			.deleted = i % 5 == 0,
			.uid = (uid_t)i,
			.generation = i * i};
		memset(in[i].id, 'k', i % (STORE_ID_MAX + 1));
	}
	n = proto_reply_encode(&r, bytes, sizeof(bytes));
	assert_true(n > 0);
	assert_int_equal(proto_reply_decode(bytes, (size_t)n, &b), 0);
	assert_string_equal(b.message, r.message);
	assert_int_equal(b.n_entries, PROTO_LIST_ENTRIES);
	assert_int_equal(b.entries[9].generation, 81);
	assert_true(b.info.pinned && b.attrs_len == 3 && b.stop_bytes == 5 && b.freed_bytes == 6);
	assert_int_equal(proto_reply_encode(&b, again, sizeof(again)), n);
	assert_memory_equal(again, bytes, (size_t)n);
	for (int k = 0; k < n; k++)
		assert_true(proto_reply_decode(bytes, (size_t)k, &b) < 0);
	/* the largest list fits */
	for (size_t i = 0; i < PROTO_LIST_ENTRIES; i++) {
		memset(in[i].id, 'k', STORE_ID_MAX);
		in[i].id[STORE_ID_MAX] = '\0';
	}
	assert_true(proto_reply_encode(&r, bytes, sizeof(bytes)) > 0);
}

static void events(void **state)
{
	struct proto_reply r = {
		.type = PROTO_EVENT, .mask = PROTO_R_EVENT, .event = STORE_EVENT_CULLED};
	struct proto_reply b = {0};
	int n = proto_reply_encode(&r, bytes, sizeof(bytes));

	assert_int_equal(proto_reply_decode(bytes, (size_t)n, &b), 0);
	assert_int_equal(b.event, STORE_EVENT_CULLED);
	bytes[n - 1] = 200;
	assert_int_equal(proto_reply_decode(bytes, (size_t)n, &b), -EBADMSG);
}

static void names(void **state)
{
	for (int s = STORE_OK; s <= STORE_TIMEOUT; s++)
		assert_string_not_equal(store_status_name((enum store_status)s), "unknown status");
	assert_string_equal(store_status_name((enum store_status)99), "unknown status");
	for (int t = PROTO_HELLO; t < PROTO_TYPES; t++)
		assert_string_not_equal(proto_type_name((enum proto_type)t), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_come_back),
		cmocka_unit_test(wrong_requests),
		cmocka_unit_test(ids),
		cmocka_unit_test(replies_come_back),
		cmocka_unit_test(events),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
