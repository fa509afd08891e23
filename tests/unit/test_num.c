/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_num.c — the grammars of numbers, sizes and durations: what is taken, what is refused */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <string.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/num.h"

#define S 1000000000ull

static void takes_whole_numbers_only(void **state)
{
	static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x10", "1e3", "1_000", "a"};
	char reason[NUM_REASON];
	uint64_t v = 7;

	assert_int_equal(num_u64("0", 0, 10, &v, NULL), 0);
	assert_int_equal(v, 0);
	assert_int_equal(num_u64("007", 0, 10, &v, reason), 0);
	assert_int_equal(v, 7);
	assert_int_equal(num_u64("18446744073709551615", 0, UINT64_MAX, &v, reason), 0);
	assert_true(v == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		v = 42;
		reason[0] = 0;
		assert_int_equal(num_u64(bad[i], 0, UINT64_MAX, &v, reason), -EINVAL);
		assert_int_equal(v, 42);
		assert_true(strlen(reason) > 10);
	}
	assert_int_equal(num_u64("18446744073709551616", 0, UINT64_MAX, &v, reason), -ERANGE);
	assert_int_equal(num_u64("11", 2, 10, &v, reason), -ERANGE);
	assert_string_equal(reason, "11 is not between 2 and 10");
	assert_int_equal(num_u64("1", 2, 10, &v, NULL), -ERANGE);
	assert_int_equal(v, 42);
}

static void takes_sizes_as_bytesize(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"4194304", 4194304},
		{"4mib", 4194304},
		{"4MiB", 4194304},
		{"4 MiB", 4194304},
		{"4Mi", 4194304},
		{"4\tMiB", 4194304},
		{"4.mib", 4194304},
		{".5gib", 536870912},
		{"4.5MiB", 4718592},
		{"4.5 gib", 4831838208},
		{"5b", 5},
		{"4M", 4000000},
		{"4MB", 4000000},
		{"64M", 64000000},
		{"1k", 1000},
		{"1Ki", 1024},
		{"1.5kB", 1500},
		{"2PiB", 2ull << 50},
		{"1.001k", 1000}, /* the double product is 1000.99…: as bytesize has it */
		{"18446744073709551615", UINT64_MAX},
	};
	static const char *const bad[] = {"", " 4", "4 ", "4MiB ", "1EiB", "0x10", "1e7", "4,5MiB",
		"-1", "+5k", ".", "..5k", "1.2.3k", "MiB", "4 5MiB", "4MiBs", "1.0"};
	char reason[NUM_REASON];
	uint64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		reason[0] = 0;
		v = 1;
		if (num_size(good[i].text, &v, reason) || v != good[i].bytes)
			fail_msg("%s: %" PRIu64 " %s", good[i].text, v, reason);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		v = 42;
		if (num_size(bad[i], &v, reason) != -EINVAL || v != 42)
			fail_msg("\"%s\" was taken as %" PRIu64, bad[i], v);
	}
	assert_int_equal(num_size("18446744073709551616", &v, reason), -ERANGE);
	assert_int_equal(num_size("99999999PiB", &v, reason), -ERANGE);
	assert_int_equal(num_size("16384PiB", &v, reason), -ERANGE);
	assert_int_equal(num_size("16383PiB", &v, NULL), 0);
}

static void prints_sizes_as_bytesize(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} t[] = {
		{0, "0 B"},
		{512, "512 B"},
		{1023, "1023 B"},
		{1024, "1.0 kiB"},
		{1536, "1.5 kiB"},
		{1088, "1.1 kiB"}, /* 1.0625 */
		{1000000, "976.6 kiB"},
		{1000001, "1.0 MiB"},
		{1048575, "1.0 MiB"},
		{4194304, "4.0 MiB"},
		{1000000000, "953.7 MiB"},
		{1073741824, "1.0 GiB"},
		{123456789012, "115.0 GiB"},
		{1ull << 40, "1.0 TiB"},
		{1ull << 50, "1.0 PiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char text[NUM_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		assert_string_equal(num_format_size(t[i].bytes, text, sizeof(text)), t[i].text);
}

static void takes_durations_as_humantime(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{"0", 0},
		{"0s", 0},
		{"1h30m", 5400 * S},
		{"1h 30m", 5400 * S},
		{"2 hours 37min", 9420 * S},
		{" 1m ", 60 * S},
		{"1min30sec", 90 * S},
		{"7d", 604800 * S},
		{"10w", 6048000 * S},
		{"90 sec", 90 * S},
		{"1.5h", 5400 * S},
		{"0.25s", S / 4},
		{"1M", 2630016 * S},
		{"1m", 60 * S},
		{"1y", 31557600 * S},
		{"5ns", 5},
		{"5 \xc2\xb5s", 5000},
		{"1s 1s", 2 * S},
		{"1.0000000019s", S + 1},
		{"1.00000000000000000000000001s", S},
	};
	static const char *const bad[] = {"", " ", "1H", "5m5", "-1m", "+1m", "1m,", "1_000s",
		"1.s", ".5h", "1 m s", "90", "1e3s", "1.2.3s", "s", "1\xff", "00"};
	char reason[NUM_REASON];
	uint64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		reason[0] = 0;
		v = 1;
		if (num_duration(good[i].text, &v, reason) || v != good[i].ns)
			fail_msg("%s: %" PRIu64 " %s", good[i].text, v, reason);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		v = 42;
		if (num_duration(bad[i], &v, reason) != -EINVAL || v != 42)
			fail_msg("\"%s\" was taken as %" PRIu64, bad[i], v);
	}
	assert_int_equal(num_duration("585y", &v, reason), -ERANGE);
	assert_int_equal(num_duration("99999999999999999999s", &v, reason), -ERANGE);
	assert_int_equal(num_duration("584y 300d", &v, reason), -ERANGE);
	num_duration("1H", &v, reason);
	assert_non_null(strstr(reason, "\"H\" is not a unit of time"));
}

static void prints_durations_as_humantime(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} t[] = {
		{0, "0s"},
		{60 * S, "1m"},
		{3600 * S, "1h"},
		{5400 * S, "1h 30m"},
		{86400 * S, "1day"},
		{604800 * S, "7days"},
		{90061 * S, "1day 1h 1m 1s"},
		{2630016 * S, "1month"},
		{2 * 31557600 * S, "2years"},
		{1500000000, "1s 500ms"},
		{1001001, "1ms 1us 1ns"},
	};
	char text[NUM_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		assert_string_equal(num_format_duration(t[i].ns, text, sizeof(text)), t[i].text);
	num_format_duration(UINT64_MAX, text, sizeof(text));
	num_format_duration(UINT64_MAX, text, 5); /* cut, not overrun */
	assert_string_equal(text, "584y");
}

static void takes_percentages(void **state)
{
	static const char *const bad[] = {"", "%", "10", "10 %", "-1%", "1.5%", "10%%", "10%x"};
	unsigned pct = 1;

	assert_int_equal(num_percent("0%", &pct, NULL), 0);
	assert_int_equal(pct, 0);
	assert_int_equal(num_percent("100%", &pct, NULL), 0);
	assert_int_equal(pct, 100);
	assert_int_equal(num_percent("101%", &pct, NULL), -ERANGE);
	assert_int_equal(num_percent("99999999999999999999999%", &pct, NULL), -ERANGE);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(num_percent(bad[i], &pct, NULL), -EINVAL);
	assert_int_equal(pct, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_whole_numbers_only),
		cmocka_unit_test(takes_sizes_as_bytesize),
		cmocka_unit_test(prints_sizes_as_bytesize),
		cmocka_unit_test(takes_durations_as_humantime),
		cmocka_unit_test(prints_durations_as_humantime),
		cmocka_unit_test(takes_percentages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
