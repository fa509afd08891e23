/* SPDX-License-Identifier: GPL-2.0-or-later */
/* listen.c — see listen.h */
#include "common/rpc/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/rpc/addr.h"

#define BACKLOG 512

/* remove_stale - 0 when the name is free (now); -EADDRINUSE when somebody listens or it is no socket */
static int remove_stale(const struct sockaddr_un *un)
{
	_cleanup_fd_ int fd = -1;
	struct stat st;

	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(un->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

int rpc_listen_unix(const char *path, mode_t mode, gid_t gid)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX}, tmp = un;
	_cleanup_fd_ int fd = -1;
	int r;

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	if ((size_t)snprintf(tmp.sun_path, sizeof(tmp.sun_path), "%s.%d", path, (int)getpid()) >=
		sizeof(tmp.sun_path))
		return -ENAMETOOLONG;
	r = remove_stale(&un);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(tmp.sun_path);
	if (bind(fd, (struct sockaddr *)&tmp, sizeof(tmp)) < 0)
		return -errno;
	if ((gid != (gid_t)-1 && chown(tmp.sun_path, (uid_t)-1, gid) < 0) ||
		chmod(tmp.sun_path, mode) < 0 || listen(fd, BACKLOG) < 0 ||
		/* another daemon may have taken the name meanwhile: never replace it */
		renameat2(AT_FDCWD, tmp.sun_path, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
		r = errno == EEXIST ? -EADDRINUSE : -errno;
		unlink(tmp.sun_path);
		return r;
	}
	return take_fd(&fd);
}

static int listen_tcp_once(const struct sockaddr *sa, socklen_t len)
{
	_cleanup_fd_ int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		(sa->sa_family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0) ||
		bind(fd, sa, len) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return take_fd(&fd);
}

int rpc_listen_tcp(const struct sockaddr *sa, socklen_t len)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	int fd = listen_tcp_once(sa, len);

	/* a process on io_uring that was killed keeps its port until the kernel has torn the ring
	 * down, a moment after the process is gone: its successor must not fail for that */
	for (int i = 0; fd == -EADDRINUSE && i < 40; i++) {
		nanosleep(&pause, NULL);
		fd = listen_tcp_once(sa, len);
	}
	return fd;
}

void rpc_bind_source(int fd, const struct sockaddr *source, int family)
{
	char ip[INET6_ADDRSTRLEN];
	int one = 1;

	if (!source || source->sa_family != family)
		return;
	/* the port is chosen when the other end is known: one can serve several connections */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, source,
		    family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) <
		0)
		LOG_LIMITED(LOG_WARNING, "rpc: connections do not come from %s: %s",
			addr_ip(source, ip), strerror(errno));
}
