/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_config.c — cachefilesd.conf: acceptance scenarios 3-18 of the reference, and our own words */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cachefilesd/config.h"
#include "cachefilesd/options.h"
#include "common/buf.h"

static struct config cfg;
static struct buf errors, warnings;

static int parse_n(const char *text, size_t len)
{
	config_fini(&cfg);
	buf_fini(&errors);
	buf_fini(&warnings);
	return config_parse("F", text, len, &cfg, &errors, &warnings);
}

static int parse(const char *text)
{
	return parse_n(text, strlen(text));
}

static int teardown(void **state)
{
	config_fini(&cfg);
	buf_fini(&errors);
	buf_fini(&warnings);
	return 0;
}

static void accepts(const char *line)
{
	char text[8192];

	snprintf(text, sizeof(text), "dir /d\n%s\n", line);
	if (parse(text))
		fail_msg("refused: %s: %s", line, buf_str(&errors));
}

/* refused in line 2, saying @part */
static void refuses(const char *line, const char *part)
{
	char text[8192];

	snprintf(text, sizeof(text), "dir /d\n%s\n", line);
	if (parse(text) != 1)
		fail_msg("accepted: %s", line);
	assert_true(strncmp(buf_str(&errors), "F:2:", 4) == 0);
	if (!strstr(buf_str(&errors), part))
		fail_msg("\"%s\" says \"%s\", not \"%s\"", line, buf_str(&errors), part);
}

static void shipped_files(void **state)
{
	static const char debian[] =
		"###############\n#\n# Copyright\n#\n###############\n\n"
		"dir /var/cache/fscache\ntag mycache\nbrun 10%\nbcull 7%\nbstop 3%\nfrun 10%\n"
		"fcull 7%\nfstop 3%\n\n# Assuming you're using SELinux with the default security "
		"policy included in\n# this package\n# secctx system_u:system_r:cachefiles_kernel_t:s0\n";

	assert_int_equal(parse(debian), 0);
	assert_int_equal(warnings.len, 0);
	assert_string_equal(cfg.dir, "/var/cache/fscache");
	assert_string_equal(cfg.tag, "mycache");
	assert_null(cfg.secctx);
	assert_int_equal(cfg.limits.blocks.run, 10);
	assert_int_equal(cfg.limits.files.stop, 3);
	/* nothing of ours is on */
	assert_false(cfg.store || cfg.nokernel || cfg.socket || cfg.nocull);
}

static void defaults(void **state)
{
	assert_int_equal(parse("dir /d\n"), 0);
	assert_int_equal(cfg.limits.blocks.run, 7);
	assert_int_equal(cfg.limits.blocks.cull, 5);
	assert_int_equal(cfg.limits.files.stop, 1);
	assert_int_equal(cfg.culltable, 12);
	assert_int_equal(cfg.resume_files, 5);
	assert_int_equal(cfg.resume_blocks, CONFIG_RESUME_NONE);
}

static void dir_and_texts(void **state)
{
	assert_int_equal(parse(""), 1);
	assert_int_equal(parse("# nothing\n"), 1);
	assert_non_null(strstr(buf_str(&errors), "no dir"));
	refuses("dir /e", "twice, first in line 1");
	refuses("dir", "needs a value");
	accepts("tag my cache");
	assert_string_equal(cfg.tag, "my cache");
	assert_int_equal(parse("dir /a b\n"), 0);
	assert_string_equal(cfg.dir, "/a b");
	assert_int_equal(parse("tag a\ntag b\ndir /d\n"), 1);
	assert_true(strncmp(buf_str(&errors), "F:2:", 4) == 0);
	assert_int_equal(parse("dir /d\nsecctx a\nsecctx b\n"), 1);
	assert_true(strncmp(buf_str(&errors), "F:3:", 4) == 0);
	refuses("tag ", "needs a value");
	/* too long a path */
	{
		char text[4200];

		snprintf(text, sizeof(text), "dir /%04080d\n", 0);
		assert_int_equal(parse(text), 0);
		snprintf(text, sizeof(text), "dir /%04086d\n", 0);
		assert_int_equal(parse(text), 1);
		assert_non_null(strstr(buf_str(&errors), "Cache pathname is too long"));
	}
}

static void commands_not_permitted(void **state)
{
	refuses("bind", "'bind' command not permitted");
	refuses("  bind", "'bind' command not permitted");
	refuses("bind ondemand", "'bind' command not permitted");
	refuses("cull x", "not permitted");
	refuses("inuse x", "not permitted");
	refuses("wibble", "unknown command \"wibble\"");
	refuses("Brun 10%", "unknown command");
}

static void percentages(void **state)
{
	static const char *const wrong[] = {"brun 10", "brun abc%", "brun -1%", "brun 0x10%",
		"brun 10%x", "brun %", "brun 10 %", "brun +10%", "brun 1e1%", "bstop 3 %"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuses(wrong[i], "is not a percentage");
	refuses("brun 100%", "not below 100%");
	refuses("brun 99999999999999999999%", "100%");
	refuses("brun", "needs a value");
	/* lowering, and any order */
	assert_int_equal(parse("dir /d\nbrun 5%\nbcull 3%\nbstop 1%\n"), 0);
	assert_int_equal(parse("bstop 3%\nbcull 7%\nbrun 10%\ndir /d\n"), 0);
	assert_int_equal(cfg.limits.blocks.cull, 7);
	/* the last of several counts, as the kernel has it */
	assert_int_equal(parse("dir /d\nbrun 20%\nbrun 30%\n"), 0);
	assert_int_equal(cfg.limits.blocks.run, 30);
	/* as a set */
	assert_int_equal(parse("dir /d\nbcull 7%\n"), 1);
	assert_non_null(strstr(buf_str(&errors), "do not fit together"));
	assert_int_equal(parse("dir /d\nfrun 5%\n"), 1);
	assert_int_equal(parse("dir /d\nfstop 5%\n"), 1);
	assert_int_equal(parse("dir /d\nbstop 0%\n"), 0);
}

static void culltable(void **state)
{
	accepts("culltable 12");
	accepts("culltable 20");
	assert_int_equal(cfg.culltable, 20);
	refuses("culltable 11", "Log2 of cull table size must be 12 <= N <= 20");
	refuses("culltable 21", "Log2 of cull table size must be 12 <= N <= 20");
	refuses("culltable abc", "Invalid cull table size number");
	refuses("culltable 0x10", "Invalid cull table size number");
	refuses("culltable 14 x", "Invalid cull table size number");
	refuses("culltable 99999999999999999999999", "Invalid cull table size number");
	refuses("culltable", "needs a value");
	accepts("culltable 13\nculltable 14");
	assert_int_equal(cfg.culltable, 14);
}

static void nocull_and_thresholds(void **state)
{
	accepts("nocull");
	assert_true(cfg.nocull);
	refuses("nocull yes", "takes no value");
	accepts("resume_thresholds - 5");
	assert_int_equal(cfg.resume_blocks, CONFIG_RESUME_NONE);
	assert_int_equal(cfg.resume_files, 5);
	accepts("resume_thresholds 100 -");
	assert_int_equal(cfg.resume_blocks, 100);
	assert_int_equal(cfg.resume_files, CONFIG_RESUME_NONE);
	accepts("resume_thresholds - -");
	accepts("resume_thresholds  7 \t 8");
	assert_int_equal(cfg.resume_files, 8);
	refuses("resume_thresholds 0 5", "Invalid resume threshold (blocks)");
	refuses("resume_thresholds 5 0", "Invalid resume threshold (files)");
	refuses("resume_thresholds 100", "Error parsing resume threshold (files)");
	refuses("resume_thresholds 5 x", "Error parsing resume threshold (files)");
	refuses("resume_thresholds -1 5", "Error parsing resume threshold (blocks)");
	refuses("resume_thresholds 5 6 7", "Error parsing resume threshold (files)");
	refuses("resume_thresholds", "needs a value");
}

static void debug_is_passed_on(void **state)
{
	accepts("debug 0x7");
	assert_int_equal(cfg.n_raw, 1);
	assert_string_equal(cfg.raw[0], "debug 0x7");
	accepts("debug");
	assert_string_equal(cfg.raw[0], "debug 0");
	refuses("debug seven", "is not a number");
	refuses("debug 7 7", "is not a number");
}

static void untidy_lines(void **state)
{
	assert_int_equal(parse("dir /d"), 0);
	assert_non_null(strstr(buf_str(&warnings), "F:1:Unterminated line"));
	assert_int_equal(parse("dir /d\r\nbrun 10%\r\n\r\n"), 0);
	assert_non_null(strstr(buf_str(&warnings), "F:2:the line ends in CR LF"));
	assert_string_equal(cfg.dir, "/d");
	accepts("\t brun 10%");
	assert_non_null(strstr(buf_str(&warnings), "F:2:blanks before"));
	accepts("brun 10% \t");
	assert_non_null(strstr(buf_str(&warnings), "F:2:blanks at the end"));
	assert_int_equal(cfg.limits.blocks.run, 10);
	accepts("   \t  ");
	assert_int_equal(warnings.len, 0);
	accepts("   # comment");
	/* whoever opens the directory tries the literal name first */
	assert_int_equal(parse("dir /d \n"), 0);
	assert_string_equal(cfg.dir, "/d ");
	assert_int_equal(parse_n("dir /d\n#\0\n", 10), 1);
	assert_non_null(strstr(buf_str(&errors), "F:2:Line contains a NUL character"));
}

static void long_lines(void **state)
{
	char text[9000];

	/* 4095 bytes with the newline are fine, one more is not; a comment may be longer */
	snprintf(text, sizeof(text), "dir /d\ntag %04090d\n", 0);
	assert_int_equal(strlen(text) - 7, 4095);
	assert_int_equal(parse(text), 0);
	snprintf(text, sizeof(text), "dir /d\ntag %04091d\n", 0);
	assert_int_equal(parse(text), 1);
	assert_non_null(strstr(buf_str(&errors), "F:2:Line too long"));
	snprintf(text, sizeof(text), "dir /d\n#%08000d\n", 0);
	assert_int_equal(parse(text), 0);
}

static void every_error_is_reported(void **state)
{
	assert_int_equal(parse("dir /d\nx\nbrun 1\nculltable 3\n"), 3);
	assert_non_null(strstr(buf_str(&errors), "F:2:"));
	assert_non_null(strstr(buf_str(&errors), "F:3:"));
	assert_non_null(strstr(buf_str(&errors), "F:4:"));
}

static void our_words(void **state)
{
	accepts("nokernel");
	assert_true(cfg.nokernel && cfg.store);
	accepts("store");
	assert_true(cfg.store && !cfg.nokernel);
	accepts("socket /run/s");
	assert_true(cfg.store);
	assert_string_equal(cfg.socket, "/run/s");
	accepts("socket_group adm\nstore_user dragonfly\npins_max 40%\npins_uid_max 10%\n"
		"tasks_max_size 10GiB\ntasks_max_age 7d\nkernel_max_size 1GiB\nkernel_max_age 1h\n"
		"client_max_reserve 5GiB\novershoot 2%\nfsverity\nallow_foreign");
	assert_int_equal(cfg.pins_max_pct, 40);
	assert_int_equal(cfg.tasks_max_size, 10ull << 30);
	assert_int_equal(cfg.tasks_max_age_ns, 7ull * 86400 * 1000000000);
	assert_int_equal(cfg.kernel_max_age_ns, 3600ull * 1000000000);
	assert_int_equal(cfg.overshoot_pct, 2);
	assert_true(cfg.fsverity && cfg.allow_foreign);
	refuses("pins_max 100%", "not below 100%");
	refuses("pins_max 40", "pins_max");
	refuses("tasks_max_size lots", "tasks_max_size: \"lots\"");
	refuses("tasks_max_age soon", "tasks_max_age: \"soon\"");
	refuses("store yes", "takes no value");
}

static void every_word_has_a_value(void **state)
{
	size_t n;
	const struct config_word *w = config_words(&n);

	assert_true(n > 20);
	assert_int_equal(parse("dir /d\ntag t\nsocket /s\nfsverity\ndebug 1\n"), 0);
	for (size_t i = 0; i < n; i++) {
		struct buf b = {0};

		config_value(&cfg, w[i].name, &b);
		if (strcmp(w[i].name, "fsverity") == 0)
			assert_string_equal(buf_str(&b), "yes");
		if (strcmp(w[i].name, "tag") == 0)
			assert_string_equal(buf_str(&b), "t");
		if (strcmp(w[i].name, "frun") == 0)
			assert_string_equal(buf_str(&b), "7");
		buf_fini(&b);
	}
}

static enum options_result opts(struct options *o, char *reason, int argc, ...)
{
	char *argv[10] = {(char *)"cachefilesd"};
	va_list ap;

	va_start(ap, argc);
	for (int i = 1; i <= argc; i++)
		argv[i] = va_arg(ap, char *);
	va_end(ap);
	return options_parse(argc + 1, argv, o, reason);
}

static void options(void **state)
{
	char reason[OPTIONS_REASON], usage[1024];
	struct options o;
	size_t n;
	const struct option_row *t = options_table(&n);

	assert_int_equal(opts(&o, reason, 1, "-v"), OPTIONS_VERSION);
	assert_int_equal(opts(&o, reason, 1, "--version"), OPTIONS_VERSION);
	assert_int_equal(opts(&o, reason, 1, "--help"), OPTIONS_HELP);
	assert_int_equal(opts(&o, reason, 2, "--help", "x"), OPTIONS_WRONG);
	assert_int_equal(opts(&o, reason, 1, "-x"), OPTIONS_WRONG);
	assert_non_null(strstr(reason, "Unknown commandline option 'x'"));
	assert_int_equal(opts(&o, reason, 1, "-f"), OPTIONS_WRONG);
	assert_int_equal(opts(&o, reason, 9, "-d", "-d", "-s", "-n", "-N", "-f", "F", "-p", "P"),
		OPTIONS_RUN);
	assert_true(o.debug == 2 && o.use_stderr && o.foreground && o.no_cull);
	assert_string_equal(o.config, "F");
	assert_string_equal(o.pidfile, "P");
	assert_int_equal(opts(&o, reason, 3, "-dsnfF", "ignored", "-"), OPTIONS_RUN);
	assert_string_equal(o.config, "F");
	assert_string_equal(o.pidfile, OPTIONS_PIDFILE);
	options_usage(usage, sizeof(usage));
	for (size_t i = 0; i < n; i++)
		assert_non_null(strstr(usage, t[i].help));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shipped_files),
		cmocka_unit_test(defaults),
		cmocka_unit_test(dir_and_texts),
		cmocka_unit_test(commands_not_permitted),
		cmocka_unit_test(percentages),
		cmocka_unit_test(culltable),
		cmocka_unit_test(nocull_and_thresholds),
		cmocka_unit_test(debug_is_passed_on),
		cmocka_unit_test(untidy_lines),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(every_error_is_reported),
		cmocka_unit_test(our_words),
		cmocka_unit_test(every_word_has_a_value),
		cmocka_unit_test(options),
	};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
