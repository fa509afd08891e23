// SPDX-License-Identifier: GPL-2.0-or-later
/* objname: entries of both on-disk generations, and what is neither. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cachefilesd/objname.h"

static void classification(void **state)
{
	char long_name[256];
	static const struct {
		const char *name;
		enum objname_type type;
		enum objname_kind kind;
	} rows[] = {
		{".", OBJNAME_DIR, OBJNAME_SKIP},
		{"..", OBJNAME_DIR, OBJNAME_SKIP},
		{"...", OBJNAME_DIR, OBJNAME_ALIEN},
		{"..foo", OBJNAME_DIR, OBJNAME_ALIEN},
		{".x", OBJNAME_REG, OBJNAME_ALIEN},
		{"Infs,4.2,2,108,100007f,,,,,40000,40000,2ee,3a98,1d4c,3a98,1", OBJNAME_DIR,
			OBJNAME_INDEX},
		{"I9p,share,mytag", OBJNAME_DIR, OBJNAME_INDEX},
		{"I03nfs", OBJNAME_DIR, OBJNAME_INDEX},
		{"Jx", OBJNAME_DIR, OBJNAME_INDEX},
		{"I", OBJNAME_REG, OBJNAME_ALIEN},
		{"Inode.txt", OBJNAME_REG, OBJNAME_ALIEN},
		{"@4a", OBJNAME_DIR, OBJNAME_INTERMEDIATE},
		{"+foo", OBJNAME_DIR, OBJNAME_INTERMEDIATE},
		{"@4a", OBJNAME_REG, OBJNAME_ALIEN},
		{"T1010001,,461e6463,b,", OBJNAME_REG, OBJNAME_OBJECT},
		{"Ta920d4,", OBJNAME_REG, OBJNAME_OBJECT},
		{"S,1f", OBJNAME_REG, OBJNAME_OBJECT},
		{"E0abcd", OBJNAME_REG, OBJNAME_OBJECT},
		{"D[a:b],c", OBJNAME_REG, OBJNAME_OBJECT},
		{"E0abcd", OBJNAME_DIR, OBJNAME_OBJECT}, /* old format, with children */
		{"D", OBJNAME_OTHER, OBJNAME_ALIEN}, /* a fifo, socket, link or device */
		{"data", OBJNAME_REG, OBJNAME_ALIEN},
		{"d", OBJNAME_REG, OBJNAME_ALIEN},
		{"lost+found", OBJNAME_DIR, OBJNAME_ALIEN},
		{"\xff\xfe", OBJNAME_DIR, OBJNAME_ALIEN},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(objname_classify(rows[i].name, rows[i].type), rows[i].kind);
	memset(long_name, 'x', 255);
	long_name[0] = 'D';
	long_name[255] = '\0';
	assert_int_equal(objname_classify(long_name, OBJNAME_REG), OBJNAME_OBJECT);
}

static void fanout(void **state)
{
	assert_true(objname_is_fanout("@00"));
	assert_true(objname_is_fanout("@ff"));
	assert_false(objname_is_fanout("@f"));
	assert_false(objname_is_fanout("@"));
	assert_false(objname_is_fanout("@fff"));
	assert_false(objname_is_fanout("@gg"));
	assert_false(objname_is_fanout("@FF"));
	assert_false(objname_is_fanout("I00"));
}

static void decoding(void **state)
{
	static const struct {
		const char *name, *key;
	} rows[] = {
		{"Dmy.img", "my.img"},
		{"D", ""},
		{"T1010001,,461e6463,b,", "01000101"
					  "00000000"
					  "63641e46"
					  "0b000000"
					  "00000000"},
		{"S,1f", "00000000"
			 "0000001f"},
		/* two bytes 0x01 0x02: one group, one byte of padding; 0x000201 = 1 + 8*64 */
		{"E11800", "0102"},
		{"E00000", "000000"},
		{"E1-f00", NULL}, /* judged below */
		{"Exyz", NULL},
		{"E3aaaa", NULL},
		{"E0aaa", NULL},
		{"E0aa!a", NULL},
		{"T123456789", NULL},
		{"Tzz", NULL},
		{"D\x01", NULL},
		{"Ifoo", NULL},
	};
	char out[64], tiny[3];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool ok = objname_decode(rows[i].name, out, sizeof(out));

		if (i == 6) {
			assert_true(ok);
			assert_string_equal(out, "ff03");
			continue;
		}
		assert_int_equal(ok, rows[i].key != NULL);
		if (ok)
			assert_string_equal(out, rows[i].key);
	}
	assert_true(objname_decode("Dabcdef", tiny, sizeof(tiny)));
	assert_string_equal(tiny, "ab");
	assert_true(objname_decode("S12345678", tiny, sizeof(tiny)));
	assert_string_equal(tiny, "12");
	assert_false(objname_decode("Dx", tiny, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classification),
		cmocka_unit_test(fanout),
		cmocka_unit_test(decoding),
	};

	return cmocka_run_group_tests_name("objname", tests, NULL, NULL);
}
