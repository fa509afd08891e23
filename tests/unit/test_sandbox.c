/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_sandbox.c — what is denied is denied, what the daemon does still works (in a child) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "cachefilesd/sandbox.h"
#include "common/privs.h"

static void *in_thread(void *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*(int *)arg = fd < 0 ? errno : 0;
	return NULL;
}

/* the number of the check that failed, 100 = no seccomp here */
static int child(void)
{
	pthread_t t;
	int e, rc;

	if (privs_no_new_privs())
		return 1;
	rc = sandbox_enter();
	if (rc)
		return rc == -ENOSYS ? 100 : 2;
	if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EPERM)
		return 3;
	if (socket(AF_NETLINK, SOCK_RAW, 0) >= 0 || errno != EPERM)
		return 4;
	if (socket(AF_UNIX, SOCK_SEQPACKET, 0) < 0)
		return 5;
	if (syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != EPERM)
		return 6;
	if (mount("none", "/tmp", "tmpfs", 0, NULL) == 0 || errno != EPERM)
		return 7;
#ifndef WITH_SAN
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 || errno != EPERM)
		return 8;
#endif
	if (pthread_create(&t, NULL, in_thread, &e) || pthread_join(t, NULL) || e != EPERM)
		return 9;
	return 0;
}

static void denies(void **state)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 100)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
