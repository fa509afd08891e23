/* SPDX-License-Identifier: GPL-2.0-or-later */
/* privs.c — see privs.h */
#include "common/privs.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/cleanup.h"

static void cleanup_cap(cap_t *c)
{
	if (*c)
		cap_free(*c);
}

int privs_no_new_privs(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* cut_bounding_set - allowed only with CAP_SETPCAP; without it there is nothing to gain from exec
 * anyway, because no_new_privs is set */
static int cut_bounding_set(const cap_value_t *keep, size_t n)
{
	if (!privs_have_cap(CAP_SETPCAP))
		return 0;
	for (cap_value_t c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++) {
		size_t i;

		for (i = 0; i < n && keep[i] != c; i++)
			;
		if (i == n && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

int privs_keep_caps(const cap_value_t *keep, size_t n)
{
	__attribute__((cleanup(cleanup_cap))) cap_t caps = cap_init();
	int r;

	if (!caps)
		return -errno;
	r = cut_bounding_set(keep, n);
	if (r)
		return r;
	/* EINVAL: a kernel without ambient capabilities */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	if (n && (cap_set_flag(caps, CAP_PERMITTED, (int)n, keep, CAP_SET) < 0 ||
			 cap_set_flag(caps, CAP_EFFECTIVE, (int)n, keep, CAP_SET) < 0))
		return -errno;
	if (cap_set_proc(caps) < 0)
		return -errno;
	return privs_no_new_privs();
}

int privs_become_user(const char *user, const char *group)
{
	struct passwd *pw;
	gid_t gid;
	uid_t uid;

	errno = 0;
	pw = getpwnam(user);
	if (!pw)
		return errno ? -errno : -ENOENT;
	uid = pw->pw_uid;
	gid = pw->pw_gid;
	if (group) {
		struct group *gr;

		errno = 0;
		gr = getgrnam(group);
		if (!gr)
			return errno ? -errno : -ENOENT;
		gid = gr->gr_gid;
	}
	if (initgroups(user, gid) < 0 || setresgid(gid, gid, gid) < 0 ||
		setresuid(uid, uid, uid) < 0)
		return -errno;
	/* trust, but verify: the way back must be closed */
	if (uid && (setuid(0) == 0 || setgid(0) == 0))
		return -EPERM;
	return 0;
}

bool privs_have_cap(cap_value_t c)
{
	__attribute__((cleanup(cleanup_cap))) cap_t caps = cap_get_proc();
	cap_flag_value_t v = CAP_CLEAR;

	return caps && cap_get_flag(caps, c, CAP_EFFECTIVE, &v) == 0 && v == CAP_SET;
}
