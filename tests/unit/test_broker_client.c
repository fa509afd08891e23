/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_broker_client.c — dfdaemon's end on the loop, against real brokers: this program started
 * again as one (as dfdaemon starts it for an ordinary user), and one behind a socket */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/rpc/rpc.h"
#include "p2p/broker/caller.h"
#include "p2p/broker/client.h"
#include "p2p/broker/serve.h"

struct world {
	char dir[64], door[96];
	struct loop *loop;
	struct broker *broker;
	pid_t caller, server;
	int sock; /* our end of the caller's connection */
	/* the last answer */
	unsigned n_answers;
	int status, fd;
	char text[512];
	struct broker_output *output;
	bool is_gone;
};

static char self[256];

static pid_t fork_until_we_end(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
	}
	return pid;
}

static int listen_at(const char *path, int type)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void start_caller(struct world *w)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_fd_ int listener = -1;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/client", w->dir);
	listener = listen_at(sa.sun_path, SOCK_STREAM);
	w->caller = fork_until_we_end();
	if (w->caller == 0) {
		int s = socket(AF_UNIX, SOCK_STREAM, 0);

		if (connect(s, (struct sockaddr *)&sa, sizeof(sa)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	w->sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(w->sock >= 0);
}

/* a broker behind a socket, as systemd has it: one process for each connection */
static void start_server(struct world *w)
{
	int listener;

	snprintf(w->door, sizeof(w->door), "%s/broker", w->dir);
	listener = listen_at(w->door, SOCK_SEQPACKET);
	w->server = fork_until_we_end();
	if (w->server == 0) {
		signal(SIGCHLD, SIG_IGN);
		for (;;) {
			int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

			if (fork() == 0)
				_exit(caller_limit() < 0 ? 1 : broker_serve(conn) < 0);
			close(conn);
		}
	}
	close(listener);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->fd = -1;
	strcpy(w->dir, "/tmp/test_broker_client.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	start_caller(w);
	start_server(w);
	assert_int_equal(loop_new(&w->loop, &loop_backend_epoll, 1), 0);
	*state = w;
	return 0;
}

static void gone(void *arg)
{
	((struct world *)arg)->is_gone = true;
}

static void turn_until(struct world *w, const bool *flag, unsigned n_answers)
{
	uint64_t end = loop_now(w->loop) + 20000000000ull;

	while (!(flag ? *flag : w->n_answers >= n_answers)) {
		assert_int_equal(loop_step(w->loop, 100000000), 0);
		assert_true(loop_now(w->loop) < end);
	}
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->broker) {
		broker_close(w->broker, gone, w);
		turn_until(w, &w->is_gone, 0);
	}
	assert_int_equal(loop_get_stats(w->loop).n_inflight, 0);
	loop_free(w->loop);
	kill(w->caller, SIGKILL);
	kill(w->server, SIGKILL);
	waitpid(w->caller, NULL, 0);
	waitpid(w->server, NULL, 0);
	fd_close(w->sock);
	fd_close(w->fd);
	int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(path_remove_tree(tmp, strrchr(w->dir, '/') + 1, NULL), 0);
	close(tmp);
	free(w);
	return 0;
}

static void begin(struct world *w, bool spawned, unsigned max)
{
	const struct broker_options o = {
		.socket_path = spawned ? NULL : w->door, .program = self, .max_calls = max};

	assert_int_equal(broker_new(&w->broker, w->loop, &o), 0);
}

static void answered(struct world *w, int status, const char *text, int fd)
{
	w->n_answers++;
	w->status = status;
	snprintf(w->text, sizeof(w->text), "%s", text);
	fd_close(w->fd);
	w->fd = fd;
}

static void on_source(void *arg, int status, const char *text, int fd)
{
	answered(arg, status, text, fd);
}

static void on_output(void *arg, int status, const char *text, struct broker_output *o, int fd)
{
	answered(arg, status, text, fd);
	((struct world *)arg)->output = o;
}

static void on_plain(void *arg, int status, const char *text)
{
	answered(arg, status, text, -1);
}

static const char *at(const struct world *w, const char *name)
{
	static char path[2][256];
	static int i;

	i = !i;
	snprintf(path[i], sizeof(path[i]), "%s/%s", w->dir, name);
	return path[i];
}

static void put(const struct world *w, const char *name)
{
	_cleanup_fd_ int fd = open(at(w, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(fd_write_full(fd, name, strlen(name)), 0);
}

static void all_operations(struct world *w)
{
	struct stat st;
	char b[16] = "";

	put(w, "in");
	assert_non_null(broker_open_source(w->broker, w->sock, at(w, "in"), 0, on_source, w));
	assert_int_equal(w->n_answers, 0);
	turn_until(w, NULL, 1);
	assert_string_equal(w->text, "");
	assert_int_equal(w->status, RPC_OK);
	assert_int_equal(fd_read_full(w->fd, b, 8), 2);
	assert_string_equal(b, "in");

	assert_non_null(
		broker_link(w->broker, w->sock, w->fd, at(w, "linked"), false, 0, on_plain, w));
	turn_until(w, NULL, 2);
	assert_int_equal(w->status, RPC_OK);
	assert_int_equal(stat(at(w, "linked"), &st), 0);
	assert_int_equal(st.st_nlink, 2);

	assert_non_null(
		broker_open_output(w->broker, w->sock, at(w, "out"), false, 0, on_output, w));
	turn_until(w, NULL, 3);
	assert_int_equal(w->status, RPC_OK);
	assert_int_equal(fd_write_full(w->fd, "hello", 5), 0);
	assert_int_equal(access(at(w, "out"), F_OK), -1);
	assert_non_null(broker_output_place(w->output, 0, on_plain, w));
	turn_until(w, NULL, 4);
	assert_int_equal(w->status, RPC_OK);
	assert_int_equal(stat(at(w, "out"), &st), 0);
	assert_int_equal(st.st_size, 5);

	assert_non_null(
		broker_open_output(w->broker, w->sock, at(w, "other"), false, 0, on_output, w));
	turn_until(w, NULL, 5);
	assert_int_equal(w->status, RPC_OK);
	assert_null(broker_output_abort(w->output));
	assert_int_equal(access(at(w, "other"), F_OK), -1);

	assert_non_null(broker_open_source(w->broker, w->sock, at(w, "no"), 0, on_source, w));
	turn_until(w, NULL, 6);
	assert_int_equal(w->status, RPC_NOT_FOUND);
	assert_non_null(strstr(w->text, "does not exist"));
	assert_int_equal(w->fd, -1);
}

static void through_a_socket(void **state)
{
	begin(*state, false, 0);
	all_operations(*state);
}

static void spawned(void **state)
{
	begin(*state, true, 0);
	all_operations(*state);
}

static void nobody_there(void **state)
{
	struct world *w = *state;
	const struct broker_options o = {.socket_path = at(w, "nothing")};

	assert_int_equal(broker_new(&w->broker, w->loop, &o), 0);
	broker_open_source(w->broker, w->sock, "/etc/passwd", 0, on_source, w);
	assert_int_equal(w->n_answers, 0);
	turn_until(w, NULL, 1);
	assert_int_equal(w->status, RPC_UNAVAILABLE);
	assert_non_null(strstr(w->text, "descriptor"));
	broker_open_source(w->broker, w->sock, "relative", 0, on_source, w);
	turn_until(w, NULL, 2);
}

static void relative_path_is_refused(void **state)
{
	struct world *w = *state;

	begin(w, false, 0);
	broker_open_source(w->broker, w->sock, "relative", 0, on_source, w);
	turn_until(w, NULL, 1);
	assert_int_equal(w->status, RPC_INVALID_ARGUMENT);
}

static void bounded(void **state)
{
	struct world *w = *state;
	struct broker_output *held[2];

	begin(w, false, 2);
	for (unsigned i = 0; i < 2; i++) {
		char name[8];

		snprintf(name, sizeof(name), "o%u", i);
		broker_open_output(w->broker, w->sock, at(w, name), false, 0, on_output, w);
		turn_until(w, NULL, i + 1);
		assert_int_equal(w->status, RPC_OK);
		held[i] = w->output;
	}
	broker_open_source(w->broker, w->sock, "/etc/passwd", 0, on_source, w);
	turn_until(w, NULL, 3);
	assert_int_equal(w->status, RPC_RESOURCE_EXHAUSTED);
	broker_output_abort(held[0]);
	broker_open_source(w->broker, w->sock, "/etc/passwd", 0, on_source, w);
	turn_until(w, NULL, 4);
	assert_int_equal(w->status, RPC_OK);
	/* the other one is aborted by the close */
}

static void silence_ends_in_time(void **state)
{
	struct world *w = *state;
	_cleanup_fd_ __attribute__((unused)) int silent =
		listen_at(at(w, "silent"), SOCK_SEQPACKET);
	const struct broker_options o = {.socket_path = at(w, "silent")};

	assert_true(silent >= 0);
	assert_int_equal(broker_new(&w->broker, w->loop, &o), 0);
	broker_open_source(w->broker, w->sock, "/etc/passwd", 50000000, on_source, w);
	turn_until(w, NULL, 1);
	assert_int_equal(w->status, RPC_DEADLINE_EXCEEDED);
}

static void nonsense_is_refused(void **state)
{
	struct world *w = *state;
	_cleanup_fd_ int listener = listen_at(at(w, "odd"), SOCK_SEQPACKET), conn = -1;
	const struct broker_options o = {.socket_path = at(w, "odd")};

	assert_int_equal(broker_new(&w->broker, w->loop, &o), 0);
	broker_open_source(w->broker, w->sock, "/etc/passwd", 0, on_source, w);
	conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(send(conn, "hello", 5, 0), 5);
	turn_until(w, NULL, 1);
	assert_int_equal(w->status, RPC_INTERNAL);
}

static void cancelled_is_silent(void **state)
{
	struct world *w = *state;
	struct broker_call *c;

	begin(w, true, 0);
	c = broker_open_source(w->broker, w->sock, "/etc/passwd", 0, on_source, w);
	broker_call_cancel(c);
	c = broker_open_output(w->broker, w->sock, at(w, "x"), false, 0, on_output, w);
	assert_non_null(c);
	/* closed with a call and a spawned broker in flight: teardown waits for both */
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(through_a_socket),
		WORLD_TEST(spawned),
		WORLD_TEST(nobody_there),
		WORLD_TEST(relative_path_is_refused),
		WORLD_TEST(bounded),
		WORLD_TEST(silence_ends_in_time),
		WORLD_TEST(nonsense_is_refused),
		WORLD_TEST(cancelled_is_silent),
	};
	ssize_t n;

	if (argc == 3 && !strcmp(argv[1], "--connection"))
		return caller_limit() < 0 ? 1 : broker_serve(atoi(argv[2])) < 0;
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
