/* SPDX-License-Identifier: GPL-2.0-or-later */
/* door.c — see door.h */
#include "cachefilesd/door.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cachefilesd/api/proto.h"
#include "cachefilesd/control.h"
#include "cachefilesd/culler.h"
#include "cachefilesd/holder.h"
#include "cachefilesd/store/server.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/notify.h"
#include "common/num.h"
#include "common/path.h"

#define SECOND    1000000000ull
#define N_WORKERS 2
#define STUCK     (600 * SECOND)

struct door {
	struct door_config dc;
	struct loop *loop;
	struct depot *depot;
	struct server *server;
	struct culler *culler;
	uint64_t started_ns; /* wall clock */
	int signal_fd, listen_fd, holder_fd;
	char *socket; /* to be removed at the end */
	struct loop_op on_signal, on_culler, on_holder, watchdog;
	uint64_t watchdog_ns;
	struct culler_request space; /* makes room for creates that wait */
	bool space_is_asked;
	bool is_stopping, is_stopped;
	int rc;
};

/* A request of cachefilesctl that the culling thread answers. */
struct errand {
	struct culler_request rq;
	struct door *door;
	struct server_ask *ask;
	bool json, lines;
};

/* ---- configuration to settings --------------------------------------------------------------- */

static void depot_settings(const struct config *cfg, struct depot_settings *s)
{
	*s = (struct depot_settings){.limits = cfg->limits,
		.max_bytes = cfg->tasks_max_size,
		.max_age_ns = cfg->tasks_max_age_ns,
		.pins_max_pct = cfg->pins_max_pct,
		.pins_uid_max_pct = cfg->pins_uid_max_pct,
		.grace_ns = cfg->grace_ns,
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
	loop_cancel(d->loop, &d->on_culler);
	loop_cancel(d->loop, &d->on_holder);
	loop_cancel(d->loop, &d->watchdog);
	server_stop(d->server, on_stopped, d);
	/* what it still had to do for clients is answered in here */
	d->culler = culler_stop(d->culler);
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
			cfg = d->dc.reload ? d->dc.reload(d->dc.arg, d->culler) : NULL;
			if (cfg) {
				d->dc.cfg = cfg;
				apply(d, cfg);
			}
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
	/* a culling thread that hangs in the kernel is reported by its status; the watchdog is for
	 * the case that nothing helps but a restart */
	if (!d->culler || culler_is_alive(d->culler, STUCK))
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

/* ---- the culling thread ---------------------------------------------------------------------- */

static void space_done(struct culler_request *rq)
{
	struct door *d = container_of(rq, struct door, space);

	d->space_is_asked = false;
	/* when nothing more can go, those who wait ask again at their own pace */
	if (!d->is_stopping && !rq->status)
		server_space_changed(d->server);
}

static void need_space(void *arg, uint64_t avail_bytes)
{
	struct door *d = arg;

	if (!d->culler || d->space_is_asked || d->is_stopping)
		return;
	d->space_is_asked = true;
	d->space = (struct culler_request){
		.kind = CULLER_REQ_FREE, .bytes = avail_bytes, .done = space_done};
	culler_submit(d->culler, &d->space);
}

static void on_culler(struct loop_op *op, int res)
{
	static const struct {
		unsigned event;
		enum store_event tell;
	} news[] = {{CULLER_EVENT_BEGUN, STORE_EVENT_CULLING},
		{CULLER_EVENT_OVER, STORE_EVENT_CULLED},
		{CULLER_EVENT_STOPPED, STORE_EVENT_STOPPED}};
	struct door *d = container_of(op, struct door, on_culler);
	struct culler_status st;
	unsigned events;

	if (d->is_stopping)
		return;
	events = culler_dispatch(d->culler);
	for (size_t i = 0; i < ARRAY_SIZE(news); i++)
		if (events & news[i].event)
			server_broadcast(d->server, news[i].tell);
	if (events & (CULLER_EVENT_TROUBLE | CULLER_EVENT_BEGUN | CULLER_EVENT_OVER)) {
		culler_get_status(d->culler, &st);
		notify("STATUS=%s%s%s", culler_phase_name(st.phase), st.sentence[0] ? ": " : "",
			st.sentence);
	}
	if (events)
		server_space_changed(d->server);
	if (events & CULLER_EVENT_FAILED) {
		log_err("the culling thread ended by itself");
		stop(d, -EIO);
		return;
	}
	loop_poll(d->loop, &d->on_culler, culler_event_fd(d->culler), POLLIN);
}

static void on_holder(struct loop_op *op, int res)
{
	struct door *d = container_of(op, struct door, on_holder);

	if (d->is_stopping)
		return;
	holder_service(d->dc.holder);
	d->holder_fd = holder_fd(d->dc.holder);
	if (d->holder_fd >= 0)
		loop_poll(d->loop, &d->on_holder, d->holder_fd, POLLIN);
}

/* ---- cachefilesctl --------------------------------------------------------------------------- */

/* text goes to the client in a descriptor: it may be long, and is made at once */
static void answer_text(
	struct server_ask *ask, enum store_status st, struct buf *b, uint64_t freed_bytes)
{
	_cleanup_fd_ int fd = memfd_create("answer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc = fd < 0 ? -errno : buf_ok(b) ? fd_write_full(fd, b->data, b->len) : -ENOMEM;

	if (!rc)
		fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	if (rc)
		server_answer(ask, STORE_IO, strerror(-rc), -1, 0);
	else
		server_answer(ask, st, st ? "not enough could be removed" : "", take_fd(&fd),
			freed_bytes);
}

static uint64_t wall_ns(void)
{
	return wallclock_read().wall_ns;
}

static int newest_first(const void *a, const void *b)
{
	const struct culler_line *x = a, *y = b;

	return x->at_ns > y->at_ns ? -1 : x->at_ns < y->at_ns;
}

/* what expired, was deleted or dropped stands beside what was culled */
static int add_removals(struct depot *t, struct culler_request *rq)
{
	_cleanup_free_ struct depot_removal *v = calloc(DEPOT_REMOVALS, sizeof(*v));
	struct culler_line *lines;
	size_t n;

	if (!v)
		return -ENOMEM;
	n = depot_removals(t, v, DEPOT_REMOVALS);
	lines = realloc(rq->lines, (rq->n_lines + n + 1) * sizeof(*lines));
	if (!lines)
		return -ENOMEM;
	rq->lines = lines;
	for (size_t i = 0; i < n; i++) {
		struct culler_line *l = &lines[rq->n_lines++];

		*l = (struct culler_line){.at_ns = v[i].at_ns,
			.used_ns = v[i].used_ns,
			.bytes = v[i].bytes,
			.source = "tasks"};
		snprintf(l->reason, sizeof(l->reason), "%s", v[i].why);
		snprintf(l->label, sizeof(l->label), "task %s", v[i].id);
	}
	qsort(lines, rq->n_lines, sizeof(*lines), newest_first);
	return 0;
}

static void errand_done(struct culler_request *rq)
{
	struct errand *e = container_of(rq, struct errand, rq);
	_cleanup_buf_ struct buf b = {0};
	char size[NUM_TEXT], message[STORE_MESSAGE_MAX] = "";

	if (rq->kind == CULLER_REQ_EVICTIONS && e->door->depot && !rq->status)
		rq->status = add_removals(e->door->depot, rq);
	if (e->lines) {
		control_lines(rq->lines, rq->n_lines, wall_ns(), e->json, &b);
		if (rq->kind == CULLER_REQ_DRY_RUN && !e->json)
			buf_addf(&b, "%" PRIu64 " objects, %s would be freed\n", rq->n_objects,
				num_format_size(rq->freed_bytes, size, sizeof(size)));
	} else if (e->json) {
		buf_addf(&b,
			"{\"freed_bytes\":%" PRIu64 ",\"objects\":%" PRIu64 ",\"enough\":%s}\n",
			rq->freed_bytes, rq->n_objects, rq->status ? "false" : "true");
	} else {
		buf_addf(&b, "%" PRIu64 " objects removed, %s freed%s\n", rq->n_objects,
			num_format_size(rq->freed_bytes, size, sizeof(size)),
			rq->status == -ENOSPC ? "; nothing more can go" : "");
	}
	if (rq->status && rq->status != -ENOSPC) {
		snprintf(message, sizeof(message), "the culling thread could not do it: %s",
			strerror(-rq->status));
		server_answer(e->ask, STORE_IO, message, -1, 0);
	} else {
		answer_text(e->ask, rq->status ? STORE_NO_SPACE : STORE_OK, &b, rq->freed_bytes);
	}
	free(rq->lines);
	free(e);
}

static void errand(struct door *d, struct server_ask *ask, enum culler_request_kind kind,
	uint64_t bytes, bool json)
{
	struct errand *e = d->culler ? calloc(1, sizeof(*e)) : NULL;

	if (!e) {
		server_answer(ask, STORE_IO, "the culling thread is not there", -1, 0);
		return;
	}
	*e = (struct errand){.rq = {.kind = kind, .bytes = bytes, .done = errand_done},
		.door = d,
		.ask = ask,
		.json = json,
		.lines = kind != CULLER_REQ_FREE};
	culler_submit(d->culler, &e->rq);
}

static void on_cull(void *arg, struct server_ask *ask, bool dry_run, uint64_t bytes)
{
	errand(arg, ask, dry_run ? CULLER_REQ_DRY_RUN : CULLER_REQ_FREE, bytes, true);
}

static void gather(struct door *d, struct control_facts *f)
{
	*f = (struct control_facts){.cfg = d->dc.cfg,
		.dir = d->dc.dir,
		.started_ns = d->started_ns,
		.now_ns = wall_ns(),
		.n_clients = server_sessions(d->server),
		.has_store = d->depot != NULL,
		.has_culler = d->culler != NULL};
	if (d->depot)
		depot_figures(d->depot, &f->store);
	if (d->culler)
		culler_get_status(d->culler, &f->culler);
}

static void on_damaged(struct door *d, struct server_ask *ask, const char *id)
{
	enum store_status st = d->depot && proto_id_ok(id, strlen(id))
				       ? depot_remove(d->depot, id, NULL, "scrub found it damaged")
				       : STORE_NOT_FOUND;

	if (!st)
		server_reap(d->server);
	server_answer(ask, st, st ? store_status_name(st) : "", -1, 0);
}

static bool read_size(const char *text, uint64_t *bytes)
{
	return text && !num_u64(text, 0, UINT64_MAX, bytes, NULL);
}

/* words: COMMAND [json] [argument] */
static void on_control(void *arg, struct server_ask *ask, const char *words, bool is_trusted)
{
	struct door *d = arg;
	_cleanup_buf_ struct buf b = {0};
	char copy[PROTO_TEXT_MAX + 1], *save = NULL, *command, *word;
	struct control_facts f;
	bool json = false;
	uint64_t bytes = 0;

	snprintf(copy, sizeof(copy), "%s", words);
	command = strtok_r(copy, " ", &save);
	word = strtok_r(NULL, " ", &save);
	if (word && strcmp(word, "json") == 0) {
		json = true;
		word = strtok_r(NULL, " ", &save);
	}
	if (!command)
		command = copy;
	if (strcmp(command, "status") == 0 || strcmp(command, "metrics") == 0) {
		gather(d, &f);
		if (command[0] == 's')
			control_status(&f, json, &b);
		else
			control_metrics(&f, &b);
		answer_text(ask, STORE_OK, &b, 0);
	} else if (strcmp(command, "evictions") == 0) {
		errand(d, ask, CULLER_REQ_EVICTIONS, 0, json);
	} else if (strcmp(command, "dry-run") == 0) {
		read_size(word, &bytes);
		errand(d, ask, CULLER_REQ_DRY_RUN, bytes, json);
	} else if (!is_trusted) {
		server_answer(ask, STORE_DENIED, "this needs root or the daemon's own user", -1, 0);
	} else if (strcmp(command, "free") == 0 && read_size(word, &bytes)) {
		errand(d, ask, CULLER_REQ_FREE, bytes, json);
	} else if (strcmp(command, "damaged") == 0 && word) {
		on_damaged(d, ask, word);
	} else {
		server_answer(ask, STORE_INVALID, "unknown control request", -1, 0);
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

struct cull_source *door_source(struct door *d)
{
	return d->depot ? &d->depot->source : NULL;
}

int door_open(struct door **out, const struct door_config *dc, char *reason)
{
	const struct config *cfg = dc->cfg;
	const char *path = cfg->socket ? cfg->socket : CONFIG_SOCKET;
	struct server_hooks hooks = {
		.need_space = need_space, .control = on_control, .cull = on_cull};
	struct door *d = calloc(1, sizeof(*d));
	struct server_settings ss;
	struct depot_settings ds;
	int rc;

	if (!d)
		return -ENOMEM;
	reason[0] = '\0';
	d->dc = *dc;
	d->started_ns = wall_ns();
	d->signal_fd = d->listen_fd = d->holder_fd = -1;
	loop_op_init(&d->on_signal, on_signal);
	loop_op_init(&d->watchdog, on_watchdog);
	loop_op_init(&d->on_culler, on_culler);
	loop_op_init(&d->on_holder, on_holder);
	hooks.arg = d;
	rc = server_settings(cfg, &ss, reason);
	if (!rc)
		rc = signals_open(&d->signal_fd);
	if (!rc)
		rc = loop_new(&d->loop, &loop_backend_epoll, N_WORKERS);
	if (!rc && cfg->store) {
		depot_settings(cfg, &ds);
		rc = depot_new(&d->depot, dc->dirfd, &ds, NULL, reason);
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

int door_run(struct door *d, struct culler *culler)
{
	int rc;

	d->culler = culler;
	d->watchdog_ns = notify_watchdog_ns();
	loop_poll(d->loop, &d->on_signal, d->signal_fd, POLLIN);
	if (culler)
		loop_poll(d->loop, &d->on_culler, culler_event_fd(culler), POLLIN);
	d->holder_fd = d->dc.holder ? holder_fd(d->dc.holder) : -1;
	if (d->holder_fd >= 0)
		loop_poll(d->loop, &d->on_holder, d->holder_fd, POLLIN);
	if (d->watchdog_ns)
		loop_timer(d->loop, &d->watchdog, loop_now(d->loop));
	notify("READY=1\nSTATUS=serving");
	rc = turn_until(d, &d->is_stopped);
	d->culler = culler_stop(d->culler);
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
