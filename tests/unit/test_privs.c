/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_privs.c — rights given up are gone, proven by trying; each in a child of its own */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/privs.h"
#include "common/selinux.h"

static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void needs_root(void)
{
	if (geteuid() != 0) {
		print_message("# giving up rights needs root\n");
		skip();
	}
}

static int keeps_one(void)
{
	static const cap_value_t keep[] = {CAP_DAC_READ_SEARCH};

	if (privs_keep_caps(keep, 1))
		return 1;
	if (!privs_have_cap(CAP_DAC_READ_SEARCH) || privs_have_cap(CAP_CHOWN) ||
		privs_have_cap(CAP_SETPCAP))
		return 2;
	/* by trying: root without CAP_CHOWN cannot give a file away */
	if (fchown(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), 1, 1) == 0 || errno != EPERM)
		return 3;
	if (prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0) != 0 ||
		prctl(PR_CAPBSET_READ, CAP_DAC_READ_SEARCH, 0, 0, 0) != 1)
		return 4;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 5;
	/* less of it later works, more does not */
	if (privs_keep_caps(NULL, 0) || privs_have_cap(CAP_DAC_READ_SEARCH))
		return 6;
	return privs_keep_caps(keep, 1) == -EPERM ? 0 : 7;
}

static void capabilities_are_cut(void **state)
{
	needs_root();
	assert_int_equal(in_child(keeps_one), 0);
}

static int becomes_nobody(void)
{
	struct passwd *pw = getpwnam("nobody");
	gid_t groups[64];

	if (!pw)
		return 9;
	if (privs_become_user("no-such-user-here", NULL) != -ENOENT ||
		privs_become_user("nobody", "no-such-group-here") != -ENOENT)
		return 1;
	if (geteuid() != 0) /* a refused change changes nothing */
		return 2;
	if (privs_become_user("nobody", NULL))
		return 3;
	if (getuid() != pw->pw_uid || geteuid() != pw->pw_uid || getgid() != pw->pw_gid)
		return 4;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0)
		return 5;
	for (int i = getgroups(64, groups) - 1; i >= 0; i--)
		if (groups[i] == 0)
			return 6;
	return 0;
}

static void there_is_no_way_back(void **state)
{
	needs_root();
	assert_int_equal(in_child(becomes_nobody), 0);
}

static int sets_no_new_privs(void)
{
	return privs_no_new_privs() || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

static void no_new_privs_for_anybody(void **state)
{
	assert_int_equal(in_child(sets_no_new_privs), 0);
}

static void selinux_answers_in_sentences(void **state)
{
	char reason[SELINUX_REASON] = "";
	int r = selinux_check_context("nonsense", reason);

	assert_true(selinux_same_type(
		"system_u:object_r:cachefiles_var_t:s0", "unconfined_u:object_r:cachefiles_var_t"));
	assert_false(selinux_same_type("a:b:cachefiles_var_t:s0", "a:b:cachefiles_va:s0"));
	assert_true(selinux_same_type("", "unlabeled"));

	assert_true(r < 0);
	assert_int_equal(r == -EOPNOTSUPP, !selinux_is_active());
	assert_non_null(strstr(reason, "nonsense"));
	assert_int_equal(selinux_check_context("nonsense", NULL), r);
	reason[0] = 0;
	assert_true(selinux_set_label(-1, "x", reason) < 0);
	assert_true(strlen(reason) > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capabilities_are_cut),
		cmocka_unit_test(there_is_no_way_back),
		cmocka_unit_test(no_new_privs_for_anybody),
		cmocka_unit_test(selinux_answers_in_sentences),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
