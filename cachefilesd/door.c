/* SPDX-License-Identifier: GPL-2.0-or-later */
/* door.c — see door.h */
#include "cachefilesd/door.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cachefilesd/store/server.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/notify.h"
#include "common/path.h"

#define SECOND    1000000000ull
#define N_WORKERS 2
#define GRACE     (10 * SECOND)

struct door {
	struct loop *loop;
	struct depot *depot;
	struct server *server;
	int signal_fd, listen_fd;
	char *socket; /* to be removed at the end */
	struct loop_op on_signal, watchdog;
	uint64_t watchdog_ns;
	const struct config *(*reload)(void *arg);
	void *reload_arg;
	bool is_stopping, is_stopped;
	int rc;
};

/* ---- configuration to settings --------------------------------------------------------------- */

static void depot_settings(const struct config *cfg, struct depot_settings *s)
{
	*s = (struct depot_settings){.limits = cfg->limits,
		.max_bytes = cfg->tasks_max_size,
		.max_age_ns = cfg->tasks_max_age_ns,
		.pins_max_pct = cfg->pins_max_pct,
		.pins_uid_max_pct = cfg->pins_uid_max_pct,
		.grace_ns = GRACE,
		.verity = cfg->fsverity};
}

static int server_settings(const struct config *cfg, struct server_settings *s, char *reason)
{
	*s = (struct server_settings){
		.is_enabled = cfg->store, .client_max_bytes = cfg->client_max_reserve};
	if (cfg->socket_group) {
		struct group *g = getgrnam(cfg->socket_group);

		if (!g) {
			snprintf(reason, DOOR_REASON, "socket_group: there is no group \"%s\"",
				cfg->socket_group);
			return -ENOENT;
		}
		s->has_group = true;
		s->group = g->gr_gid;
	}
	if (cfg->store_user) {
		struct passwd *p = getpwnam(cfg->store_user);

		if (!p) {
			snprintf(reason, DOOR_REASON, "store_user: there is no user \"%s\"",
				cfg->store_user);
			return -ENOENT;
		}
		s->has_user = true;
		s->user = p->pw_uid;
	}
	return 0;
}

/* ---- the socket ------------------------------------------------------------------------------ */

/* is somebody answering there? A stale socket refuses. */
static bool somebody_listens(const struct sockaddr_un *sa)
{
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 &&
	       (!connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) || errno == EAGAIN);
}

static int socket_rights(const char *path, const struct server_settings *set)
{
	uid_t user = set->has_user ? set->user : (uid_t)-1;
	gid_t group = set->has_group ? set->group : (gid_t)-1;

	if ((set->has_user || set->has_group) && chown(path, user, group))
		return -errno;
	return chmod(path, set->has_group ? 0660 : 0600) ? -errno : 0;
}

static int socket_bind(int fd, const struct sockaddr_un *sa)
{
	mode_t old = umask(0177);
	int rc = bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) ? -errno : 0;

	umask(old);
	return rc;
}

static int socket_open(const char *path, const struct server_settings *set, int *out, char *reason)
{
	_cleanup_fd_ int fd = -1;
	_cleanup_free_ char *parent = NULL;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	char *slash;
	int rc;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		snprintf(reason, DOOR_REASON, "socket %.200s: longer than %zu bytes", path,
			sizeof(sa.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strcpy(sa.sun_path, path);
	parent = strdup(path);
	if (!parent)
		return -ENOMEM;
	slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		rc = path_mkdir_p(parent, 0755);
		if (rc) {
			snprintf(reason, DOOR_REASON, "socket %s: cannot make its directory: %s",
				path, strerror(-rc));
			return rc;
		}
	}
	if (!lstat(path, &st)) {
		if (!S_ISSOCK(st.st_mode) || somebody_listens(&sa)) {
			snprintf(reason, DOOR_REASON, "socket %s: %s", path,
				S_ISSOCK(st.st_mode) ? "another daemon listens there"
						     : "there is something that is no socket");
			return -EADDRINUSE;
		}
		unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 ? -errno : socket_bind(fd, &sa);
	if (!rc)
		rc = socket_rights(path, set);
	if (!rc && listen(fd, 128))
		rc = -errno;
	if (rc) {
		snprintf(reason, DOOR_REASON, "socket %s: %s", path, strerror(-rc));
		return rc;
	}
	*out = take_fd(&fd);
	return 0;
}

/* ---- signals, watchdog ----------------------------------------------------------------------- */

static void on_stopped(void *arg)
{
	((struct door *)arg)->is_stopped = true;
}

static void stop(struct door *d, int rc)
{
	if (d->is_stopping)
		return;
	d->is_stopping = true;
	d->rc = rc;
	notify("STOPPING=1\nSTATUS=stopping");
	loop_cancel(d->loop, &d->on_signal);
	loop_cancel(d->loop, &d->watchdog);
	server_stop(d->server, on_stopped, d);
}

static void apply(struct door *d, const struct config *cfg)
{
	struct depot_settings ds;
	struct server_settings ss;
	char reason[DOOR_REASON];

	if (server_settings(cfg, &ss, reason)) {
		log_err("reload: %s; the old configuration stays", reason);
		return;
	}
	depot_settings(cfg, &ds);
	if (d->depot)
		depot_reload(d->depot, &ds);
	server_reload(d->server, &ss);
}

static void on_signal(struct loop_op *op, int res)
{
	struct door *d = container_of(op, struct door, on_signal);
	struct signalfd_siginfo si;

	while (read(d->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT) {
			log_debug("signal received signal=%u from=%u", si.ssi_signo, si.ssi_pid);
			stop(d, 0);
		} else if (si.ssi_signo == SIGHUP && !d->is_stopping) {
			const struct config *cfg;

			notify("RELOADING=1");
			log_reopen();
			cfg = d->reload ? d->reload(d->reload_arg) : NULL;
			if (cfg)
				apply(d, cfg);
			notify("READY=1");
		}
	}
	if (!d->is_stopping)
		loop_poll(d->loop, &d->on_signal, d->signal_fd, POLLIN);
}

static void on_watchdog(struct loop_op *op, int res)
{
	struct door *d = container_of(op, struct door, watchdog);

	if (d->is_stopping)
		return;
	notify("WATCHDOG=1");
	loop_timer(d->loop, &d->watchdog, loop_now(d->loop) + d->watchdog_ns / 3);
}

static int signals_open(int *fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1); /* once it ended the daemon; it must not */
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -errno;
	/* a broken lease (F_SETLEASE) and a client that went away are not worth dying for */
	signal(SIGIO, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	*fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}

/* ---- space (no culling thread) --------------------------------------------------------------- */

static void need_space(void *arg, uint64_t avail_bytes)
{
	struct door *d = arg;
	struct cull_source *s = door_source(d);
	struct depot_figures f;
	char label[256];
	uint64_t used, freed;

	s->ops->begin(s);
	for (;;) {
		depot_figures(d->depot, &f);
		if (f.space.blocks_avail * f.space.block_size >= avail_bytes ||
			s->ops->oldest(s, &used) != CULL_OFFER_READY)
			break;
		if (s->ops->recheck(s) == CULL_FREED)
			s->ops->remove(s, &freed, label, sizeof(label));
	}
	s->ops->end(s);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct cull_source *door_source(struct door *d)
{
	return d->depot ? &d->depot->source : NULL;
}

int door_open(struct door **out, const struct config *cfg, int dirfd, char *reason)
{
	const char *path = cfg->socket ? cfg->socket : CONFIG_SOCKET;
	struct server_hooks hooks = {.need_space = need_space};
	struct door *d = calloc(1, sizeof(*d));
	struct server_settings ss;
	struct depot_settings ds;
	int rc;

	if (!d)
		return -ENOMEM;
	reason[0] = '\0';
	d->signal_fd = d->listen_fd = -1;
	loop_op_init(&d->on_signal, on_signal);
	loop_op_init(&d->watchdog, on_watchdog);
	hooks.arg = d;
	rc = server_settings(cfg, &ss, reason);
	if (!rc)
		rc = signals_open(&d->signal_fd);
	if (!rc)
		rc = loop_new(&d->loop, &loop_backend_epoll, N_WORKERS);
	if (!rc && cfg->store) {
		depot_settings(cfg, &ds);
		rc = depot_new(&d->depot, dirfd, &ds, NULL, reason);
	}
	if (!rc)
		rc = server_new(&d->server, d->loop, d->depot, &ss, &hooks);
	if (!rc) {
		rc = socket_open(path, &ss, &d->listen_fd, reason);
		if (rc && !cfg->store) {
			log_warning("the control socket is not available: %s", reason);
			rc = 0;
		}
	}
	if (!rc && d->listen_fd >= 0) {
		d->socket = strdup(path);
		server_listen(d->server, take_fd(&d->listen_fd));
	}
	if (rc) {
		if (!reason[0])
			snprintf(reason, DOOR_REASON, "cannot open the door: %s", strerror(-rc));
		door_close(d);
		return rc;
	}
	*out = d;
	return 0;
}

static int turn_until(struct door *d, const bool *flag)
{
	int rc = 0;

	while (!*flag && !rc)
		rc = loop_step(d->loop, UINT64_MAX);
	return rc;
}

int door_run(
	struct door *d, struct culler *culler, const struct config *(*reload)(void *arg), void *arg)
{
	int rc;

	d->reload = reload;
	d->reload_arg = arg;
	d->watchdog_ns = notify_watchdog_ns();
	loop_poll(d->loop, &d->on_signal, d->signal_fd, POLLIN);
	if (d->watchdog_ns)
		loop_timer(d->loop, &d->watchdog, loop_now(d->loop));
	notify("READY=1\nSTATUS=serving");
	rc = turn_until(d, &d->is_stopped);
	return rc ? rc : d->rc;
}

struct door *door_close(struct door *d)
{
	if (!d)
		return NULL;
	if (d->server && !d->is_stopped) {
		stop(d, 0);
		turn_until(d, &d->is_stopped);
	}
	while (d->loop && loop_get_stats(d->loop).n_inflight)
		if (loop_step(d->loop, SECOND))
			break;
	server_free(d->server);
	depot_free(d->depot);
	if (d->loop)
		loop_free(d->loop);
	if (d->socket)
		unlink(d->socket);
	free(d->socket);
	fd_close(d->signal_fd);
	fd_close(d->listen_fd);
	free(d);
	return NULL;
}
