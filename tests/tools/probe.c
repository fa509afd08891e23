/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe.c — tries one thing; the exit status is 0 or the number of the error (13 is EACCES). A copy
 * that carries the label of a daemon tries it in that daemon's domain.
 *
 *   probe open PATH          for reading
 *   probe append PATH        for writing at the end
 *   probe list PATH          a directory
 *   probe connect PATH       to a unix stream socket
 *   probe socket inet|inet6|packet|unix
 *   probe run PATH           execve
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int attempt(const char *what, char *arg)
{
	char *argv[] = {arg, NULL};

	if (!strcmp(what, "open"))
		return open(arg, O_RDONLY | O_CLOEXEC);
	if (!strcmp(what, "append"))
		return open(arg, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (!strcmp(what, "list"))
		return opendir(arg) ? 0 : -1;
	if (!strcmp(what, "run"))
		return execv(arg, argv);
	if (!strcmp(what, "connect")) {
		struct sockaddr_un sun = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", arg);
		return connect(fd, (struct sockaddr *)&sun, sizeof(sun));
	}
	if (!strcmp(what, "socket")) {
		if (!strcmp(arg, "inet"))
			return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (!strcmp(arg, "inet6"))
			return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (!strcmp(arg, "packet"))
			return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	return attempt(argv[1], argc > 2 ? argv[2] : NULL) < 0 ? errno : 0;
}
