/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_loop.c — every promise of loop.h on both back ends; io_uring is skipped only when the kernel
 * refuses a ring. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/loop.h"
#include "tests/lib/oom.h"

#define MS       1000000ull
#define DEADLINE (10000 * MS)

struct fixture {
	struct loop *l;
	int log[64]; /* results or tags in order of callbacks */
	int n_log;
	bool is_submitting; /* a callback now would be from inside a submit or cancel */
};

struct rec { /* an operation that writes down its result */
	struct loop_op op;
	struct fixture *f;
	int res, tag, n_calls;
};

static void on_rec(struct loop_op *op, int res)
{
	struct rec *r = container_of(op, struct rec, op);

	assert_false(r->f->is_submitting);
	assert_false(loop_op_is_active(op));
	r->res = res;
	r->n_calls++;
	if (r->f->n_log < 64)
		r->f->log[r->f->n_log++] = r->tag;
}

static void rec_init(struct fixture *f, struct rec *r, int tag)
{
	*r = (struct rec){.f = f, .tag = tag};
	loop_op_init(&r->op, on_rec);
}

#define SUBMIT(f, call)                                                                            \
	do {                                                                                       \
		(f)->is_submitting = true;                                                         \
		call;                                                                              \
		(f)->is_submitting = false;                                                        \
	} while (0)

/* valgrind holds its big lock while a thread waits in io_uring_enter, so no other thread runs, and it
 * does not see what the kernel writes: there the ring is not tried */
static bool is_valgrind(void)
{
	const char *s = getenv("LD_PRELOAD");

	return s && strstr(s, "vgpreload");
}

static int setup(void **state)
{
	const struct loop_backend *be = *state;
	struct fixture *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -1;
	r = be == &loop_backend_uring && is_valgrind() ? -ENOSYS : loop_new(&f->l, be, 3);
	if (r && be == &loop_backend_uring && (r == -EPERM || r == -ENOSYS))
		print_message("# the kernel refuses a ring: %s\n", strerror(-r));
	else if (r)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_free(f->l);
	free(f);
	return 0;
}

#define FIXTURE                                                                                    \
	struct fixture *f = *state;                                                                \
	if (!f->l)                                                                                 \
	skip()

/* run_until - turns of the loop until *@n reaches @want, at most ten seconds */
static void run_until(struct fixture *f, const int *n, int want)
{
	uint64_t end = loop_now(f->l) + DEADLINE;

	while (*n < want) {
		assert_int_equal(loop_step(f->l, 100 * MS), 0);
		assert_true(loop_now(f->l) < end);
	}
}

static int listen_tcp(struct sockaddr_in *sa)
{
	socklen_t len = sizeof(*sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*sa = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)sa, sizeof(*sa)), 0);
	assert_int_equal(listen(fd, 1024), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)sa, &len), 0);
	return fd;
}

static void check_new_socket(int fd)
{
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static void talk_over(struct fixture *f, int listener, int client, const void *sa, socklen_t len)
{
	struct rec acc, con, snd, rcv;
	char out[5000], in[5000] = "";
	size_t n = 0;
	int server;

	rec_init(f, &acc, 1);
	rec_init(f, &con, 2);
	rec_init(f, &snd, 3);
	rec_init(f, &rcv, 4);
	SUBMIT(f, loop_accept(f->l, &acc.op, listener));
	SUBMIT(f, loop_connect(f->l, &con.op, client, sa, len));
	run_until(f, &acc.n_calls, 1);
	run_until(f, &con.n_calls, 1);
	assert_int_equal(con.res, 0);
	server = acc.res;
	assert_true(server >= 0);
	check_new_socket(server);

	memset(out, 'x', sizeof(out));
	SUBMIT(f, loop_recv(f->l, &rcv.op, server, in, sizeof(in)));
	assert_int_equal(loop_step(f->l, 0), 0);
	assert_int_equal(rcv.n_calls, 0); /* nothing was sent yet */
	SUBMIT(f, loop_send(f->l, &snd.op, client, out, sizeof(out)));
	run_until(f, &snd.n_calls, 1);
	assert_int_equal(snd.res, sizeof(out));
	for (;;) {
		run_until(f, &rcv.n_calls, 1);
		assert_true(rcv.res > 0);
		n += (size_t)rcv.res;
		if (n == sizeof(in))
			break;
		rcv.n_calls = 0;
		loop_recv(f->l, &rcv.op, server, in + n, sizeof(in) - n);
	}
	assert_memory_equal(in, out, sizeof(in));

	/* the end of the stream, and a send to nobody: a result, never SIGPIPE */
	close(client);
	rcv.n_calls = 0;
	loop_recv(f->l, &rcv.op, server, in, sizeof(in));
	run_until(f, &rcv.n_calls, 1);
	assert_int_equal(rcv.res, 0);
	for (int i = 0; i < 100 && snd.res >= 0; i++) {
		snd.n_calls = 0;
		loop_send(f->l, &snd.op, server, out, sizeof(out));
		run_until(f, &snd.n_calls, 1);
	}
	assert_true(snd.res == -EPIPE || snd.res == -ECONNRESET);
	close(server);
}

static void streams_over_tcp(void **state)
{
	FIXTURE;
	struct sockaddr_in sa;
	_cleanup_fd_ int listener = listen_tcp(&sa);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	talk_over(f, listener, client, &sa, sizeof(sa));
}

static void streams_over_unix(void **state)
{
	FIXTURE;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(sa);
	_cleanup_fd_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa.sun_family)), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	talk_over(f, listener, client, &sa, len);
}

static void refused_connection_is_a_result(void **state)
{
	FIXTURE;
	struct sockaddr_in sa;
	struct rec con;
	_cleanup_fd_ int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	close(listen_tcp(&sa)); /* a port where nobody listens */
	rec_init(f, &con, 1);
	loop_connect(f->l, &con.op, client, (struct sockaddr *)&sa, sizeof(sa));
	run_until(f, &con.n_calls, 1);
	assert_int_equal(con.res, -ECONNREFUSED);
}

static void messages_carry_descriptors(void **state)
{
	FIXTURE;
	int sv[2], passed = -1;
	char text[16] = "";
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control_in = {0}, control_out = {0};
	struct iovec in = {text, sizeof(text)}, out = {(char *)"hello", 5};
	struct msghdr m_in = {.msg_iov = &in,
		.msg_iovlen = 1,
		.msg_control = &control_in,
		.msg_controllen = sizeof(control_in)};
	struct msghdr m_out = {.msg_iov = &out,
		.msg_iovlen = 1,
		.msg_control = &control_out,
		.msg_controllen = sizeof(control_out)};
	struct cmsghdr *c;
	struct rec snd, rcv;
	int zero = open("/dev/zero", O_RDONLY); /* not CLOEXEC: the flag must come from us */

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	c = CMSG_FIRSTHDR(&m_out);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &zero, sizeof(int));
	rec_init(f, &snd, 1);
	rec_init(f, &rcv, 2);
	SUBMIT(f, loop_recvmsg(f->l, &rcv.op, sv[0], &m_in));
	assert_int_equal(loop_step(f->l, 0), 0);
	SUBMIT(f, loop_sendmsg(f->l, &snd.op, sv[1], &m_out));
	run_until(f, &rcv.n_calls, 1);
	run_until(f, &snd.n_calls, 1);
	assert_int_equal(snd.res, 5);
	assert_int_equal(rcv.res, 5);
	assert_memory_equal(text, "hello", 5);
	c = CMSG_FIRSTHDR(&m_in);
	assert_non_null(c);
	memcpy(&passed, CMSG_DATA(c), sizeof(int));
	assert_true(fcntl(passed, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(read(passed, text, 1), 1);
	assert_int_equal(text[0], 0);
	close(passed);
	close(zero);
	close(sv[0]);
	close(sv[1]);
}

static void recv_and_send_wait_at_once(void **state)
{
	FIXTURE;
	int sv[2];
	struct rec rcv, snd, fill;
	static char big[1 << 20];
	char in[8], drain[65536];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	rec_init(f, &rcv, 1);
	rec_init(f, &snd, 2);
	rec_init(f, &fill, 3);
	do {
		n = send(sv[0], big, sizeof(big), MSG_DONTWAIT);
	} while (n > 0); /* now a send has to wait */
	SUBMIT(f, loop_recv(f->l, &rcv.op, sv[0], in, sizeof(in)));
	SUBMIT(f, loop_send(f->l, &snd.op, sv[0], "x", 1));
	assert_int_equal(loop_step(f->l, 0), 0);
	assert_int_equal(rcv.n_calls + snd.n_calls, 0);
	assert_int_equal(send(sv[1], "abc", 3, 0), 3);
	run_until(f, &rcv.n_calls, 1);
	assert_int_equal(rcv.res, 3);
	assert_int_equal(snd.n_calls, 0); /* one direction does not complete the other */
	while (recv(sv[1], drain, sizeof(drain), MSG_DONTWAIT) > 0)
		;
	run_until(f, &snd.n_calls, 1);
	assert_int_equal(snd.res, 1);
	close(sv[0]);
	close(sv[1]);
}

static void descriptor_numbers_are_reused(void **state)
{
	FIXTURE;
	struct rec rcv;
	char in[8];
	int first = -1;

	rec_init(f, &rcv, 1);
	for (int i = 0; i < 20; i++) {
		int sv[2], copy;

		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
		if (first < 0)
			first = sv[0];
		assert_int_equal(sv[0], first);
		rcv.n_calls = 0;
		loop_recv(f->l, &rcv.op, sv[0], in, sizeof(in));
		assert_int_equal(loop_step(f->l, 0), 0);
		assert_int_equal(rcv.n_calls, 0);
		if (i % 2) { /* complete by data, or by cancel */
			assert_int_equal(send(sv[1], "y", 1, 0), 1);
			run_until(f, &rcv.n_calls, 1);
			assert_int_equal(rcv.res, 1);
		} else {
			loop_cancel(f->l, &rcv.op);
			run_until(f, &rcv.n_calls, 1);
			assert_int_equal(rcv.res, -ECANCELED);
		}
		/* every third time a copy keeps the old file alive in the kernel */
		copy = i % 3 ? -1 : fcntl(sv[0], F_DUPFD_CLOEXEC, 100);
		close(sv[0]);
		assert_true(send(sv[1], "stale", 5, MSG_NOSIGNAL) == (copy >= 0 ? 5 : -1));
		assert_int_equal(loop_step(f->l, 0), 0);
		if (copy >= 0)
			close(copy);
		close(sv[1]);
	}
}

static void files_at_offsets(void **state)
{
	FIXTURE;
	char path[] = "/tmp/test_loop.XXXXXX";
	_cleanup_fd_ int fd = mkstemp(path);
	struct rec w, r;
	char in[32] = "";

	unlink(path);
	rec_init(f, &w, 1);
	rec_init(f, &r, 2);
	SUBMIT(f, loop_write(f->l, &w.op, fd, "piece", 5, (5ull << 30) + 3));
	run_until(f, &w.n_calls, 1);
	assert_int_equal(w.res, 5);
	SUBMIT(f, loop_read(f->l, &r.op, fd, in, 6, (5ull << 30) + 2));
	run_until(f, &r.n_calls, 1);
	assert_int_equal(r.res, 6);
	assert_memory_equal(in, "\0piece", 6);
	r.n_calls = 0; /* beyond the end: what is there, then nothing */
	loop_read(f->l, &r.op, fd, in, sizeof(in), (5ull << 30) + 5);
	run_until(f, &r.n_calls, 1);
	assert_int_equal(r.res, 3);
	r.n_calls = 0;
	loop_read(f->l, &r.op, fd, in, sizeof(in), 6ull << 30);
	run_until(f, &r.n_calls, 1);
	assert_int_equal(r.res, 0);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
}

static void many_file_operations_at_once(void **state)
{
	FIXTURE;
	enum { N = 200, SIZE = 4096 };
	_cleanup_fd_ int fd = memfd_create("test_loop", MFD_CLOEXEC);
	struct rec *ops = calloc(N, sizeof(*ops));
	char(*bufs)[SIZE] = calloc(N, SIZE);
	int done = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < N; i++) {
			rec_init(f, &ops[i], i);
			if (pass == 0) {
				memset(bufs[i], i, SIZE);
				loop_write(f->l, &ops[i].op, fd, bufs[i], SIZE, (uint64_t)i * SIZE);
			} else {
				memset(bufs[i], 0xff, SIZE);
				loop_read(f->l, &ops[i].op, fd, bufs[i], SIZE, (uint64_t)i * SIZE);
			}
		}
		for (int i = 0; i < N; i++) {
			run_until(f, &ops[i].n_calls, 1);
			assert_int_equal(ops[i].res, SIZE);
			for (int k = 0; k < SIZE; k++)
				done += bufs[i][k] == (char)i;
		}
	}
	assert_int_equal(done, 2 * N * SIZE);
	free(ops);
	free(bufs);
}

static void bad_descriptors_are_results(void **state)
{
	FIXTURE;
	struct rec a[5];
	char in[4];
	for (int i = 0; i < 5; i++)
		rec_init(f, &a[i], i);
	SUBMIT(f, loop_recv(f->l, &a[0].op, -1, in, sizeof(in)));
	SUBMIT(f, loop_read(f->l, &a[1].op, -1, in, sizeof(in), 0));
	SUBMIT(f, loop_recv(f->l, &a[2].op, 9999, in, sizeof(in)));
	SUBMIT(f, loop_poll(f->l, &a[3].op, 9999, POLLIN));
	SUBMIT(f, loop_read(f->l, &a[4].op, 9999, in, sizeof(in), 0));
	for (int i = 0; i < 5; i++) {
		run_until(f, &a[i].n_calls, 1);
		assert_int_equal(a[i].res, -EBADF);
	}
}

static void timers_fire_in_order(void **state)
{
	FIXTURE;
	static const int order[] = {3, 0, 4, 1, 2};
	struct rec t[5], never;
	uint64_t start = loop_now(f->l);

	for (int i = 0; i < 5; i++) {
		rec_init(f, &t[order[i]], order[i]);
		SUBMIT(f, loop_timer(f->l, &t[order[i]].op,
				  start + (uint64_t)(order[i] + 1) * 5 * MS));
	}
	rec_init(f, &never, 99);
	loop_timer(f->l, &never.op, start + 10 * MS);
	SUBMIT(f, loop_cancel(f->l, &never.op));
	run_until(f, &t[4].n_calls, 1);
	assert_true(loop_now(f->l) >= start + 25 * MS);
	assert_int_equal(f->n_log, 6);
	assert_int_equal(f->log[0], 99); /* the cancelled one, at once */
	assert_int_equal(never.res, -ECANCELED);
	assert_int_equal(never.n_calls, 1);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(f->log[i + 1], i);
		assert_int_equal(t[i].res, -ETIME);
	}
}

static void a_step_waits_and_does_not_spin(void **state)
{
	FIXTURE;
	uint64_t start = loop_now(f->l);
	int n = 0;

	/* "at most": a signal, or the end of an earlier ring, may interrupt one wait */
	for (; loop_now(f->l) < start + 20 * MS; n++)
		assert_int_equal(loop_step(f->l, start + 20 * MS - loop_now(f->l)), 0);
	assert_true(n <= 4);
	start = loop_now(f->l);
	for (int i = 0; i < 100; i++)
		assert_int_equal(loop_step(f->l, 0), 0);
	assert_true(loop_now(f->l) < start + 1000 * MS);
}

static void cancel_of_a_recv_in_flight(void **state)
{
	FIXTURE;
	int sv[2];
	struct rec rcv, poll_op, acc;
	struct sockaddr_in sa;
	_cleanup_fd_ int listener = listen_tcp(&sa);
	char in[4];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	rec_init(f, &rcv, 1);
	rec_init(f, &poll_op, 2);
	rec_init(f, &acc, 3);
	for (int turns = 0; turns < 2; turns++) { /* before and after the kernel has seen it */
		rcv.n_calls = poll_op.n_calls = acc.n_calls = 0;
		loop_recv(f->l, &rcv.op, sv[0], in, sizeof(in));
		loop_poll(f->l, &poll_op.op, sv[0], POLLIN);
		loop_accept(f->l, &acc.op, listener);
		for (int i = 0; i < turns; i++)
			assert_int_equal(loop_step(f->l, 0), 0);
		SUBMIT(f, loop_cancel(f->l, &rcv.op));
		SUBMIT(f, loop_cancel(f->l, &rcv.op)); /* twice is once */
		SUBMIT(f, loop_cancel(f->l, &poll_op.op));
		SUBMIT(f, loop_cancel(f->l, &acc.op));
		run_until(f, &rcv.n_calls, 1);
		run_until(f, &poll_op.n_calls, 1);
		run_until(f, &acc.n_calls, 1);
		assert_int_equal(rcv.res, -ECANCELED);
		assert_int_equal(poll_op.res, -ECANCELED);
		assert_int_equal(acc.res, -ECANCELED);
		assert_int_equal(rcv.n_calls, 1);
	}
	/* what arrives later is still there for the next one */
	assert_int_equal(send(sv[1], "z", 1, 0), 1);
	rcv.n_calls = 0;
	loop_recv(f->l, &rcv.op, sv[0], in, sizeof(in));
	run_until(f, &rcv.n_calls, 1);
	assert_int_equal(rcv.res, 1);
	close(sv[0]);
	close(sv[1]);
}

static void cancel_of_an_idle_operation_is_nothing(void **state)
{
	FIXTURE;
	struct rec a;

	rec_init(f, &a, 1);
	SUBMIT(f, loop_cancel(f->l, &a.op));
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_step(f->l, 0), 0);
	assert_int_equal(a.n_calls, 0);
	SUBMIT(f, loop_post(f->l, &a.op, 7));
	run_until(f, &a.n_calls, 1);
	assert_int_equal(a.res, 7);
	SUBMIT(f, loop_post(f->l, &a.op, 7));
	SUBMIT(f, loop_cancel(f->l, &a.op));
	run_until(f, &a.n_calls, 2);
	assert_int_equal(a.res, -ECANCELED);
}

static void cancel_that_comes_too_late_loses_nothing(void **state)
{
	FIXTURE;
	struct sockaddr_in sa;
	_cleanup_fd_ int listener = listen_tcp(&sa);
	int client, n_fds = 0;

	/* whatever wins, each connection is either accepted by us or still in the queue */
	for (int i = 0; i < 50; i++) {
		struct rec acc;
		int left;

		client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		rec_init(f, &acc, 1);
		if (i % 2)
			loop_accept(f->l, &acc.op, listener);
		assert_int_equal(connect(client, (struct sockaddr *)&sa, sizeof(sa)), 0);
		if (!(i % 2))
			loop_accept(f->l, &acc.op, listener);
		loop_cancel(f->l, &acc.op);
		run_until(f, &acc.n_calls, 1);
		assert_int_equal(acc.n_calls, 1);
		left = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		assert_true((acc.res >= 0) != (left >= 0));
		if (acc.res < 0)
			assert_int_equal(acc.res, -ECANCELED);
		n_fds++;
		close(acc.res >= 0 ? acc.res : left);
		close(client);
	}
	assert_int_equal(n_fds, 50);
}

struct chain {
	struct loop_op op;
	struct fixture *f;
	int n;
};

static void on_chain(struct loop_op *op, int res)
{
	struct chain *c = container_of(op, struct chain, op);

	assert_false(c->f->is_submitting);
	if (++c->n < 5) {
		c->f->is_submitting = true;
		loop_post(c->f->l, op, res + 1);
		c->f->is_submitting = false;
	}
}

static void posts_run_in_order_next_turn(void **state)
{
	FIXTURE;
	struct rec a[10];
	struct chain c = {.f = f};

	for (int i = 0; i < 10; i++) {
		rec_init(f, &a[i], i);
		SUBMIT(f, loop_post(f->l, &a[i].op, i * 2));
		assert_true(loop_op_is_active(&a[i].op));
	}
	assert_int_equal(f->n_log, 0);
	assert_int_equal(loop_step(f->l, UINT64_MAX), 0);
	assert_int_equal(f->n_log, 10);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(f->log[i], i);
		assert_int_equal(a[i].res, i * 2);
	}
	/* a post from a callback waits for the turn after */
	loop_op_init(&c.op, on_chain);
	loop_post(f->l, &c.op, 0);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(loop_step(f->l, UINT64_MAX), 0);
		assert_int_equal(c.n, i);
	}
}

struct pool_test {
	atomic_int now, peak, n_run;
	pthread_mutex_t gate;
};

static int count_and_wait(void *arg)
{
	struct pool_test *t = arg;
	int now = atomic_fetch_add(&t->now, 1) + 1, peak = atomic_load(&t->peak);

	while (now > peak && !atomic_compare_exchange_weak(&t->peak, &peak, now))
		;
	pthread_mutex_lock(&t->gate);
	pthread_mutex_unlock(&t->gate);
	atomic_fetch_sub(&t->now, 1);
	return atomic_fetch_add(&t->n_run, 1);
}

static void work_is_bounded_and_brings_results(void **state)
{
	FIXTURE;
	struct pool_test t = {.gate = PTHREAD_MUTEX_INITIALIZER};
	struct rec a[20];
	int sum = 0, n_canceled = 0;
	uint64_t end = loop_now(f->l) + DEADLINE;

	pthread_mutex_lock(&t.gate);
	for (int i = 0; i < 20; i++) {
		rec_init(f, &a[i], i);
		SUBMIT(f, loop_work(f->l, &a[i].op, count_and_wait, &t));
	}
	while (atomic_load(&t.now) < 3 && loop_now(f->l) < end)
		assert_int_equal(loop_step(f->l, MS), 0);
	assert_int_equal(atomic_load(&t.now), 3); /* the pool has three threads, and uses them */
	/* the last ones wait still: a cancel wins; the first three run: a cancel comes too late */
	for (int i = 0; i < 20; i++)
		if (i < 3 || i >= 15)
			SUBMIT(f, loop_cancel(f->l, &a[i].op));
	pthread_mutex_unlock(&t.gate);
	for (int i = 0; i < 20; i++) {
		run_until(f, &a[i].n_calls, 1);
		if (a[i].res == -ECANCELED) {
			n_canceled++;
			assert_true(i >= 15);
		} else {
			sum += a[i].res;
		}
	}
	assert_int_equal(n_canceled, 5);
	assert_int_equal(sum, 15 * 14 / 2);
	assert_int_equal(atomic_load(&t.peak), 3);
}

static void *waker(void *arg)
{
	struct fixture *f = arg;

	loop_wake(f->l);
	return NULL;
}

static void wake_from_another_thread(void **state)
{
	FIXTURE;
	pthread_t th;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(loop_step(f->l, 0), 0);
		assert_int_equal(pthread_create(&th, NULL, waker, f), 0);
		assert_int_equal(loop_step(f->l, UINT64_MAX), 0); /* hangs if the wake is lost */
		pthread_join(th, NULL);
	}
	/* drained: the next step waits again */
	while (loop_step(f->l, 0) == 0) {
		uint64_t start = loop_now(f->l);

		assert_int_equal(loop_step(f->l, 5 * MS), 0);
		if (loop_now(f->l) >= start + 5 * MS)
			break;
	}
}

static void on_quit(struct loop_op *op, int res)
{
	struct rec *r = container_of(op, struct rec, op);

	r->n_calls++;
	loop_quit(r->f->l);
	assert_true(loop_is_quitting(r->f->l));
}

static void run_ends_by_quit_and_can_run_again(void **state)
{
	FIXTURE;
	struct rec a;

	rec_init(f, &a, 1);
	a.op.fn = on_quit;
	for (int i = 1; i <= 2; i++) {
		loop_timer(f->l, &a.op, loop_now(f->l) + MS);
		assert_int_equal(loop_run(f->l), 0);
		assert_int_equal(a.n_calls, i);
		assert_false(loop_is_quitting(f->l));
	}
	loop_quit(f->l);
	assert_int_equal(loop_run(f->l), 0); /* returns at once */
}

static void a_thousand_operations_at_once(void **state)
{
	FIXTURE;
	enum { N = 1000 };
	struct rlimit lim = {0};

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	lim.rlim_cur = lim.rlim_max < 4096 ? lim.rlim_max : 4096;
	if (lim.rlim_cur < 2 * N + 64 || setrlimit(RLIMIT_NOFILE, &lim)) {
		print_message("# not enough descriptors allowed (RLIMIT_NOFILE)\n");
		skip();
	}

	struct rec *a = calloc(N, sizeof(*a));
	int(*sv)[2] = calloc(N, sizeof(*sv));
	char(*in)[4] = calloc(N, sizeof(*in));
	char n[4];

	for (int i = 0; i < N; i++) {
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv[i]),
			0);
		rec_init(f, &a[i], i);
		loop_recv(f->l, &a[i].op, sv[i][0], in[i], 4);
	}
	assert_int_equal(loop_get_stats(f->l).n_inflight, N);
	assert_int_equal(loop_step(f->l, 0), 0);
	for (int i = N - 1; i >= 0; i -= 2) {
		snprintf(n, sizeof(n), "%03d", i);
		assert_int_equal(send(sv[i][1], n, 4, 0), 4);
	}
	for (int i = 0; i < N; i += 2)
		loop_cancel(f->l, &a[i].op);
	for (int i = 0; i < N; i++) {
		run_until(f, &a[i].n_calls, 1);
		if (i % 2) {
			snprintf(n, sizeof(n), "%03d", i);
			assert_int_equal(a[i].res, 4);
			assert_string_equal(in[i], n);
		} else {
			assert_int_equal(a[i].res, -ECANCELED);
		}
		close(sv[i][0]);
		close(sv[i][1]);
	}
	assert_int_equal(loop_get_stats(f->l).n_inflight, 0);
	assert_int_equal(loop_get_stats(f->l).n_completions, N);
	free(a);
	free(sv);
	free(in);
}

/* 6000 operations in flight are more than either queue of the ring holds */
static void more_operations_than_the_ring_holds(void **state)
{
	FIXTURE;
	enum { N = 6000 };
	struct rec *a = calloc(N, sizeof(*a));
	int sv[2], n_ok = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	for (int i = 0; i < N; i++) {
		rec_init(f, &a[i], i);
		loop_poll(f->l, &a[i].op, sv[0], POLLIN);
	}
	for (int i = 0; i < N; i += 3)
		loop_cancel(f->l, &a[i].op);
	assert_int_equal(send(sv[1], "x", 1, 0), 1);
	for (int i = 0; i < N; i++) {
		run_until(f, &a[i].n_calls, 1);
		assert_int_equal(a[i].n_calls, 1);
		assert_true(a[i].res == POLLIN || (i % 3 == 0 && a[i].res == -ECANCELED));
		n_ok += a[i].res == POLLIN;
	}
	assert_true(n_ok >= N / 3 * 2);
	close(sv[0]);
	close(sv[1]);
	free(a);
}

static void poll_tells_what_happened(void **state)
{
	FIXTURE;
	struct rec p, q;
	int pipe_fds[2];
	_cleanup_fd_ int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	rec_init(f, &p, 1);
	rec_init(f, &q, 2);
	SUBMIT(f, loop_poll(f->l, &q.op, pipe_fds[1], POLLOUT));
	SUBMIT(f, loop_poll(f->l, &p.op, pipe_fds[0], POLLIN));
	run_until(f, &q.n_calls, 1);
	assert_int_equal(q.res, POLLOUT);
	assert_int_equal(p.n_calls, 0);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	run_until(f, &p.n_calls, 1);
	assert_int_equal(p.res, POLLIN);
	close(pipe_fds[1]);
	p.n_calls = 0;
	loop_poll(f->l, &p.op, pipe_fds[0], POLLIN);
	run_until(f, &p.n_calls, 1);
	assert_true(p.res & POLLHUP);
	close(pipe_fds[0]);
	p.n_calls = 0; /* a regular file is always ready, as poll(2) says */
	loop_poll(f->l, &p.op, file, POLLIN);
	run_until(f, &p.n_calls, 1);
	assert_int_equal(p.res, POLLIN);
}

static void allocations_may_fail(void **state)
{
	FIXTURE;
	const struct loop_backend *be =
		strcmp(loop_name(f->l), "epoll") ? &loop_backend_uring : &loop_backend_epoll;
	struct sockaddr_in sa;
	_cleanup_fd_ int listener = listen_tcp(&sa);

	OOM_FOR_EACH(n)
	{
		struct rec timer, acc, work;
		struct loop *l, *keep = f->l;
		struct pool_test t = {.gate = PTHREAD_MUTEX_INITIALIZER};
		int r = loop_new(&l, be, 1);

		if (r) {
			oom_stop();
			assert_int_equal(r, -ENOMEM);
			continue;
		}
		f->l = l;
		rec_init(f, &timer, 1);
		rec_init(f, &acc, 2);
		rec_init(f, &work, 3);
		loop_timer(l, &timer.op, loop_now(l));
		loop_accept(l, &acc.op, listener);
		loop_work(l, &work.op, count_and_wait, &t);
		oom_stop();
		loop_cancel(l, &acc.op);
		run_until(f, &timer.n_calls, 1);
		run_until(f, &acc.n_calls, 1);
		run_until(f, &work.n_calls, 1);
		assert_true(timer.res == -ETIME || timer.res == -ENOMEM);
		assert_true(acc.res == -ECANCELED || acc.res == -ENOMEM);
		assert_true(work.res == 0 || work.res == -ENOMEM || work.res == -EAGAIN);
		f->l = keep;
		loop_free(l);
	}
}

static void forbid_io_uring(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = ARRAY_SIZE(code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(99);
}

/* in_child_without_ring - 0 when loop_new_auto(@want) made @expect_name there and it can run */
static int in_child_without_ring(int error, const char *want, const char *expect_name, int expect)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct loop *l = NULL;
		int r;

		forbid_io_uring(error);
		r = loop_new_auto(&l, want, 1);
		if (r != expect)
			_exit(1);
		if (!r && (strcmp(loop_name(l), expect_name) || loop_step(l, MS)))
			_exit(2);
		loop_free(l);
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void auto_falls_back_where_the_ring_is_forbidden(void **state)
{
	struct loop *l = NULL;

	assert_int_equal(in_child_without_ring(ENOSYS, "auto", "epoll", 0), 0);
	assert_int_equal(in_child_without_ring(EPERM, "auto", "epoll", 0), 0);
	assert_int_equal(in_child_without_ring(EPERM, "epoll", "epoll", 0), 0);
	/* who insists on the ring hears why not */
	assert_int_equal(in_child_without_ring(EPERM, "io_uring", NULL, -EPERM), 0);
	assert_int_equal(in_child_without_ring(ENOSYS, "io_uring", NULL, -ENOSYS), 0);
	assert_int_equal(loop_new_auto(&l, "kqueue", 1), -EINVAL);
	assert_null(l);
}

#define BOTH(fn)                                                                                   \
	{#fn " [epoll]", fn, setup, teardown, (void *)&loop_backend_epoll},                        \
	{                                                                                          \
#fn " [io_uring]", fn, setup, teardown, (void *)&loop_backend_uring                \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(streams_over_tcp),
		BOTH(streams_over_unix),
		BOTH(refused_connection_is_a_result),
		BOTH(messages_carry_descriptors),
		BOTH(recv_and_send_wait_at_once),
		BOTH(descriptor_numbers_are_reused),
		BOTH(files_at_offsets),
		BOTH(many_file_operations_at_once),
		BOTH(bad_descriptors_are_results),
		BOTH(timers_fire_in_order),
		BOTH(a_step_waits_and_does_not_spin),
		BOTH(cancel_of_a_recv_in_flight),
		BOTH(cancel_of_an_idle_operation_is_nothing),
		BOTH(cancel_that_comes_too_late_loses_nothing),
		BOTH(posts_run_in_order_next_turn),
		BOTH(work_is_bounded_and_brings_results),
		BOTH(wake_from_another_thread),
		BOTH(run_ends_by_quit_and_can_run_again),
		BOTH(a_thousand_operations_at_once),
		BOTH(more_operations_than_the_ring_holds),
		BOTH(poll_tells_what_happened),
		BOTH(allocations_may_fail),
		cmocka_unit_test(auto_falls_back_where_the_ring_is_forbidden),
	};

	signal(SIGPIPE, SIG_DFL); /* whatever the caller's is: no operation raises it */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
