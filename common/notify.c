/* SPDX-License-Identifier: GPL-2.0-or-later */
/* notify.c — see notify.h; sd_notify(3), sd_listen_fds(3) */
#include "common/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/num.h"

#define LISTEN_FDS_START 3

static int send_text(const char *text, size_t len, int pass_fd)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_fd_ int s = -1;
	socklen_t sa_len;
	ssize_t r;
	size_t n;

	if (!path || !*path)
		return 0;
	n = strlen(path);
	if ((*path != '/' && *path != '@') || n < 2 || n >= sizeof(sa.sun_path))
		return -EINVAL;
	memcpy(sa.sun_path, path, n);
	if (*path == '@')
		sa.sun_path[0] = 0; /* abstract: its length counts, not a nul byte */
	sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*path == '/'));
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	if (connect(s, (struct sockaddr *)&sa, sa_len) < 0)
		return -errno;
	r = fd_send(s, text, len, &pass_fd, pass_fd >= 0, 0);
	return r < 0 ? (int)r : 1;
}

int notify(const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		return -EMSGSIZE;
	return send_text(text, (size_t)n, -1);
}

int notify_store_fd(int fd, const char *name)
{
	char text[300];
	int n = snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);

	if (fd < 0)
		return -EBADF;
	if (n < 0 || (size_t)n >= sizeof(text))
		return -EMSGSIZE;
	return send_text(text, (size_t)n, fd);
}

int notify_remove_fd(const char *name)
{
	return notify("FDSTOREREMOVE=1\nFDNAME=%s", name);
}

int notify_barrier(int timeout_ms)
{
	int ends[2], r;
	struct pollfd p;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	/* the receiver closes its copy when it gets there */
	r = send_text("BARRIER=1", strlen("BARRIER=1"), ends[1]);
	fd_close(ends[1]);
	if (r == 1) {
		p = (struct pollfd){.fd = ends[0]};
		do
			r = poll(&p, 1, timeout_ms);
		while (r < 0 && errno == EINTR);
		r = r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 1;
	}
	fd_close(ends[0]);
	return r;
}

/* is_for_us - systemd names the process that a variable is meant for; a child that inherited the
 * environment must not act on it */
static bool is_for_us(const char *variable, bool if_absent)
{
	const char *s = getenv(variable);
	uint64_t pid;

	if (!s)
		return if_absent;
	return num_u64(s, 1, INT32_MAX, &pid, NULL) == 0 && (pid_t)pid == getpid();
}

uint64_t notify_watchdog_ns(void)
{
	const char *s = getenv("WATCHDOG_USEC");
	uint64_t us;

	if (!s || !is_for_us("WATCHDOG_PID", true))
		return 0;
	if (num_u64(s, 1, UINT64_MAX / 1000, &us, NULL))
		return 0;
	return us * 1000;
}

size_t notify_listen_fds(int first_fd[1], char **names, size_t max, char **block)
{
	const char *count = getenv("LISTEN_FDS"), *text = getenv("LISTEN_FDNAMES");
	bool is_ours = is_for_us("LISTEN_PID", false);
	uint64_t n = 0;
	char *p = NULL;

	first_fd[0] = LISTEN_FDS_START;
	*block = NULL;
	if (!is_ours || !count || num_u64(count, 1, 1024, &n, NULL))
		n = 0;
	for (uint64_t i = 0; i < n; i++) {
		int fd = LISTEN_FDS_START + (int)i;

		if (i >= max) {
			fd_close(fd);
			continue;
		}
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	if (n > max)
		n = max;
	if (n)
		*block = p = strdup(text ? text : "");
	for (uint64_t i = 0; i < n; i++) {
		names[i] = (char *)"";
		if (!p)
			continue;
		names[i] = p;
		p = strchr(p, ':');
		if (p)
			*p++ = 0;
	}
	if (is_ours) {
		unsetenv("LISTEN_PID");
		unsetenv("LISTEN_FDS");
		unsetenv("LISTEN_FDNAMES");
	}
	return (size_t)n;
}
