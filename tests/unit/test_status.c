/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_status.c — gRPC's small texts; addresses as text; message buffers */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/rpc/addr.h"
#include "common/rpc/mem.h"
#include "common/rpc/rpc.h"
#include "common/rpc/status.h"

static void names(void **state)
{
	assert_string_equal(rpc_status_name(RPC_OK), "OK");
	assert_string_equal(rpc_status_name(RPC_NOT_FOUND), "NOT_FOUND");
	assert_string_equal(rpc_status_name(RPC_UNAUTHENTICATED), "UNAUTHENTICATED");
	assert_string_equal(rpc_status_name(17), "status 17");
	assert_string_equal(rpc_status_name(-1), "status -1");
}

static void numbers(void **state)
{
	assert_int_equal(status_parse("0"), 0);
	assert_int_equal(status_parse("16"), 16);
	assert_int_equal(status_parse("999"), 999);
	assert_int_equal(status_parse(""), RPC_UNKNOWN);
	assert_int_equal(status_parse("-1"), RPC_UNKNOWN);
	assert_int_equal(status_parse("1x"), RPC_UNKNOWN);
	assert_int_equal(status_parse("12345678901"), RPC_UNKNOWN);
	assert_int_equal(status_from_http(400), RPC_INTERNAL);
	assert_int_equal(status_from_http(429), RPC_UNAVAILABLE);
	assert_int_equal(status_from_http(500), RPC_UNKNOWN);
}

static void messages_go_there_and_back(void **state)
{
	static const char *const texts[] = {
		"", "plain", "100%", "a%20b", "„ü“\t\n\x7f", "%", "%%41"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_buf_ struct buf wire = {0}, back = {0};

		status_message_encode(&wire, texts[i]);
		for (size_t k = 0; k < wire.len; k++)
			assert_in_range(wire.data[k], 0x20, 0x7e);
		status_message_decode(&back, buf_str(&wire));
		if (i == 4)
			assert_string_equal(buf_str(&back), "„ü“   ");
		else
			assert_string_equal(buf_str(&back), texts[i]);
	}
}

static void foreign_messages_are_harmless(void **state)
{
	_cleanup_buf_ struct buf b = {0};

	status_message_decode(&b, "%C3%28%00%1b[31m%E2%82%AC%F0%9F%4");
	assert_string_equal(buf_str(&b), "?(  [31m€??%4");
}

static void timeouts(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{"1n", 1},
		{"99999999u", UINT64_C(99999999000)},
		{"20m", 20000000},
		{"3S", UINT64_C(3000000000)},
		{"1M", UINT64_C(60000000000)},
		{"1H", UINT64_C(3600000000000)},
		{"99999999H", UINT64_MAX},
		{"0S", 0},
	};
	static const char *const bad[] = {"", "S", "1", "1s", " 1S", "1S ", "+1S", "123456789n"};
	uint64_t ns;
	char text[STATUS_TIMEOUT_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(status_timeout_parse(good[i].text, &ns), 0);
		assert_true(ns == good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(status_timeout_parse(bad[i], &ns), -EINVAL);
	assert_string_equal(status_timeout_format(1, text), "1n");
	assert_string_equal(status_timeout_format(99999999, text), "99999999n");
	assert_string_equal(status_timeout_format(100000000, text), "100000u");
	assert_string_equal(status_timeout_format(100000001, text), "100001u");
	assert_string_equal(status_timeout_format(UINT64_C(10000000000), text), "10000000u");
	assert_string_equal(status_timeout_format(UINT64_MAX, text), "5124096H");
	/* never shorter than asked, and at most one unit longer */
	for (uint64_t v = 1; v < UINT64_MAX / 3; v = v * 3 + 1) {
		assert_int_equal(status_timeout_parse(status_timeout_format(v, text), &ns), 0);
		assert_true(ns >= v && ns - v <= v / 99999);
	}
}

static struct sockaddr *v4(struct sockaddr_in *a, const char *text, uint16_t port)
{
	*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	assert_int_equal(inet_pton(AF_INET, text, &a->sin_addr), 1);
	return (struct sockaddr *)a;
}

static struct sockaddr *v6(struct sockaddr_in6 *a, const char *text, uint16_t port)
{
	*a = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
	assert_int_equal(inet_pton(AF_INET6, text, &a->sin6_addr), 1);
	return (struct sockaddr *)a;
}

static void addresses(void **state)
{
	struct sockaddr un = {.sa_family = AF_UNIX};
	struct sockaddr_in a, b;
	struct sockaddr_in6 c;
	char text[64];

	assert_string_equal(
		addr_format(v4(&a, "10.0.0.1", 4000), text, sizeof(text)), "10.0.0.1:4000");
	assert_string_equal(
		addr_format(v6(&c, "fe80::1", 4000), text, sizeof(text)), "[fe80::1]:4000");
	assert_string_equal(
		addr_format(v6(&c, "::ffff:10.0.0.1", 1), text, sizeof(text)), "10.0.0.1:1");
	assert_string_equal(addr_format(&un, text, sizeof(text)), "unknown");
	assert_true(addr_is_same_host(v4(&a, "10.0.0.1", 1), v4(&b, "10.0.0.1", 2)));
	assert_true(addr_is_same_host(v4(&a, "10.0.0.1", 1), v6(&c, "::ffff:10.0.0.1", 2)));
	assert_false(addr_is_same_host(v4(&a, "10.0.0.1", 1), v4(&b, "10.0.0.2", 1)));
	assert_false(addr_is_same_host(&un, &un));
	assert_true(addr_is_loopback(v4(&a, "127.1.2.3", 1)));
	assert_true(addr_is_loopback(v6(&c, "::1", 1)));
	assert_true(addr_is_loopback(v6(&c, "::ffff:127.0.0.1", 1)));
	assert_false(addr_is_loopback(v4(&a, "10.0.0.1", 1)));
	assert_false(addr_is_loopback(&un));
}

#define MIB ((size_t)1 << 20)

static void buffers_are_charged(void **state)
{
	struct mem m = mem_init(10 * MIB);
	size_t ca, cb;
	void *a = mem_get(&m, 6 * MIB, &ca), *b;

	assert_non_null(a);
	assert_int_equal(m.used, ca);
	assert_null(mem_get(&m, 6 * MIB, &cb));
	assert_false(mem_charge(&m, 5 * MIB));
	assert_true(mem_charge(&m, 4 * MIB));
	mem_discharge(&m, 4 * MIB);
	mem_put(&m, a, ca);
	assert_int_equal(m.used, 0);
	/* the block is used again, also for something smaller */
	assert_true(m.kept_bytes > 0);
	b = mem_get(&m, 5 * MIB, &cb);
	assert_ptr_equal(b, a);
	assert_int_equal(m.used, cb);
	mem_put(&m, b, cb);
	mem_trim(&m);
	assert_int_equal(m.kept_bytes, 0);
	mem_put(&m, NULL, 0);
}

static void buffers_grow(void **state)
{
	struct mem m = mem_init(3 * MIB);
	size_t cap = 0;
	uint8_t *p = mem_grow(&m, NULL, &cap, 10, MIB), *q;

	assert_non_null(p);
	memcpy(p, "0123456789", 10);
	for (size_t n = 11; n <= MIB; n += 999) {
		p = mem_grow(&m, p, &cap, n, MIB);
		assert_non_null(p);
		assert_true(cap >= n && cap <= MIB);
	}
	assert_memory_equal(p, "0123456789", 10);
	assert_int_equal(m.used, cap);
	/* over the ceiling: unchanged */
	q = mem_grow(&m, p, &cap, 4 * MIB, 4 * MIB);
	assert_null(q);
	assert_int_equal(m.used, cap);
	mem_put(&m, p, cap);
	/* a kept block is taken at once */
	cap = 0;
	q = mem_grow(&m, NULL, &cap, 10, MIB / 2);
	assert_true(cap >= MIB / 2);
	mem_put(&m, q, cap);
	mem_trim(&m);
	assert_int_equal(m.used, 0);
}

static void few_blocks_are_kept(void **state)
{
	struct mem m = mem_init(SIZE_MAX);
	void *p[10];
	size_t cap[10];

	for (int i = 0; i < 10; i++)
		p[i] = mem_get(&m, 8 * MIB, &cap[i]);
	for (int i = 0; i < 10; i++)
		mem_put(&m, p[i], cap[i]);
	assert_int_equal(m.used, 0);
	assert_true(m.kept_bytes <= MEM_KEEP_BYTES);
	mem_trim(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(numbers),
		cmocka_unit_test(messages_go_there_and_back),
		cmocka_unit_test(foreign_messages_are_harmless),
		cmocka_unit_test(timeouts),
		cmocka_unit_test(addresses),
		cmocka_unit_test(buffers_are_charged),
		cmocka_unit_test(buffers_grow),
		cmocka_unit_test(few_blocks_are_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
