/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_regfile.c — outputs are whole or absent, links are followed as open(2) would, what is no
 * regular file stays as it is */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/path.h"
#include "common/regfile.h"

struct place {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->path, "/tmp/test_regfile.XXXXXX");
	assert_non_null(mkdtemp(p->path));
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	close(p->fd);
	int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(path_remove_tree(tmp, strrchr(p->path, '/') + 1, NULL), 0);
	close(tmp);
	free(p);
	return 0;
}

static unsigned count(struct place *p)
{
	_cleanup_dir_ DIR *d = opendir(p->path);
	unsigned n = 0;

	while (readdir(d))
		n++;
	return n - 2;
}

static void put(struct place *p, const char *name, const char *text)
{
	_cleanup_fd_ int fd = openat(p->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
}

static void holds(struct place *p, const char *name, const char *text)
{
	_cleanup_buf_ struct buf b = {0};

	assert_int_equal(fd_read_file(p->fd, name, 1000, &b), 0);
	assert_string_equal(buf_str(&b), text);
}

static void make(struct place *p, const char *name, const char *text, bool overwrite)
{
	struct regfile_new f = REGFILE_NEW_NULL;

	assert_int_equal(regfile_create(&f, p->fd, name, 0666, overwrite), 0);
	assert_int_equal(fd_write_full(f.fd, text, strlen(text)), 0);
	assert_int_equal(regfile_place(&f), 0);
	regfile_fini(&f);
	regfile_fini(&f);
	holds(p, name, text);
}

static void whole_or_absent(void **state)
{
	struct regfile_new f = REGFILE_NEW_NULL;
	struct place *p = *state;
	struct stat st;

	make(p, "a", "first", false);
	assert_int_equal(count(p), 1);
	assert_int_equal(fstatat(p->fd, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(regfile_create(&f, p->fd, "a", 0666, false), -EEXIST);
	make(p, "a", "second", true);
	make(p, "b", "new", true);
	assert_int_equal(count(p), 2);
	assert_int_equal(regfile_create(&f, p->fd, "c", 0666, false), 0);
	regfile_fini(&f);
	assert_int_equal(count(p), 2);
}

static void name_taken_meanwhile(void **state)
{
	struct regfile_new f = REGFILE_NEW_NULL;
	struct place *p = *state;

	assert_int_equal(regfile_create(&f, p->fd, "a", 0666, false), 0);
	put(p, "a", "theirs");
	assert_int_equal(regfile_place(&f), -EEXIST);
	regfile_fini(&f);
	holds(p, "a", "theirs");
	/* became a directory before an overwrite */
	assert_int_equal(regfile_create(&f, p->fd, "d", 0666, true), 0);
	assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
	assert_int_equal(regfile_place(&f), -EISDIR);
	regfile_fini(&f);
	assert_int_equal(count(p), 2);
}

/* the way of file systems without O_TMPFILE, forced by its private members */
static void with_a_hidden_name(void **state)
{
	struct regfile_new f = REGFILE_NEW_NULL;
	struct place *p = *state;

	for (int overwrite = 0; overwrite < 2; overwrite++) {
		assert_int_equal(regfile_create(&f, p->fd, "a", 0666, overwrite), 0);
		fd_close(f.fd);
		f.temp = strdup(".a.hidden");
		f.fd = openat(p->fd, f.temp, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		assert_int_equal(fd_write_full(f.fd, "x", 1), 0);
		assert_int_equal(regfile_place(&f), 0);
		regfile_fini(&f);
		holds(p, "a", "x");
		assert_int_equal(count(p), 1);
	}
	assert_int_equal(regfile_create(&f, p->fd, "b", 0666, false), 0);
	fd_close(f.fd);
	f.temp = strdup(".b.hidden");
	f.fd = openat(p->fd, f.temp, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	put(p, "b", "theirs");
	assert_int_equal(regfile_place(&f), -EEXIST);
	regfile_fini(&f);
	holds(p, "b", "theirs");
	assert_int_equal(count(p), 2);
}

static void links_are_followed(void **state)
{
	struct regfile_new f = REGFILE_NEW_NULL;
	struct place *p = *state;
	struct stat st;

	assert_int_equal(mkdirat(p->fd, "sub", 0755), 0);
	assert_int_equal(symlinkat("sub/target", p->fd, "one"), 0);
	assert_int_equal(symlinkat("one", p->fd, "two"), 0);
	make(p, "two", "through", false);
	holds(p, "sub/target", "through");
	assert_int_equal(fstatat(p->fd, "one", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(regfile_create(&f, p->fd, "two", 0666, false), -EEXIST);
	make(p, "two", "again", true);
	holds(p, "sub/target", "again");
	assert_int_equal(symlinkat("loop", p->fd, "loop"), 0);
	assert_int_equal(regfile_create(&f, p->fd, "loop", 0666, true), -ELOOP);
}

static void other_kinds_stay(void **state)
{
	struct regfile_new f = REGFILE_NEW_NULL;
	struct place *p = *state;

	assert_int_equal(mkdirat(p->fd, "dir", 0755), 0);
	assert_int_equal(mkfifoat(p->fd, "fifo", 0644), 0);
	assert_int_equal(regfile_create(&f, p->fd, "dir", 0666, true), -EISDIR);
	assert_int_equal(regfile_create(&f, p->fd, "dir", 0666, false), -EEXIST);
	assert_int_equal(regfile_create(&f, p->fd, "fifo", 0666, true), -EMEDIUMTYPE);
	assert_int_equal(regfile_create(&f, p->fd, "dir/", 0666, true), -EISDIR);
	assert_int_equal(regfile_create(&f, p->fd, "dir/..", 0666, true), -EISDIR);
	assert_int_equal(regfile_create(&f, p->fd, "none/a", 0666, true), -ENOENT);
	assert_int_equal(regfile_create(&f, p->fd, "fifo/a", 0666, true), -ENOTDIR);
	assert_int_equal(regfile_create(&f, p->fd, "", 0666, true), -ENOENT);
	assert_int_equal(regfile_open(p->fd, "dir"), -EISDIR);
	assert_int_equal(regfile_open(p->fd, "fifo"), -EMEDIUMTYPE);
	assert_int_equal(regfile_open(p->fd, "none"), -ENOENT);
	assert_int_equal(regfile_open(AT_FDCWD, "/dev/zero"), -EMEDIUMTYPE);
}

static void hard_links(void **state)
{
	struct place *p = *state;
	_cleanup_fd_ int fd = -1;
	struct stat st;

	put(p, "data", "data");
	put(p, "other", "other");
	fd = regfile_open(p->fd, "data");
	assert_true(fd >= 0);
	assert_int_equal(regfile_link(fd, p->fd, "link", false, NULL), 0);
	assert_int_equal(regfile_link(fd, p->fd, "link", false, NULL), 0);
	assert_int_equal(regfile_link(fd, p->fd, "other", false, NULL), -EEXIST);
	holds(p, "other", "other");
	assert_int_equal(regfile_link(fd, p->fd, "other", true, NULL), 0);
	holds(p, "other", "data");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(count(p), 3);
}

#define PLACE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACE_TEST(whole_or_absent),
		PLACE_TEST(name_taken_meanwhile),
		PLACE_TEST(with_a_hidden_name),
		PLACE_TEST(links_are_followed),
		PLACE_TEST(other_kinds_stay),
		PLACE_TEST(hard_links),
	};
	umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
