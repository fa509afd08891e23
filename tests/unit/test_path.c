/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_path.c — staying beneath a directory, and removing trees, on a real file system */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "tests/lib/oom.h"

struct place {
	char dir[64];
	int fd;
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/test_path.XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = p;
	return p->fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	char *name = strrchr(p->dir, '/');

	*name = 0;
	{
		_cleanup_fd_ int tmp = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		path_remove_tree(tmp, name + 1, NULL);
	}
	close(p->fd);
	free(p);
	return 0;
}

static void touch(int dirfd, const char *name)
{
	_cleanup_fd_ int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
}

static bool exists(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void opens_only_beneath(void **state)
{
	struct place *p = *state;
	_cleanup_fd_ int fd = -1, sub = -1;

	assert_int_equal(mkdirat(p->fd, "in", 0700), 0);
	touch(p->fd, "in/file");
	touch(p->fd, "outside");
	assert_int_equal(symlinkat("file", p->fd, "in/link"), 0);
	assert_int_equal(symlinkat("/", p->fd, "in/root"), 0);
	sub = path_open_beneath(p->fd, "in", O_RDONLY | O_DIRECTORY, 0);
	assert_true(sub >= 0);
	fd = path_open_beneath(sub, "file", O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(path_open_beneath(sub, "../outside", O_RDONLY, 0), -EXDEV);
	assert_int_equal(path_open_beneath(sub, "/etc/passwd", O_RDONLY, 0), -EXDEV);
	assert_int_equal(path_open_beneath(sub, "link", O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open_beneath(sub, "root/etc/passwd", O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open_beneath(sub, "none", O_RDONLY, 0644), -ENOENT);
	assert_int_equal(path_open_beneath(sub, "", O_RDONLY, 0), -ENOENT);
	cleanup_fdp(&fd);
	fd = path_open_beneath(sub, "new", O_CREAT | O_EXCL | O_WRONLY, 0640);
	assert_true(fd >= 0);
	assert_true(exists(sub, "new"));
	cleanup_fdp(&fd);
	fd = path_open_beneath(sub, ".", O_TMPFILE | O_RDWR, 0600);
	assert_true(fd >= 0 || fd == -EOPNOTSUPP);
}

static void makes_parents(void **state)
{
	struct place *p = *state;
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/a//b/c/", p->dir);
	assert_int_equal(path_mkdir_p(path, 0750), 0);
	assert_int_equal(path_mkdir_p(path, 0750), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	touch(p->fd, "file");
	snprintf(path, sizeof(path), "%s/file/x", p->dir);
	assert_int_equal(path_mkdir_p(path, 0750), -ENOTDIR);
	snprintf(path, sizeof(path), "%s/file", p->dir);
	assert_int_equal(path_mkdir_p(path, 0750), -ENOTDIR);
	assert_int_equal(path_mkdir_p("/", 0750), 0);
	assert_int_equal(path_mkdir_p("", 0750), -ENOENT);
}

static void is_absolute(const char *in, const char *want)
{
	_cleanup_free_ char *got = path_absolute(in);

	assert_non_null(got);
	assert_string_equal(got, want);
}

static void makes_absolute_as_text(void **state)
{
	struct place *p = *state;
	char cwd[200], want[300];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(chdir(p->dir), 0);
	is_absolute("/", "/");
	is_absolute("//a/./b/../c/", "/a/c");
	is_absolute("/../../x", "/x");
	is_absolute("/...", "/...");
	is_absolute("/..foo/.bar", "/..foo/.bar");
	snprintf(want, sizeof(want), "%s/y", p->dir);
	is_absolute("y", want);
	is_absolute("./x/../y", want);
	is_absolute(".", p->dir);
	is_absolute("..", "/tmp");
	is_absolute("../../../../../..", "/");
	assert_null(path_absolute(""));
	assert_int_equal(errno, ENOENT);
	assert_int_equal(chdir(cwd), 0);
}

static void knows_dots(void **state)
{
	assert_true(path_is_dots("."));
	assert_true(path_is_dots(".."));
	assert_false(path_is_dots(""));
	assert_false(path_is_dots("..."));
	assert_false(path_is_dots("..foo"));
	assert_false(path_is_dots(".a"));
}

static void removes_odd_names_and_follows_nothing(void **state)
{
	struct place *p = *state;
	char longest[256];
	unsigned long n;

	assert_int_equal(mkdirat(p->fd, "keep", 0700), 0);
	touch(p->fd, "keep/precious");
	assert_int_equal(mkdirat(p->fd, "t", 0700), 0);
	assert_int_equal(mkdirat(p->fd, "t/..foo", 0700), 0);
	touch(p->fd, "t/..foo/...");
	touch(p->fd, "t/..bar");
	touch(p->fd, "t/ \n\xff");
	memset(longest, 'n', 255);
	longest[255] = 0;
	{
		_cleanup_fd_ int t = openat(p->fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		touch(t, longest);
	}
	assert_int_equal(symlinkat("../keep", p->fd, "t/link"), 0);
	assert_int_equal(mkfifoat(p->fd, "t/fifo", 0600), 0);
	assert_int_equal(path_remove_tree(p->fd, "t", &n), 0);
	assert_int_equal(n, 8);
	assert_false(exists(p->fd, "t"));
	assert_true(exists(p->fd, "keep/precious"));
	/* a link itself, a file, nothing, and names that are no names */
	assert_int_equal(symlinkat("keep", p->fd, "link"), 0);
	assert_int_equal(path_remove_tree(p->fd, "link", &n), 0);
	assert_int_equal(n, 1);
	touch(p->fd, "file");
	assert_int_equal(path_remove_tree(p->fd, "file", NULL), 0);
	assert_true(exists(p->fd, "keep/precious"));
	assert_int_equal(path_remove_tree(p->fd, "none", &n), -ENOENT);
	assert_int_equal(n, 0);
	assert_int_equal(path_remove_tree(p->fd, "..", NULL), -EINVAL);
	assert_int_equal(path_remove_tree(p->fd, ".", NULL), -EINVAL);
	assert_int_equal(path_remove_tree(p->fd, "", NULL), -EINVAL);
	assert_int_equal(path_remove_tree(p->fd, "keep/precious", NULL), -EINVAL);
	assert_int_equal(path_remove_tree(p->fd, "keep/", NULL), -EINVAL);
}

/* 3000 levels deep: longer than PATH_MAX, deeper than descriptors (limited to 30 here) */
static void removes_any_depth_with_few_descriptors(void **state)
{
	enum { DEPTH = 3000 };
	struct place *p = *state;
	struct rlimit old, few = {.rlim_cur = 30};
	int at = openat(p->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned long n;
	int r;

	for (int i = 0; i < DEPTH; i++) {
		const char *name = i % 2 ? "..deep" : "deeper";
		int next;

		assert_int_equal(mkdirat(at, name, 0700), 0);
		if (i % 100 == 0)
			touch(at, "file");
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = path_remove_tree(p->fd, "deeper", &n);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, 0);
	assert_int_equal(n, DEPTH + DEPTH / 100 - 1);
	assert_false(exists(p->fd, "deeper"));
}

static void removes_many(void **state)
{
	struct place *p = *state;
	char name[64];
	unsigned long n;

	assert_int_equal(mkdirat(p->fd, "wide", 0700), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "wide/d%d", i);
		assert_int_equal(mkdirat(p->fd, name, 0700), 0);
		for (int j = 0; j < 50; j++) {
			snprintf(name, sizeof(name), "wide/d%d/f%d", i, j);
			touch(p->fd, name);
		}
	}
	assert_int_equal(path_remove_tree(p->fd, "wide", &n), 0);
	assert_int_equal(n, 100 * 50 + 100 + 1);
}

/* short of memory: an error, nothing followed or lost, and the rest goes the next time */
static void removes_after_being_short_of_memory(void **state)
{
	struct place *p = *state;
	unsigned n_failed = 0;

	OOM_FOR_EACH(n)
	{
		int r;

		oom_stop();
		mkdirat(p->fd, "t", 0700);
		mkdirat(p->fd, "t/a", 0700);
		mkdirat(p->fd, "t/a/b", 0700);
		mkdirat(p->fd, "t/c", 0700);
		touch(p->fd, "t/a/b/file");
		oom_start(n);
		r = path_remove_tree(p->fd, "t", NULL);
		oom_stop();
		assert_true(r == 0 || oom_hit());
		assert_int_equal(exists(p->fd, "t"), r != 0);
		n_failed += r != 0;
	}
	assert_false(exists(p->fd, "t"));
	assert_true(n_failed > 5 || !oom_works());
}

/* in a child with its own mount namespace: a mount inside of the tree stays whole */
static void does_not_cross_a_mount(void **state)
{
	struct place *p = *state;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("# mounting needs root\n");
		skip();
	}
	assert_int_equal(mkdirat(p->fd, "t", 0700), 0);
	assert_int_equal(mkdirat(p->fd, "t/mnt", 0700), 0);
	assert_int_equal(mkdirat(p->fd, "t/also", 0700), 0);
	assert_int_equal(mkdirat(p->fd, "bound", 0700), 0);
	touch(p->fd, "bound/precious");
	pid = fork();
	if (!pid) {
		char from[100], to[100];
		unsigned long n;
		int fd;

		snprintf(from, sizeof(from), "%s/bound", p->dir);
		snprintf(to, sizeof(to), "%s/t/mnt", p->dir);
		if (unshare(CLONE_NEWNS) < 0 ||
			mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount(from, to, "none", MS_BIND, NULL) < 0)
			_exit(77);
		/* the descriptor of before belongs to the namespace where nothing is mounted */
		fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (path_remove_tree(fd, "t", &n) != -EXDEV || n != 1)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("# mounting is not allowed here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(exists(p->fd, "bound/precious"));
	assert_true(exists(p->fd, "t/mnt"));
	assert_false(exists(p->fd, "t/also"));
}

/* as an ordinary user: what may not be removed is reported, the rest goes */
static void goes_on_after_a_failure(void **state)
{
	struct place *p = *state;
	int status;
	pid_t pid;

	if (geteuid() == 0)
		assert_int_equal(fchown(p->fd, 65534, 65534), 0);
	pid = fork();
	if (!pid) {
		unsigned long n;

		if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
			_exit(2);
		if (mkdirat(p->fd, "t", 0700) || mkdirat(p->fd, "t/locked", 0700) ||
			mkdirat(p->fd, "t/empty", 0700) || mkdirat(p->fd, "t/z", 0700))
			_exit(3);
		touch(p->fd, "t/locked/file");
		touch(p->fd, "t/z/file");
		if (fchmodat(p->fd, "t/locked", 0500, 0) || fchmodat(p->fd, "t/empty", 0, 0))
			_exit(4);
		if (path_remove_tree(p->fd, "t", &n) != -EACCES)
			_exit(5);
		if (n != 3 || exists(p->fd, "t/z") || exists(p->fd, "t/empty"))
			_exit(6);
		if (fchmodat(p->fd, "t/locked", 0700, 0) || path_remove_tree(p->fd, "t", &n) ||
			n != 3)
			_exit(7);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* no_openat2 - a filter as container runtimes have them; for the rest of this process */
static int no_openat2(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = ARRAY_SIZE(code), .filter = code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &prog);
}

static void openat2_is_gone(void **state)
{
	if (no_openat2()) {
		print_message("# seccomp filters are not allowed here\n");
		skip();
	}
	assert_int_equal(syscall(SYS_openat2, -1, "", NULL, 0), -1);
	assert_int_equal(errno, ENOSYS);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(opens_only_beneath),
		T(makes_parents),
		T(makes_absolute_as_text),
		cmocka_unit_test(knows_dots),
		T(removes_odd_names_and_follows_nothing),
		T(removes_any_depth_with_few_descriptors),
		T(removes_many),
		T(removes_after_being_short_of_memory),
		T(does_not_cross_a_mount),
		T(goes_on_after_a_failure),
		cmocka_unit_test(openat2_is_gone),
		/* the same once more */
		T(opens_only_beneath),
		T(removes_odd_names_and_follows_nothing),
		T(removes_any_depth_with_few_descriptors),
		T(does_not_cross_a_mount),
		T(goes_on_after_a_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
