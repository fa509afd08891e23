// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/graveyard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"

#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 300000
#define NO_WATCH_MS  1000 /* without inotify, look this often */
/* ioprio_set(2): this thread, best effort, lowest */
#define IOPRIO_LOWEST (2 << 13 | 7)

struct graveyard {
	pthread_t thread;
	int dirfd, watch_fd, stop_fd;
	atomic_bool stop;
	_Atomic uint64_t n_reaped, n_unreapable;
	char reported[NAME_MAX + 1]; /* the last name that was complained about */
};

/* One round over the graveyard; returns how many entries resisted. */
static unsigned reap(struct graveyard *g)
{
	_cleanup_dir_ DIR *d = NULL;
	unsigned n_failed = 0;
	struct dirent *e;
	int fd = openat(g->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 1;
	d = fdopendir(fd);
	if (!d) {
		fd_close(fd);
		return 1;
	}
	while (!atomic_load(&g->stop) && (e = readdir(d))) {
		unsigned long n = 0;
		int r;

		if (path_is_dots(e->d_name))
			continue;
		r = path_remove_tree_until(g->dirfd, e->d_name, &n, &g->stop);
		g->n_reaped += n;
		if (r == 0 || r == -ECANCELED || r == -ENOENT)
			continue;
		n_failed++;
		if (strcmp(g->reported, e->d_name)) {
			log_warning(
				"graveyard: cannot be removed, will be tried again name=%s err=%s",
				e->d_name, strerror(-r));
			snprintf(g->reported, sizeof(g->reported), "%s", e->d_name);
		}
	}
	return n_failed;
}

static void drain(int fd)
{
	char events[4096];

	while (read(fd, events, sizeof(events)) > 0)
		;
}

static void *run(void *arg)
{
	struct graveyard *g = arg;
	int retry_ms = RETRY_MIN_MS;

	pthread_setname_np(pthread_self(), "graveyard");
	syscall(SYS_ioprio_set, 1, 0, IOPRIO_LOWEST);
	while (!atomic_load(&g->stop)) {
		struct pollfd fds[2] = {{.fd = g->stop_fd, .events = POLLIN},
			{.fd = g->watch_fd, .events = POLLIN}};
		unsigned n_failed;
		int timeout;

		if (g->watch_fd >= 0)
			drain(g->watch_fd); /* before the round: what comes later wakes us again */
		n_failed = reap(g);
		g->n_unreapable = n_failed;
		if (n_failed) {
			timeout = retry_ms;
			retry_ms = retry_ms < RETRY_MAX_MS / 2 ? retry_ms * 2 : RETRY_MAX_MS;
		} else {
			timeout = g->watch_fd >= 0 ? -1 : NO_WATCH_MS;
			retry_ms = RETRY_MIN_MS;
			g->reported[0] = '\0';
		}
		if (poll(fds, 2, timeout) < 0 && errno != EINTR)
			break;
	}
	return NULL;
}

static void start_watch(struct graveyard *g)
{
	char path[64];

	g->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (g->watch_fd >= 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", g->dirfd);
		if (inotify_add_watch(g->watch_fd, path, IN_CREATE | IN_MOVED_TO) >= 0)
			return;
	}
	log_warning(
		"graveyard: no inotify, so it is looked at every second err=%s", strerror(errno));
	g->watch_fd = fd_close(g->watch_fd);
}

int graveyard_start(struct graveyard **out, int dirfd)
{
	struct graveyard *g = calloc(1, sizeof(*g));
	sigset_t all, old;
	int r;

	*out = NULL;
	if (!g) {
		fd_close(dirfd);
		return -ENOMEM;
	}
	g->dirfd = dirfd;
	g->watch_fd = -1;
	g->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->stop_fd < 0) {
		r = -errno;
		goto fail;
	}
	start_watch(g);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&g->thread, NULL, run, g);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		goto fail;
	*out = g;
	return 0;
fail:
	fd_close(g->watch_fd);
	fd_close(g->stop_fd);
	fd_close(g->dirfd);
	free(g);
	return r;
}

struct graveyard *graveyard_stop(struct graveyard *g)
{
	const uint64_t one = 1;

	if (!g)
		return NULL;
	atomic_store(&g->stop, true);
	fd_write_full(g->stop_fd, &one, sizeof(one));
	pthread_join(g->thread, NULL);
	fd_close(g->watch_fd);
	fd_close(g->stop_fd);
	fd_close(g->dirfd);
	free(g);
	return NULL;
}

struct graveyard_stats graveyard_get_stats(struct graveyard *g)
{
	return (struct graveyard_stats){.n_reaped = g->n_reaped, .n_unreapable = g->n_unreapable};
}
