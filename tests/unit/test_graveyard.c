// SPDX-License-Identifier: GPL-2.0-or-later
/* graveyard: whatever the kernel moves there goes, whatever its name, depth and type; what cannot
 * go is counted and stops nothing; nothing outside is touched. */
#include <fcntl.h>
#include <errno.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cachefilesd/graveyard.h"
#include "common/path.h"

static char top[64];
static int topfd, gravefd;

static int setup(void **state)
{
	snprintf(top, sizeof(top), "/tmp/test_graveyard.XXXXXX");
	assert_non_null(mkdtemp(top));
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(topfd, "graveyard", 0700), 0);
	gravefd = openat(topfd, "graveyard", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(gravefd >= 0);
	return 0;
}

static int teardown(void **state)
{
	int tmp = open("/tmp", O_PATH | O_CLOEXEC);
	int r = path_remove_tree(tmp, top + strlen("/tmp/"), NULL);

	close(tmp);
	close(gravefd);
	close(topfd);
	return r;
}

static void make_file(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static bool is_there(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* until @name is gone; false after 20 s */
static bool goes_away(int dirfd, const char *name)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	for (int i = 0; i < 4000; i++) {
		if (!is_there(dirfd, name))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static struct graveyard *start(void)
{
	struct graveyard *g;

	assert_int_equal(graveyard_start(&g, openat(topfd, "graveyard", O_RDONLY | O_CLOEXEC)), 0);
	return g;
}

static void what_was_there_and_what_comes(void **state)
{
	struct graveyard *g;

	make_file(topfd, "outside");
	assert_int_equal(mkdirat(gravefd, "0000000100000001", 0700), 0);
	make_file(gravefd, "0000000100000001/Dx");
	make_file(gravefd, "directly");
	assert_int_equal(symlinkat("../outside", gravefd, "link"), 0);
	assert_int_equal(symlinkat("..", gravefd, "0000000100000001/up"), 0);
	assert_int_equal(mkfifoat(gravefd, "fifo", 0600), 0);
	assert_int_equal(mkdirat(gravefd, "..foo", 0), 0);
	make_file(gravefd, "..bar");
	make_file(gravefd, "a\nb \xff");
	g = start();
	assert_true(goes_away(gravefd, "0000000100000001"));
	assert_true(goes_away(gravefd, "directly"));
	assert_true(goes_away(gravefd, "link"));
	assert_true(goes_away(gravefd, "fifo"));
	assert_true(goes_away(gravefd, "..foo"));
	assert_true(goes_away(gravefd, "..bar"));
	assert_true(goes_away(gravefd, "a\nb \xff"));
	assert_true(is_there(topfd, "outside"));
	/* now the thread waits; what is renamed in must wake it */
	assert_int_equal(mkdirat(topfd, "victim", 0700), 0);
	make_file(topfd, "victim/D1");
	assert_int_equal(renameat(topfd, "victim", gravefd, "0000000100000002"), 0);
	assert_true(goes_away(gravefd, "0000000100000002"));
	make_file(gravefd, "late");
	assert_true(goes_away(gravefd, "late"));
	assert_true(graveyard_get_stats(g).n_reaped >= 11);
	assert_int_equal(graveyard_get_stats(g).n_unreapable, 0);
	assert_null(graveyard_stop(g));
}

static void any_depth(void **state)
{
	struct graveyard *g;
	int at = dup(gravefd);

	for (int i = 0; i < 3000; i++) { /* far beyond PATH_MAX and the limit of descriptors */
		int below;

		assert_int_equal(mkdirat(at, i % 2 ? "deeper" : "..and-deeper", 0700), 0);
		below = openat(at, i % 2 ? "deeper" : "..and-deeper", O_RDONLY | O_DIRECTORY);
		assert_true(below >= 0);
		make_file(below, "Dfile");
		close(at);
		at = below;
	}
	close(at);
	g = start();
	assert_true(goes_away(gravefd, "..and-deeper"));
	graveyard_stop(g);
}

static bool set_immutable(int fd, bool on)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return false;
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

static void what_resists_stops_nothing(void **state)
{
	struct graveyard *g;
	int fd;

	assert_int_equal(mkdirat(gravefd, "a", 0700), 0);
	make_file(gravefd, "a/immutable");
	make_file(gravefd, "a/ordinary");
	fd = openat(gravefd, "a/immutable", O_RDONLY | O_CLOEXEC);
	if (!set_immutable(fd, true)) {
		close(fd);
		skip(); /* not root, or a file system without the flag */
	}
	g = start();
	assert_true(goes_away(gravefd, "a/ordinary"));
	make_file(gravefd, "z");
	assert_true(goes_away(gravefd, "z"));
	assert_int_equal(graveyard_get_stats(g).n_unreapable, 1);
	assert_true(is_there(gravefd, "a/immutable"));
	assert_true(set_immutable(fd, false));
	assert_true(goes_away(gravefd, "a")); /* tried again by itself */
	close(fd);
	graveyard_stop(g);
}

static void stops_in_the_middle_of_a_large_tree(void **state)
{
	struct graveyard *g;

	assert_int_equal(mkdirat(gravefd, "large", 0700), 0);
	for (int i = 0; i < 20000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "large/D%d", i);
		make_file(gravefd, name);
	}
	g = start();
	graveyard_stop(g); /* must come back, and the next one finishes */
	g = start();
	assert_true(goes_away(gravefd, "large"));
	graveyard_stop(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_there_and_what_comes, setup, teardown),
		cmocka_unit_test_setup_teardown(any_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(what_resists_stops_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(
			stops_in_the_middle_of_a_large_tree, setup, teardown),
	};

	return cmocka_run_group_tests_name("graveyard", tests, NULL, NULL);
}
