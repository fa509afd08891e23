/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dfdaemon-broker: opens or links one path as the caller who asked dfdaemon for it.
 *
 * Three ways to get connections, one task for each:
 *   started by systemd (LISTEN_FDS=1): descriptor 3 is a connection (Accept=yes) or listens
 *   --connection FD: started by dfdaemon itself; one task, then the end
 *   --socket PATH [--owner USER]: listens, for systems without systemd
 */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/num.h"
#include "p2p/broker/caller.h"
#include "p2p/broker/serve.h"

#define MAX_TASKS 64 /* at once, of one listening broker */

static const char usage[] =
	"usage: dfdaemon-broker [--connection FD | --socket PATH [--owner USER]]\n"
	"\n"
	"Opens or hard-links one path with the rights of the process that asked dfdaemon for it.\n"
	"Without an option it takes the socket that systemd passes.\n"
	"\n"
	"  --connection FD  serve the one connection that is open as descriptor FD\n"
	"  --socket PATH    listen at PATH (mode 0600) and serve each connection\n"
	"  --owner USER     with --socket: the user that dfdaemon runs as\n"
	"  -h, --help       this text\n"
	"  -V, --version    the version\n";

struct options {
	int connection;
	const char *socket_path, *owner;
};

static int fail(const char *what, int error)
{
	log_err("broker: %s error=%s", what, strerror(error < 0 ? -error : error));
	return 1;
}

/* parse - -1: go on; else the exit status */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"connection", required_argument, NULL, 'c'},
		{"socket", required_argument, NULL, 's'},
		{"owner", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	char reason[NUM_REASON];
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			if (num_u64(optarg, 0, 65535, &v, reason) < 0) {
				fprintf(stderr, "dfdaemon-broker: --connection %s: %s\n", optarg,
					reason);
				return 2;
			}
			o->connection = (int)v;
			break;
		case 's':
			o->socket_path = optarg;
			break;
		case 'o':
			o->owner = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("dfdaemon-broker " VERSION);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc || (o->connection >= 0 && o->socket_path) ||
		(o->owner && !o->socket_path)) {
		fputs(usage, stderr);
		return 2;
	}
	return -1;
}

static int listen_at(const struct options *o, int *out)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_fd_ int fd = -1;
	const struct passwd *pw = NULL;
	struct stat st;
	mode_t old;
	int r;

	if (strlen(o->socket_path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	if (o->owner) {
		pw = getpwnam(o->owner);
		if (!pw)
			return -ENOENT;
	}
	strcpy(sa.sun_path, o->socket_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* one of ours that died; anything that is no socket stays, and bind says so */
	if (lstat(o->socket_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(o->socket_path);
	old = umask(0177);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	umask(old);
	if (r < 0)
		return r;
	if (pw && chown(o->socket_path, pw->pw_uid, (gid_t)-1) < 0)
		return -errno;
	if (listen(fd, 64) < 0)
		return -errno;
	*out = take_fd(&fd);
	return 0;
}

static int serve_one(int conn)
{
	int r = broker_serve(conn);

	if (r < 0)
		return fail("the connection failed, the task is dropped", r);
	return 0;
}

/* serve_all - one process for each connection, as many as MAX_TASKS */
static int serve_all(int listener)
{
	unsigned n_tasks = 0;

	for (;;) {
		int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pid_t pid;

		while (n_tasks && waitpid(-1, NULL, WNOHANG) > 0)
			n_tasks--;
		if (conn < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			return fail("cannot accept a connection", errno);
		}
		if (n_tasks == MAX_TASKS) {
			LOG_LIMITED(
				LOG_WARNING, "broker: busy, connection closed tasks=%u", n_tasks);
			fd_close(conn);
			continue;
		}
		pid = fork();
		if (pid == 0) {
			fd_close(listener);
			_exit(serve_one(conn));
		}
		if (pid < 0)
			LOG_LIMITED(LOG_WARNING, "broker: cannot fork error=%s", strerror(errno));
		else
			n_tasks++;
		fd_close(conn);
	}
}

int main(int argc, char **argv)
{
	struct options o = {.connection = -1};
	int fd = -1, first, is_listening = 0, r = parse(argc, argv, &o);
	_cleanup_free_ char *names = NULL;
	socklen_t len = sizeof(is_listening);
	char *name;

	if (r >= 0)
		return r;
	log_open(LOG_SINK_STDERR, "dfdaemon-broker", NULL);
	if (o.connection >= 0) {
		fd = o.connection;
	} else if (o.socket_path) {
		r = listen_at(&o, &fd);
		if (r < 0)
			return fail("cannot listen at the path of --socket", r);
	} else if (notify_listen_fds(&first, &name, 1, &names) == 1) {
		fd = first;
	} else {
		fputs("dfdaemon-broker: no socket was passed; see --help\n", stderr);
		return 2;
	}
	/* after the socket has its owner: from here on no right but the tasks' */
	r = caller_limit();
	if (r < 0)
		return fail("cannot limit the rights of this process", r);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0)
		return fail("the descriptor given is no socket", errno);
	return is_listening ? serve_all(fd) : serve_one(fd);
}
