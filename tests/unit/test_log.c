/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_log.c — what ends up in the sink */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"

static char dir[] = "/tmp/test_log.XXXXXX";
static char path[100], moved[100];

static int set_up(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(moved, sizeof(moved), "%s/log.1", dir);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	unlink(moved);
	rmdir(dir);
	return 0;
}

static void content(const char *file, struct buf *b)
{
	buf_fini(b);
	assert_int_equal(fd_read_file(AT_FDCWD, file, 1 << 20, b), 0);
}

static size_t n_lines(const struct buf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

static void writes_lines_to_a_file(void **state)
{
	_cleanup_buf_ struct buf b = {0};
	char longer[5000];

	assert_int_equal(log_open(LOG_SINK_FILE, "prog", "/nonexistent/dir/log"), -ENOENT);
	assert_int_equal(log_open(LOG_SINK_FILE, "prog", path), 0);
	log_set_level(LOG_INFO);
	assert_false(log_enabled(LOG_DEBUG));
	log_debug("not shown");
	errno = EACCES;
	log_warning("cull: cannot open: %m name=%s", "a\nforged line\x1b[2J");
	assert_int_equal(errno, EACCES);
	content(path, &b);
	assert_int_equal(n_lines(&b), 1);
	assert_non_null(strstr(
		buf_str(&b), "cull: cannot open: Permission denied name=a?forged line?[2J\n"));
	assert_non_null(strstr(buf_str(&b), " warning prog["));
	/* 2026-01-02T03:04:05.678Z */
	assert_int_equal(b.data[10], 'T');
	assert_int_equal(b.data[23], 'Z');

	memset(longer, 'l', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	log_info("%s", longer);
	content(path, &b);
	assert_int_equal(n_lines(&b), 2);
	assert_non_null(strstr(buf_str(&b), "lll...\n"));
	assert_true(b.len < 3000);
}

static void reopens_after_rotation(void **state)
{
	_cleanup_buf_ struct buf b = {0};

	log_info("before");
	assert_int_equal(rename(path, moved), 0);
	log_info("between");
	assert_int_equal(log_reopen(), 0);
	log_info("after");
	content(moved, &b);
	assert_non_null(strstr(buf_str(&b), "between"));
	assert_null(strstr(buf_str(&b), "after"));
	content(path, &b);
	assert_int_equal(n_lines(&b), 1);
	assert_non_null(strstr(buf_str(&b), "after"));
}

static void limits_per_site(void **state)
{
	_cleanup_buf_ struct buf b = {0};
	struct log_site site = {0};

	assert_int_equal(truncate(path, 0), 0);
	for (int i = 0; i < 1000; i++)
		log_limited(&site, LOG_INFO, "knock");
	content(path, &b);
	assert_true(n_lines(&b) >= 10 && n_lines(&b) <= 20);
	/* the window is over: as if a second had gone by */
	site.window_start_ns -= 2000000000ull;
	log_limited(&site, LOG_INFO, "again");
	content(path, &b);
	assert_non_null(strstr(buf_str(&b), "again suppressed=9"));
	log_limited(&site, LOG_INFO, "once more");
	content(path, &b);
	assert_non_null(strstr(buf_str(&b), "once more\n"));
}

static void *chat(void *arg)
{
	for (int i = 0; i < 500; i++) {
		log_info("thread=%s says the same thing again", (char *)arg);
		if (i % 50 == 0)
			log_reopen();
	}
	return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
	_cleanup_buf_ struct buf b = {0};
	pthread_t t[4];
	static char names[4][2] = {"a", "b", "c", "d"};

	assert_int_equal(truncate(path, 0), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, chat, names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	content(path, &b);
	assert_int_equal(n_lines(&b), 2000);
	for (char *s = (char *)b.data, *save = NULL; (s = strtok_r(s, "\n", &save)); s = NULL)
		assert_non_null(strstr(s, "says the same thing again"));
}

/* on standard error: "<level>" when systemd says that it is the journal, a word when it is not */
static void prefixes_for_the_journal(void **state)
{
	_cleanup_buf_ struct buf b = {0};
	char stream[64];
	int saved = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_TRUNC | O_APPEND | O_CLOEXEC);
	struct stat st;

	assert_true(saved >= 0 && fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	log_open(LOG_SINK_STDERR, "prog", NULL);
	log_err("plain");
	setenv("JOURNAL_STREAM", stream, 1);
	log_open(LOG_SINK_STDERR, "prog", NULL);
	log_err("journal");
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_open(LOG_SINK_STDERR, "prog", NULL);
	log_notice("other");
	unsetenv("JOURNAL_STREAM");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	content(path, &b);
	assert_string_equal(buf_str(&b), "prog: error: plain\n<3>journal\nprog: notice: other\n");
}

static void knows_levels(void **state)
{
	assert_int_equal(log_level_parse("error"), LOG_ERR);
	assert_int_equal(log_level_parse("WARN"), LOG_WARNING);
	assert_int_equal(log_level_parse("warning"), LOG_WARNING);
	assert_int_equal(log_level_parse("Info"), LOG_INFO);
	assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
	assert_int_equal(log_level_parse("trace"), LOG_DEBUG);
	assert_int_equal(log_level_parse("1"), LOG_ERR);
	assert_int_equal(log_level_parse("5"), LOG_DEBUG);
	assert_int_equal(log_level_parse("6"), -EINVAL);
	assert_int_equal(log_level_parse(""), -EINVAL);
	assert_int_equal(log_level_parse("errors"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_lines_to_a_file),
		cmocka_unit_test(reopens_after_rotation),
		cmocka_unit_test(limits_per_site),
		cmocka_unit_test(threads_do_not_mix_lines),
		cmocka_unit_test(prefixes_for_the_journal),
		cmocka_unit_test(knows_levels),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
