/* SPDX-License-Identifier: GPL-2.0-or-later */
/* asinit.c — starts a program as systemd would: in a guest the file is labelled init_exec_t, so this
 * process is init_t and the program's own label decides its domain.
 *
 *   asinit [-u UID] [-g GID] [-n] [-x CONTEXT] [-o FILE] PROGRAM [ARGUMENT…]
 *
 * -n: no_new_privs, as the units have it. -x: the context to execute in, instead of the label's.
 * Standard input, output and error are /dev/null, or FILE for the last two: opened here, because a
 * descriptor carries the context of who opened it, and a daemon may use init's.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int fail(const char *what)
{
	fprintf(stderr, "asinit: %s: %s\n", what, strerror(errno));
	return 126;
}

int main(int argc, char **argv)
{
	const char *context = NULL, *output = "/dev/null";
	bool no_new_privs = false;
	gid_t gid = 0;
	uid_t uid = 0;
	int c;

	while ((c = getopt(argc, argv, "+u:g:nx:o:")) != -1) {
		switch (c) {
		case 'u':
			uid = (uid_t)atoi(optarg);
			break;
		case 'g':
			gid = (gid_t)atoi(optarg);
			break;
		case 'n':
			no_new_privs = true;
			break;
		case 'x':
			context = optarg;
			break;
		case 'o':
			output = optarg;
			break;
		default:
			return 2;
		}
	}
	if (optind >= argc)
		return 2;
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? open("/dev/null", O_RDONLY)
				: open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);

		if (fd < 0 || dup2(fd, i) < 0)
			return fail(output);
		if (fd > 2)
			close(fd);
	}
	if (context) {
		int fd = open("/proc/thread-self/attr/exec", O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, context, strlen(context)) < 0)
			return fail(context);
		close(fd);
	}
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return fail("setresuid");
	if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail("no_new_privs");
	execvp(argv[optind], argv + optind);
	return fail(argv[optind]);
}
