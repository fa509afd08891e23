/* SPDX-License-Identifier: GPL-2.0-or-later */
/* foreign: a user whose descriptors never answer cannot take the pool from others */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/loop.h"
#include "p2p/foreign.h"

#define WORKERS 4

struct job {
	struct foreign_op op;
	int pipe[2];
	int result;
	bool is_done;
};

/* hangs until somebody writes */
static int wait_for_byte(void *arg)
{
	struct job *j = arg;
	char c;

	return (int)read(j->pipe[0], &c, 1);
}

static void on_done(struct foreign_op *op, int res)
{
	struct job *j = container_of(op, struct job, op);

	j->result = res;
	j->is_done = true;
}

static void job_start(struct foreign *f, struct job *j, uid_t uid)
{
	assert_int_equal(pipe(j->pipe), 0);
	j->is_done = false;
	foreign_op_init(&j->op, on_done);
	foreign_work(f, &j->op, uid, wait_for_byte, j);
}

static void job_release(struct job *j)
{
	assert_int_equal(write(j->pipe[1], "x", 1), 1);
}

static void job_wait(struct loop *l, struct job *j)
{
	for (int i = 0; i < 100 && !j->is_done; i++)
		loop_step(l, 100000000);
	assert_true(j->is_done);
	assert_int_equal(j->result, 1);
	close(j->pipe[0]);
	close(j->pipe[1]);
}

static void one_user_gets_half_of_the_pool(void **state)
{
	struct loop *l;
	struct foreign *f;
	struct job hung[6], other[2];

	assert_int_equal(loop_new(&l, &loop_backend_epoll, WORKERS), 0);
	assert_int_equal(foreign_new(&f, l, WORKERS), 0);
	for (int i = 0; i < 6; i++)
		job_start(f, &hung[i], 12345);
	/* another user's work is done although the first one's six hang */
	for (int i = 0; i < 2; i++) {
		job_start(f, &other[i], 12346);
		job_release(&other[i]);
	}
	for (int i = 0; i < 2; i++)
		job_wait(l, &other[i]);
	assert_false(foreign_is_idle(f));
	/* what waited goes on in order, two at a time */
	job_release(&hung[5]);
	loop_step(l, 0);
	assert_false(hung[5].is_done);
	for (int i = 0; i < 5; i++)
		job_release(&hung[i]);
	for (int i = 0; i < 6; i++)
		job_wait(l, &hung[i]);
	assert_true(foreign_is_idle(f));
	foreign_free(f);
	loop_free(l);
}

static void root_is_not_limited(void **state)
{
	struct loop *l;
	struct foreign *f;
	struct job j[WORKERS];

	assert_int_equal(loop_new(&l, &loop_backend_epoll, WORKERS), 0);
	assert_int_equal(foreign_new(&f, l, WORKERS), 0);
	for (int i = 0; i < WORKERS; i++)
		job_start(f, &j[i], 0);
	job_release(&j[WORKERS - 1]);
	job_wait(l, &j[WORKERS - 1]);
	for (int i = 0; i < WORKERS - 1; i++)
		job_release(&j[i]);
	for (int i = 0; i < WORKERS - 1; i++)
		job_wait(l, &j[i]);
	foreign_free(f);
	loop_free(l);
}

static void descriptors_are_closed(void **state)
{
	struct loop *l;
	struct foreign *f;
	int p[2];
	char c;

	assert_int_equal(loop_new(&l, &loop_backend_epoll, WORKERS), 0);
	assert_int_equal(foreign_new(&f, l, WORKERS), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(foreign_close(f, 12345, p[1]), -1);
	assert_int_equal(read(p[0], &c, 1), 0); /* the end: nobody can write any more */
	while (!foreign_is_idle(f))
		loop_step(l, 100000000);
	assert_int_equal(foreign_close(f, 12345, -1), -1);
	assert_true(foreign_is_idle(f));
	close(p[0]);
	foreign_free(f);
	loop_free(l);
}

/* a TCP socket whose close waits for a reader that does not come */
static int hanging(int listener, int *other)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 5};
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	char block[65536] = {0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
	*other = accept(listener, NULL, NULL);
	while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

static void many_closes_are_welcome_until_they_hang(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), others[32];
	struct loop *l;
	struct foreign *f;
	int p[2];
	char c;

	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 40), 0);
	assert_int_equal(loop_new(&l, &loop_backend_epoll, WORKERS), 0);
	assert_int_equal(foreign_new(&f, l, WORKERS), 0);
	assert_int_equal(pipe(p), 0);
	for (int i = 0; i < 200; i++) {
		assert_true(foreign_is_welcome(f, 12345));
		foreign_close(f, 12345, dup(p[1]));
	}
	close(p[1]);
	while (!foreign_is_idle(f))
		loop_step(l, 100000000);
	assert_int_equal(read(p[0], &c, 1), 0);
	for (int i = 0; i < 32; i++)
		foreign_close(f, 12345, hanging(listener, &others[i]));
	assert_true(foreign_is_welcome(f, 12345));
	for (int i = 0; i < 200 && foreign_is_welcome(f, 12345); i++)
		loop_step(l, 100000000);
	assert_false(foreign_is_welcome(f, 12345));
	assert_true(foreign_is_welcome(f, 12346));
	for (int i = 0; i < 32; i++)
		close(others[i]);
	while (!foreign_is_idle(f))
		loop_step(l, 100000000);
	assert_true(foreign_is_welcome(f, 12345));
	close(p[0]);
	close(listener);
	foreign_free(f);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_user_gets_half_of_the_pool),
		cmocka_unit_test(root_is_not_limited),
		cmocka_unit_test(descriptors_are_closed),
		cmocka_unit_test(many_closes_are_welcome_until_they_hang),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
