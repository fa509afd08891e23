/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_notify.c — the test plays systemd: a real datagram socket, real descriptors at 3 and up */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/notify.h"

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t n = strlen(path);

	assert_true(s >= 0);
	memcpy(sa.sun_path, path, n);
	if (*path == '@')
		sa.sun_path[0] = 0;
	assert_int_equal(bind(s, (struct sockaddr *)&sa,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
		0);
	return s;
}

static void tells_systemd(void **state)
{
	char path[100], dir[] = "/tmp/test_notify.XXXXXX", text[200] = "";
	const char *names[2];
	int fds[FD_PASS_MAX];
	size_t n;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/notify", dir);
	names[0] = path;
	names[1] = "@dfc-test-notify";
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_fd_ int s = listen_at(names[i]);
		ssize_t r;

		setenv("NOTIFY_SOCKET", names[i], 1);
		assert_int_equal(notify("READY=1\nSTATUS=bound %s", "here"), 1);
		r = fd_recv(s, text, sizeof(text), fds, &n, MSG_DONTWAIT);
		assert_int_equal(r, 25);
		assert_memory_equal(text, "READY=1\nSTATUS=bound here", 25);
		assert_int_equal(n, 0);

		assert_int_equal(notify_store_fd(s, "device"), 1);
		r = fd_recv(s, text, sizeof(text) - 1, fds, &n, MSG_DONTWAIT);
		assert_true(r > 0);
		text[r] = 0;
		assert_string_equal(text, "FDSTORE=1\nFDPOLL=0\nFDNAME=device");
		assert_int_equal(n, 1);
		close(fds[0]);
		assert_int_equal(notify_store_fd(-1, "x"), -EBADF);

		assert_int_equal(notify_remove_fd("device"), 1);
		r = fd_recv(s, text, sizeof(text) - 1, fds, &n, MSG_DONTWAIT);
		text[r] = 0;
		assert_string_equal(text, "FDSTOREREMOVE=1\nFDNAME=device");
	}
	unlink(path);
	rmdir(dir);
	assert_int_equal(notify("X=1"), -ECONNREFUSED); /* nobody there any more: told, not fatal */
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify("X=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "/", 1);
	assert_int_equal(notify("X=1"), -EINVAL);
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify("X=1"), 0);
}

static void watchdog_is_for_one_process(void **state)
{
	char pid[20];

	snprintf(pid, sizeof(pid), "%d", getpid());
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "3000000", 1);
	assert_int_equal(notify_watchdog_ns(), 3000000000);
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_ns(), 3000000000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_ns(), 0);
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "soon", 1);
	assert_int_equal(notify_watchdog_ns(), 0);
	unsetenv("WATCHDOG_USEC");
}

/* in_child - exit status of @fn in a process whose descriptors 3 and 4 are pipes */
static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		int p[2];

		closefrom(3);
		if (pipe(p) < 0 || p[0] != 3 || p[1] != 4)
			_exit(99);
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void announce(const char *pid, const char *n, const char *names)
{
	char own[20];

	snprintf(own, sizeof(own), "%d", getpid());
	setenv("LISTEN_PID", pid ? pid : own, 1);
	setenv("LISTEN_FDS", n, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
}

static int takes_named(void)
{
	char *names[4], *block;
	int first;

	announce(NULL, "2", "store:control");
	if (notify_listen_fds(&first, names, 4, &block) != 2 || first != 3)
		return 1;
	if (strcmp(names[0], "store") != 0 || strcmp(names[1], "control") != 0)
		return 2;
	if (!(fcntl(3, F_GETFD) & FD_CLOEXEC) || !(fcntl(4, F_GETFD) & FD_CLOEXEC))
		return 3;
	if (getenv("LISTEN_FDS") || getenv("LISTEN_PID") || getenv("LISTEN_FDNAMES"))
		return 4;
	free(block);
	return 0;
}

static int takes_at_most_max(void)
{
	char *names[1], *block;
	int first;

	announce(NULL, "2", NULL);
	if (notify_listen_fds(&first, names, 1, &block) != 1 || *names[0])
		return 1;
	if (fcntl(4, F_GETFD) >= 0) /* the surplus is closed */
		return 2;
	free(block);
	return 0;
}

static int leaves_those_of_others(void)
{
	char *names[4], *block;
	int first;

	announce("1", "2", "a:b");
	if (notify_listen_fds(&first, names, 4, &block) != 0 || block)
		return 1;
	if (fcntl(3, F_GETFD) & FD_CLOEXEC)
		return 2;
	announce(NULL, "many", NULL);
	return notify_listen_fds(&first, names, 4, &block) != 0;
}

static void takes_passed_descriptors(void **state)
{
	assert_int_equal(in_child(takes_named), 0);
	assert_int_equal(in_child(takes_at_most_max), 0);
	assert_int_equal(in_child(leaves_those_of_others), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_systemd),
		cmocka_unit_test(watchdog_is_for_one_process),
		cmocka_unit_test(takes_passed_descriptors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
