// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/num.h"

/* A holder that a worker started finds its socket here. Not a way in: whoever sets the environment
 * of a root process is root. */
#define ENV_SOCKET     "CACHEFILESD_HOLDER_SOCKET"
#define BOUND_MAX      16384 /* text of the bound configuration */
#define DROP_MS        5000
#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 10000
#define STABLE_S       60 /* a worker that lived this long is restarted without a pause again */

/* Messages, one byte each; KEEP is followed by the text and carries the descriptors. */
enum message { MSG_KEEP = 'K', MSG_DROP = 'D', MSG_DONE = 'd', MSG_EXIT = 'X' };

static const char *const slot_names[HOLDER_N_SLOTS] = {
	[HOLDER_DEVICE] = "cachefiles-device",
	[HOLDER_ROOT] = "cachefiles-root",
	[HOLDER_CACHE] = "cachefiles-cache",
	[HOLDER_GRAVEYARD] = "cachefiles-graveyard",
};
#define BOUND_NAME "cachefiles-bound"

_Static_assert(HOLDER_N_SLOTS <= FD_PASS_MAX, "all descriptors travel in one message");

/* Descriptors and the text that belongs to them. */
struct kept {
	bool is_there;
	int fds[HOLDER_N_SLOTS];
	char bound[BOUND_MAX];
	size_t len;
};

struct holder {
	enum holder_kind kind;
	char **argv;
	pthread_mutex_t lock; /* the door thread and the culling thread both call */
	int sock; /* PROCESS: to the other process */
	pid_t pid; /* of a holder that we started; 0 = it started us */
	struct kept kept; /* what an earlier life left, then what was given to holder_keep() */
	bool is_adopted; /* `kept` is from an earlier life and was not taken yet */
	bool is_stored; /* SYSTEMD: has it already */
};

static void kept_clear(struct kept *k)
{
	for (size_t i = 0; i < HOLDER_N_SLOTS; i++)
		k->fds[i] = k->is_there ? fd_close(k->fds[i]) : -1;
	k->is_there = false;
	k->len = 0;
}

static int kept_copy(struct kept *k, const int fds[HOLDER_N_SLOTS], const char *bound, size_t len)
{
	int copy[HOLDER_N_SLOTS];

	if (len >= BOUND_MAX)
		return -EMSGSIZE;
	for (size_t i = 0; i < HOLDER_N_SLOTS; i++) {
		copy[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (copy[i] < 0) {
			int r = -errno;

			while (i--)
				close(copy[i]);
			return r;
		}
	}
	kept_clear(k);
	memcpy(k->fds, copy, sizeof(copy));
	memcpy(k->bound, bound, len);
	k->bound[len] = '\0';
	k->len = len;
	k->is_there = true;
	return 0;
}

enum holder_kind holder_kind(const struct holder *h)
{
	return h->kind;
}

enum holder_kind holder_choose(void)
{
	const char *n = getenv("FDSTORE"); /* systemd 254 and later say how many they keep */

	if (getenv("NOTIFY_SOCKET") && !(n && !strcmp(n, "0")))
		return HOLDER_SYSTEMD;
	return HOLDER_PROCESS;
}

bool holder_is_replacement(void)
{
	return getenv(ENV_SOCKET) != NULL;
}

/* ---- systemd -------------------------------------------------------------------------------- */

static int read_bound(int fd, struct kept *k)
{
	ssize_t n = fd_pread_full(fd, k->bound, BOUND_MAX - 1, 0);

	if (n < 0)
		return (int)n;
	k->bound[n] = '\0';
	k->len = (size_t)n;
	return 0;
}

static void adopt_from_systemd(struct holder *h)
{
	char *names[16];
	_cleanup_free_ char *block = NULL;
	struct kept *k = &h->kept;
	size_t n, n_found = 0;
	bool has_bound = false;
	int first;

	for (size_t i = 0; i < HOLDER_N_SLOTS; i++)
		k->fds[i] = -1;
	n = notify_listen_fds(&first, names, ARRAY_SIZE(names), &block);
	for (size_t i = 0; i < n; i++) {
		int fd = first + (int)i;
		size_t slot;

		for (slot = 0; slot < HOLDER_N_SLOTS; slot++)
			if (!strcmp(names[i], slot_names[slot]) && k->fds[slot] < 0)
				break;
		if (slot < HOLDER_N_SLOTS) {
			k->fds[slot] = fd;
			n_found++;
			continue;
		}
		if (!strcmp(names[i], BOUND_NAME) && !has_bound)
			has_bound = read_bound(fd, k) == 0;
		fd_close(fd);
	}
	k->is_there = true;
	if (n_found == HOLDER_N_SLOTS && has_bound) {
		h->is_adopted = h->is_stored = true;
		return;
	}
	if (n_found)
		log_warning(
			"holder: systemd kept only %zu of %d descriptors, so the cache is bound "
			"anew: is FileDescriptorStoreMax= at least 5?",
			n_found + has_bound, HOLDER_N_SLOTS + 1);
	kept_clear(k);
	holder_drop(h);
}

static int store_in_systemd(struct holder *h)
{
	_cleanup_fd_ int memfd = memfd_create(BOUND_NAME, MFD_CLOEXEC);
	int r;

	if (memfd < 0)
		return -errno;
	r = fd_write_full(memfd, h->kept.bound, h->kept.len);
	for (size_t i = 0; r >= 0 && i < HOLDER_N_SLOTS; i++)
		r = notify_store_fd(h->kept.fds[i], slot_names[i]);
	if (r >= 0)
		r = notify_store_fd(memfd, BOUND_NAME);
	return r < 0 ? r : 0;
}

static int drop_from_systemd(void)
{
	int r = 0;

	for (size_t i = 0; i < HOLDER_N_SLOTS && r >= 0; i++)
		r = notify_remove_fd(slot_names[i]);
	if (r >= 0)
		r = notify_remove_fd(BOUND_NAME);
	if (r > 0)
		r = notify_barrier(DROP_MS);
	return r < 0 ? r : 0;
}

/* ---- the worker's side of a holder process -------------------------------------------------- */

static int send_kept(const struct holder *h)
{
	char message[1 + BOUND_MAX];
	ssize_t r;

	message[0] = MSG_KEEP;
	memcpy(message + 1, h->kept.bound, h->kept.len);
	r = fd_send(h->sock, message, 1 + h->kept.len, h->kept.fds, HOLDER_N_SLOTS, MSG_NOSIGNAL);
	return r < 0 ? (int)r : 0;
}

static int drop_from_process(struct holder *h)
{
	const char ask = MSG_DROP;
	char answer = 0;
	struct pollfd p = {.fd = h->sock, .events = POLLIN};
	int r;

	if (send(h->sock, &ask, 1, MSG_NOSIGNAL) < 0)
		return errno == EPIPE ? 0 : -errno; /* a dead holder holds nothing */
	do
		r = poll(&p, 1, DROP_MS);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	return recv(h->sock, &answer, 1, 0) < 0 ? -errno : 0;
}

/* Our holder died: start another. It begins as this program, finds the socket in its environment
 * and gets the descriptors by message like the first one. */
static int start_new_holder(struct holder *h)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	char variable[64];
	char **env;
	size_t n = 0;
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env) {
		close(ends[0]);
		close(ends[1]);
		return -ENOMEM;
	}
	snprintf(variable, sizeof(variable), ENV_SOCKET "=%d", STDERR_FILENO + 1);
	env[0] = variable;
	memcpy(env + 1, environ, n * sizeof(*env));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO + 1);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	r = -posix_spawn(&h->pid, "/proc/self/exe", &actions, &attr, h->argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		h->pid = 0;
		return r;
	}
	h->sock = ends[0];
	return h->kept.is_there ? send_kept(h) : 0;
}

static bool is_closed(int sock)
{
	char c;
	ssize_t n = recv(sock, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

int holder_fd(const struct holder *h)
{
	return h->kind == HOLDER_PROCESS ? h->sock : -1;
}

void holder_service(struct holder *h)
{
	int r;

	if (h->kind != HOLDER_PROCESS)
		return;
	pthread_mutex_lock(&h->lock);
	if (h->sock >= 0 && is_closed(h->sock)) {
		h->sock = fd_close(h->sock);
		if (h->pid)
			waitpid(h->pid, NULL, 0); /* it closed its end by dying */
		h->pid = 0;
		r = start_new_holder(h);
		if (r < 0)
			log_warning(
				"holder: the process that keeps the descriptors died and cannot "
				"be replaced: a crash would withdraw the cache err=%s",
				strerror(-r));
		else
			log_notice(
				"holder: the process that keeps the descriptors died, another was "
				"started");
	}
	pthread_mutex_unlock(&h->lock);
}

bool holder_adopted(struct holder *h, int fds[HOLDER_N_SLOTS], struct buf *bound)
{
	bool is_ok = false;

	pthread_mutex_lock(&h->lock);
	if (h->is_adopted) {
		struct kept mine = {0};

		is_ok = kept_copy(&mine, h->kept.fds, h->kept.bound, h->kept.len) == 0;
		if (is_ok) {
			memcpy(fds, mine.fds, sizeof(mine.fds));
			buf_add(bound, mine.bound, mine.len);
		}
		h->is_adopted = false;
	}
	pthread_mutex_unlock(&h->lock);
	return is_ok;
}

int holder_keep(struct holder *h, const int fds[HOLDER_N_SLOTS], const char *bound, size_t len)
{
	int r = 0;

	if (h->kind == HOLDER_NONE)
		return 0;
	pthread_mutex_lock(&h->lock);
	if (!(h->kind == HOLDER_SYSTEMD && h->is_stored)) {
		r = kept_copy(&h->kept, fds, bound, len);
		if (r == 0 && h->kind == HOLDER_SYSTEMD) {
			r = store_in_systemd(h);
			h->is_stored = r == 0;
			kept_clear(&h->kept); /* it has them; ours would be one copy more */
		} else if (r == 0) {
			r = h->sock >= 0 ? send_kept(h) : -ENOTCONN;
		}
	}
	pthread_mutex_unlock(&h->lock);
	return r;
}

int holder_drop(struct holder *h)
{
	int r = 0;

	pthread_mutex_lock(&h->lock);
	kept_clear(&h->kept);
	h->is_adopted = h->is_stored = false;
	if (h->kind == HOLDER_SYSTEMD)
		r = drop_from_systemd();
	else if (h->kind == HOLDER_PROCESS && h->sock >= 0)
		r = drop_from_process(h);
	pthread_mutex_unlock(&h->lock);
	return r;
}

/* ---- the holder process --------------------------------------------------------------------- */

struct keeper {
	int sock, signal_fd;
	pid_t worker;
	bool is_parent; /* of the worker; else it started us */
	bool has_kept; /* ever: from then on the worker is restarted */
	bool is_stopping; /* we were asked to end */
	bool has_status; /* the worker said how it ends */
	int status;
	struct timespec started;
	int pause_ms;
	struct kept kept;
};

static void handle_message(struct keeper *k)
{
	static char message[1 + BOUND_MAX];
	int fds[FD_PASS_MAX];
	size_t n_fds = 0;
	ssize_t n = fd_recv(k->sock, message, sizeof(message), fds, &n_fds, MSG_DONTWAIT);
	const char done = MSG_DONE;

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n > 0 && message[0] == MSG_KEEP && n_fds == HOLDER_N_SLOTS) {
		if (kept_copy(&k->kept, fds, message + 1, (size_t)n - 1) == 0)
			k->has_kept = true;
	} else if (n > 0 && message[0] == MSG_DROP) {
		kept_clear(&k->kept);
		send(k->sock, &done, 1, MSG_NOSIGNAL);
	} else if (n == 2 && message[0] == MSG_EXIT) {
		k->has_status = true;
		k->status = (unsigned char)message[1];
	}
	for (size_t i = 0; n >= 0 && i < n_fds; i++)
		close(fds[i]);
	if (n <= 0)
		k->sock = fd_close(k->sock); /* the worker is gone */
}

static void handle_signals(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (read(k->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		int sig = (int)info.ssi_signo;

		if (sig == SIGCHLD)
			continue; /* the end of the socket tells */
		if (sig != SIGHUP)
			k->is_stopping = true;
		if (k->worker > 0 && k->sock >= 0)
			kill(k->worker, sig);
	}
}

/* Until the worker is gone. */
static void keep_while_worker_lives(struct keeper *k)
{
	while (k->sock >= 0) {
		struct pollfd p[2] = {
			{.fd = k->sock, .events = POLLIN}, {.fd = k->signal_fd, .events = POLLIN}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			handle_signals(k);
		if (p[0].revents)
			handle_message(k);
	}
}

/* How did it end? Exit status, or 128 + signal; of a worker that is not our child we know only
 * what it said itself. */
static int reap_worker(struct keeper *k)
{
	int status;

	if (!k->is_parent)
		return k->has_status ? k->status : 255;
	while (waitpid(k->worker, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	if (WIFEXITED(status)) {
		k->has_status = true;
		k->status = WEXITSTATUS(status);
		return k->status;
	}
	return 128 + WTERMSIG(status);
}

/* A worker that fails again and again is restarted ever more slowly, but never given up. Returns
 * false when a signal ended us meanwhile. */
static bool pause_before_restart(struct keeper *k)
{
	struct timespec now;
	struct pollfd p = {.fd = k->signal_fd, .events = POLLIN};

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - k->started.tv_sec >= STABLE_S)
		k->pause_ms = 0;
	if (k->pause_ms && poll(&p, 1, k->pause_ms) > 0)
		handle_signals(k);
	k->pause_ms = k->pause_ms ? k->pause_ms * 2 : RESTART_MIN_MS;
	if (k->pause_ms > RESTART_MAX_MS)
		k->pause_ms = RESTART_MAX_MS;
	return !k->is_stopping;
}

static int run_worker(struct holder *h, int (*worker)(struct holder *h, void *arg), void *arg)
{
	char message[2] = {MSG_EXIT, 0};
	int status = worker(h, arg);

	message[1] = (char)status;
	if (h->sock >= 0)
		send(h->sock, message, sizeof(message), MSG_NOSIGNAL);
	kept_clear(&h->kept);
	return status;
}

/* Start a worker as a child. Returns 0 in the holder, 1 in the worker (with @h set up), -errno */
static int fork_worker(struct keeper *k, struct holder *h, const sigset_t *old_mask)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	clock_gettime(CLOCK_MONOTONIC, &k->started);
	k->has_status = false;
	k->is_parent = true;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(ends[0]);
		close(ends[1]);
		return r;
	}
	if (pid) {
		close(ends[1]);
		k->worker = pid;
		k->sock = ends[0];
		return 0;
	}
	close(ends[0]);
	close(k->signal_fd);
	sigprocmask(SIG_SETMASK, old_mask, NULL);
	h->sock = ends[1];
	h->kept = k->kept; /* moved: the copies of this process */
	h->is_adopted = h->kept.is_there;
	return 1;
}

/* The socket that a worker without a holder left for us, or -1 */
static int inherited_socket(pid_t *worker)
{
	const char *text = getenv(ENV_SOCKET);
	socklen_t len = sizeof(int), cred_len = sizeof(struct ucred);
	struct ucred cred;
	uint64_t fd;
	int type;

	if (!text)
		return -1;
	if (num_u64(text, 3, 1023, &fd, NULL) ||
		getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
		type != SOCK_SEQPACKET ||
		getsockopt((int)fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) < 0) {
		unsetenv(ENV_SOCKET);
		return -1;
	}
	unsetenv(ENV_SOCKET);
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	*worker = cred.pid;
	return (int)fd;
}

static int run_process(struct holder *h, int (*worker)(struct holder *h, void *arg), void *arg)
{
	struct keeper k = {.sock = -1};
	sigset_t mine, old;
	int r, status;

	sigemptyset(&mine);
	sigaddset(&mine, SIGTERM);
	sigaddset(&mine, SIGINT);
	sigaddset(&mine, SIGHUP);
	sigaddset(&mine, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mine, &old);
	k.signal_fd = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
	if (k.signal_fd < 0) {
		log_err("holder: signalfd: %s", strerror(errno));
		return 1;
	}
	k.sock = inherited_socket(&k.worker);
	clock_gettime(CLOCK_MONOTONIC, &k.started);
	for (;;) {
		if (k.sock < 0) {
			r = fork_worker(&k, h, &old);
			if (r == 1)
				return run_worker(h, worker, arg);
			if (r < 0) {
				log_err("holder: the worker cannot be started: %s", strerror(-r));
				if (!k.has_kept)
					return 1;
			}
		}
		keep_while_worker_lives(&k);
		status = reap_worker(&k);
		/* said goodbye: an orderly stop, or it failed before there was a cache */
		if (k.is_stopping || (k.has_status && (status == 0 || !k.has_kept)) || !k.has_kept)
			break;
		log_err("holder: the daemon died and is started again, the cache stays pid=%d "
			"status=%d",
			(int)k.worker, status);
		if (!pause_before_restart(&k)) {
			status = 0;
			break;
		}
	}
	kept_clear(&k.kept);
	close(k.signal_fd);
	return status;
}

int holder_run(
	char **argv, enum holder_kind kind, int (*worker)(struct holder *h, void *arg), void *arg)
{
	static struct holder h; /* too large for the stack of a small process */
	int status;

	h = (struct holder){.kind = kind, .argv = argv, .sock = -1};
	pthread_mutex_init(&h.lock, NULL);
	if (kind == HOLDER_PROCESS) {
		status = run_process(&h, worker, arg);
	} else {
		if (kind == HOLDER_SYSTEMD)
			adopt_from_systemd(&h);
		status = worker(&h, arg);
		kept_clear(&h.kept);
	}
	pthread_mutex_destroy(&h.lock);
	return status;
}
