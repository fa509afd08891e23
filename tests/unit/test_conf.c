/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_conf.c — INI text to a struct: types, bounds, every error with its line */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/conf.h"
#include "common/num.h"
#include "tests/lib/oom.h"

struct target {
	char *name, *peers;
	bool on;
	uint64_t port, size, wait;
	int mode;
};

static const char *const modes[] = {"auto", "ring", "epoll", NULL};
#define AT(m) offsetof(struct target, m)
static const struct conf_option options[] = {
	{"main", "name", CONF_STRING, AT(name), .def = "here"},
	{"main", "on", CONF_BOOL, AT(on), .def = "yes"},
	{"main", "port", CONF_U64, AT(port), .min = 1, .max = 65535, .def = "4001"},
	{"disk", "size", CONF_SIZE, AT(size), .min = 1024, .def = "4MiB"},
	{"disk", "wait", CONF_DURATION, AT(wait), .max = 3600000000000ull, .def = "10s"},
	{"disk", "mode", CONF_ENUM, AT(mode), .names = modes, .def = "auto"},
	{"disk", "peers", CONF_LIST, AT(peers), .def = "a,b"},
};
#define N ARRAY_SIZE(options)

static int parse(
	const char *text, struct target *t, struct conf_origin *origins, struct buf *errors)
{
	buf_fini(errors);
	assert_int_equal(conf_defaults(options, N, t), 0);
	return conf_parse(options, N, t, "f.conf", text, strlen(text), origins, errors);
}

static void fills_every_type(void **state)
{
	_cleanup_buf_ struct buf errors = {0}, out = {0};
	struct conf_origin origins[N];
	struct target t, again;

	assert_int_equal(parse("\xef\xbb\xbf# a comment\n; another\n\n[main]\nname = a b \n"
			       "\ton=off ; trailing\nport: 65535\r\n[disk]\nsize = 1.5 MiB\n"
			       "wait = 1m 30s\nmode = epoll\npeers = x, ,y ,\n  peers = z",
				 &t, origins, &errors),
		0);
	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(t.name, "a b");
	assert_false(t.on);
	assert_int_equal(t.port, 65535);
	assert_int_equal(t.size, 1572864);
	assert_int_equal(t.wait, 90000000000);
	assert_int_equal(t.mode, 2);
	assert_string_equal(t.peers, "x,y,z"); /* the default went, repetition appended */
	assert_int_equal(origins[0].line, 5);
	assert_int_equal(origins[2].line, 7);
	assert_int_equal(origins[6].line, 12);

	/* what is printed is taken again, and means the same */
	for (size_t i = 0; i < N; i++) {
		if (i == 0 || i == 3)
			buf_addf(&out, "[%s]\n", options[i].section);
		buf_addf(&out, "%s = ", options[i].key);
		conf_format(&options[i], &t, &out);
		buf_addc(&out, '\n');
	}
	assert_int_equal(parse(buf_str(&out), &again, NULL, &errors), 0);
	assert_string_equal(again.name, t.name);
	assert_string_equal(again.peers, t.peers);
	assert_true(again.on == t.on && again.port == t.port && again.size == t.size &&
		    again.wait == t.wait && again.mode == t.mode);
	conf_fini(options, N, &again);
	conf_fini(options, N, &t);
	conf_fini(options, N, &t);
	assert_null(t.name);
}

static void empty_text_is_the_defaults(void **state)
{
	_cleanup_buf_ struct buf errors = {0};
	struct conf_origin origins[N];
	struct target t;

	assert_int_equal(parse("", &t, origins, &errors), 0);
	assert_string_equal(t.name, "here");
	assert_string_equal(t.peers, "a,b");
	assert_int_equal(t.size, 4194304);
	assert_int_equal(origins[0].line, 0);
	conf_fini(options, N, &t);
}

static void reports_each_error_with_its_line(void **state)
{
	static const struct {
		const char *text;
		int n_errors;
		const char *sentence;
	} t[] = {
		{"[main]\nport = 0\n", 1, "f.conf:2: port = 0: must be between 1 and 65535\n"},
		{"[main]\nport = x\n", 1,
			"f.conf:2: port = x: \"x\" is not a whole number (digits only)\n"},
		{"[main]\nport = 1\nport = 2\n", 1,
			"f.conf:3: port is set twice, first in line 2; remove one of the two\n"},
		{"[main]\nprot = 1\n", 1,
			"f.conf:2: unknown key \"prot\" in [main]; known are name, on, port\n"},
		{"[mian]\nport = 1\n", 1,
			"f.conf:1: unknown section [mian]; known are [main], [disk]\n"},
		{"[main\nport = 1\n", 1, "f.conf:1: the section's name is not closed by ]\n"},
		{"port = 1\n", 1, "f.conf:1: \"port\" stands before any [section]\n"},
		{"[main]\nport\n", 1,
			"f.conf:2: \"port\" is neither \"key = value\" nor [section] nor a comment\n"},
		{"[main]\nport ; = 1\n", 1,
			"f.conf:2: \"port ; = 1\" is neither \"key = value\" nor [section] nor a comment\n"},
		{"[main]\n= 1\n", 1, "f.conf:2: a key is missing before \"=\"\n"},
		{"[main]\nname = a\tb\n  port = 5\n", 0, ""},
		{"[main]\nname = a\x01\n", 1, "f.conf:2: control character 0x01 in the line\n"},
		{"[main]\non = maybe\n", 1,
			"f.conf:2: on = maybe: \"maybe\" is neither yes nor no\n"},
		{"[disk]\nmode = Ring\n", 1,
			"f.conf:2: mode = Ring: \"Ring\" is not one of: auto, ring, epoll\n"},
		{"[disk]\nsize = 1\n", 1, "f.conf:2: size = 1: must be at least 1.0 kiB\n"},
		{"[disk]\nwait = 2h\n", 1, "f.conf:2: wait = 2h: must be between 0s and 1h\n"},
		{"[main]\nport = 0\n[disk]\nmode = no\n", 2,
			"f.conf:2: port = 0: must be between 1 and 65535\n"
			"f.conf:4: mode = no: \"no\" is not one of: auto, ring, epoll\n"},
	};
	_cleanup_buf_ struct buf errors = {0};
	struct target x;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		int n = parse(t[i].text, &x, NULL, &errors);

		assert_string_equal(buf_str(&errors), t[i].sentence);
		assert_int_equal(n, t[i].n_errors);
		conf_fini(options, N, &x);
	}
}

/* inih cuts long lines in two and takes the rest for a line of its own: never in silence */
static void refuses_what_inih_would_cut(void **state)
{
	_cleanup_buf_ struct buf errors = {0};
	char text[2000] = "[main]\nname = ";
	size_t n = strlen(text);
	struct target t;

	memset(text + n, 'x', 150);
	assert_int_equal(parse(text, &t, NULL, &errors), 0);
	assert_int_equal(strlen(t.name), 150);
	conf_fini(options, N, &t);
	memset(text + n, 'x', 1500);
	assert_int_equal(parse(text, &t, NULL, &errors), 1);
	assert_non_null(strstr(buf_str(&errors), "f.conf:2: the line has 1507 bytes, more than"));
	conf_fini(options, N, &t);
	/* just below, at and above the library's limit, whatever it was built with: whole or refused */
	for (size_t len = 180; len < 1100; len++) {
		memset(text + n, 'x', len);
		strcpy(text + n + len, "\nport = 7\n");
		if (parse(text, &t, NULL, &errors) == 0)
			assert_int_equal(strlen(t.name), len);
		else
			assert_non_null(strstr(buf_str(&errors), "f.conf:2: the line has"));
		assert_int_equal(t.port, 7);
		conf_fini(options, N, &t);
	}
	/* a comment may be as long as it likes */
	memset(text, '#', 1500);
	strcpy(text + 1500, "\n[main]\nport = 7\n");
	assert_int_equal(parse(text, &t, NULL, &errors), 0);
	assert_int_equal(t.port, 7);
	conf_fini(options, N, &t);
	/* a nul byte does not end the text */
	assert_int_equal(conf_defaults(options, N, &t), 0);
	buf_fini(&errors);
	assert_int_equal(
		conf_parse(options, N, &t, "f", "[main]\n\0\nport = x\n", 18, NULL, &errors), 2);
	conf_fini(options, N, &t);
}

static void errors_are_bounded(void **state)
{
	_cleanup_buf_ struct buf errors = {0}, text = {0};
	struct target t;

	buf_adds(&text, "[main]\n");
	for (int i = 0; i < 10000; i++)
		buf_adds(&text, "nonsense\n");
	assert_int_equal(parse(buf_str(&text), &t, NULL, &errors), 10000);
	assert_true(errors.len < 10000);
	assert_non_null(strstr(buf_str(&errors), "too many errors"));
	conf_fini(options, N, &t);
}

static void sets_one_value(void **state)
{
	char reason[NUM_REASON];
	struct target t;

	assert_int_equal(conf_defaults(options, N, &t), 0);
	assert_int_equal(conf_set(&options[2], &t, "99", reason), 0);
	assert_int_equal(t.port, 99);
	assert_int_equal(conf_set(&options[2], &t, "99999", reason), -EINVAL);
	assert_string_equal(reason, "must be between 1 and 65535");
	assert_int_equal(t.port, 99);
	assert_int_equal(conf_set(&options[6], &t, "q,r", reason), 0);
	assert_string_equal(t.peers, "q,r"); /* replaces */
	conf_fini(options, N, &t);
}

static void a_wrong_table_is_told(void **state)
{
	static const struct conf_option wrong[] = {
		{"main", "name", CONF_STRING, AT(name), .def = "x"},
		{"main", "port", CONF_U64, AT(port), .max = 5, .def = "6"},
	};
	struct target t;

	assert_int_equal(conf_defaults(wrong, ARRAY_SIZE(wrong), &t), -EINVAL);
}

static void survives_every_failed_allocation(void **state)
{
	static const char text[] = "[main]\nname = n\nbad = 1\n[disk]\npeers = p\npeers = q\n";
	unsigned n_failed = 0;

	OOM_FOR_EACH(n)
	{
		struct buf errors = {0};
		struct target t;
		int r = conf_defaults(options, N, &t);

		if (r == 0) {
			r = conf_parse(options, N, &t, "f", text, strlen(text), NULL, &errors);
			oom_stop();
			assert_true(r == 1 || r == -ENOMEM);
			assert_int_equal(r == -ENOMEM, oom_hit());
			conf_fini(options, N, &t);
		} else {
			assert_int_equal(r, -ENOMEM);
		}
		oom_stop();
		n_failed += oom_hit();
		buf_fini(&errors);
	}
	assert_true(n_failed > 5 || !oom_works());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_every_type),
		cmocka_unit_test(empty_text_is_the_defaults),
		cmocka_unit_test(reports_each_error_with_its_line),
		cmocka_unit_test(refuses_what_inih_would_cut),
		cmocka_unit_test(errors_are_bounded),
		cmocka_unit_test(sets_one_value),
		cmocka_unit_test(a_wrong_table_is_told),
		cmocka_unit_test(survives_every_failed_allocation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
