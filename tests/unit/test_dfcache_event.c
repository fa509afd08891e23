/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dfcache_event.c — events cut anywhere say the same; the content of a piece arrives in order */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/rpc/pbc.h"
#include "dfcache/event.h"

typedef Dfdaemon__V2__DownloadPersistentCacheTaskResponse download_response;

struct got {
	struct buf text, content;
};

static void started(void *arg, uint64_t length)
{
	buf_addf(&((struct got *)arg)->text, "started %llu;", (unsigned long long)length);
}

static void begin(void *arg, const Common__V2__Piece *p, uint64_t n)
{
	buf_addf(&((struct got *)arg)->text, "begin %u at %llu of %llu, %s;", p->number,
		(unsigned long long)p->offset, (unsigned long long)n, p->digest ? p->digest : "-");
}

static void content(void *arg, const uint8_t *p, size_t n)
{
	buf_add(&((struct got *)arg)->content, p, n);
}

static void piece(void *arg, const Common__V2__Piece *p, bool has_content)
{
	buf_addf(&((struct got *)arg)->text, "piece %u %s from %s %d;", p->number,
		has_content ? "with" : "without", p->parent_id ? p->parent_id : "-",
		(int)p->traffic_type);
}

static const struct event_handlers handlers = {started, begin, content, piece};

static void piece_message(struct buf *out, const void *bytes, size_t n)
{
	download_response m = DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	Dfdaemon__V2__DownloadPieceFinishedResponse f =
		DFDAEMON__V2__DOWNLOAD_PIECE_FINISHED_RESPONSE__INIT;
	Common__V2__Piece p = COMMON__V2__PIECE__INIT;

	p.number = 7;
	p.offset = 7 << 22;
	p.length = n;
	p.parent_id = (char *)"host-peer";
	p.digest = (char *)"crc32:1";
	if (bytes) {
		p.has_content = true;
		p.content.data = (uint8_t *)bytes;
		p.content.len = n;
	}
	p.traffic_type = COMMON__V2__TRAFFIC_TYPE__REMOTE_PEER;
	m.host_id = (char *)"h";
	m.task_id = (char *)"t";
	m.peer_id = (char *)"p";
	m.response_case =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__RESPONSE_DOWNLOAD_PIECE_FINISHED_RESPONSE;
	m.download_piece_finished_response = &f;
	f.piece = &p;
	assert_int_equal(pbc_pack(&m.base, out), 0);
}

static int feed(struct got *g, const struct buf *m, size_t step)
{
	struct event_reader e = {0};
	size_t at = 0;
	int r;

	*g = (struct got){0};
	do {
		size_t n = m->len - at < step ? m->len - at : step;
		uint8_t *exact = malloc(n + !n); /* overreads are seen */

		if (n)
			memcpy(exact, m->data + at, n);
		r = event_part(&e, exact, n, m->len, at, &handlers, g);
		free(exact);
		at += n;
	} while (r == 0 && at < m->len);
	event_reader_fini(&e);
	return r;
}

static void got_fini(struct got *g)
{
	buf_fini(&g->text);
	buf_fini(&g->content);
}

static void cut_anywhere(void **state)
{
	static const size_t lengths[] = {0, 1, 100, 20000};
	char bytes[20000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		_cleanup_buf_ struct buf m = {0};
		char want[200];

		piece_message(&m, bytes, lengths[i]);
		snprintf(want, sizeof(want),
			"begin 7 at %u of %zu, crc32:1;piece 7 with from host-peer 1;", 7u << 22,
			lengths[i]);
		if (!lengths[i]) /* an empty field is none */
			snprintf(want, sizeof(want), "piece 7 without from host-peer 1;");
		for (size_t step = 1; step < 300; step += step < 20 ? 1 : 13) {
			struct got g;

			assert_int_equal(feed(&g, &m, step), 0);
			if (lengths[i])
				assert_string_equal(buf_str(&g.text), want);
			assert_int_equal(g.content.len, lengths[i]);
			if (lengths[i])
				assert_memory_equal(g.content.data, bytes, lengths[i]);
			got_fini(&g);
		}
	}
}

static void without_content(void **state)
{
	_cleanup_buf_ struct buf m = {0};
	struct got g;

	piece_message(&m, NULL, 10);
	assert_int_equal(feed(&g, &m, 3), 0);
	assert_string_equal(buf_str(&g.text), "piece 7 without from host-peer 1;");
	got_fini(&g);
}

static void begins_with_its_length(void **state)
{
	/* host "h", started { content_length 300 } */
	static const char bytes[] = "\x0a\x01h\x22\x03\x08\xac\x02";
	struct buf m = {(uint8_t *)bytes, sizeof(bytes) - 1, sizeof(bytes), false};
	struct got g;

	assert_int_equal(feed(&g, &m, 2), 0);
	assert_string_equal(buf_str(&g.text), "started 300;");
	got_fini(&g);
}

/* every message that is cut short, or that names lengths beyond its end, is refused and not followed */
static void broken(void **state)
{
	_cleanup_buf_ struct buf m = {0};

	piece_message(&m, "0123456789", 10);
	for (size_t n = 1; n < m.len; n++) {
		struct buf cut = {m.data, n, n, false};
		struct got g;
		int r = feed(&g, &cut, 4);

		/* between two fields of the outer message the rest is simply absent */
		assert_true(r == -EBADMSG || !g.content.len);
		got_fini(&g);
	}
	for (size_t i = 0; i < m.len; i++) {
		uint8_t old = m.data[i];
		struct got g;

		for (unsigned v = 0; v < 256; v += 5) {
			m.data[i] = (uint8_t)v;
			(void)feed(&g, &m, 5);
			got_fini(&g);
		}
		m.data[i] = old;
	}
}

/* an endless event is not collected */
static void too_long(void **state)
{
	struct event_reader e = {0};
	struct got g = {0};
	uint8_t p[4096] = {0x0a, 0xff, 0xff, 0xff, 0x7f}; /* a host id of 256 MiB */
	size_t total = (size_t)1 << 28, at = 0;
	int r = 0;

	for (; r == 0 && at < total; at += sizeof(p))
		r = event_part(&e, p, sizeof(p), total, at, &handlers, &g);
	assert_int_equal(r, -EBADMSG);
	assert_true(at < (size_t)2 << 20);
	event_reader_fini(&e);
	got_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(without_content),
		cmocka_unit_test(begins_with_its_length),
		cmocka_unit_test(broken),
		cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
