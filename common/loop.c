/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop.c — see loop.h. The part that no back end needs to know: timers, posts, the order of
 * callbacks. A turn is: let the back end wait, move expired timers and finished work to the list of
 * what is done, then run the callbacks of that list as it stood. What they complete at once runs in
 * the next turn, so one busy descriptor cannot keep the others waiting. */
#include "common/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

static uint64_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int loop_new(struct loop **out, const struct loop_backend *be, unsigned n_workers)
{
	struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->be = be;
	l->now = clock_now();
	list_init(&l->done);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0) {
		r = -errno;
		free(l);
		return r;
	}
	r = be->open(l);
	if (r) {
		fd_close(l->wake_fd);
		free(l);
		return r;
	}
	loop_pool_init(&l->pool, n_workers ? n_workers : 1);
	*out = l;
	return 0;
}

struct loop *loop_free(struct loop *l)
{
	if (!l)
		return NULL;
	assert(!l->stats.n_inflight && !l->is_stepping);
	loop_pool_fini(&l->pool);
	l->be->close(l);
	heap_fini(&l->timers);
	fd_close(l->wake_fd);
	free(l);
	return NULL;
}

const char *loop_name(const struct loop *l)
{
	return l->be->name;
}

uint64_t loop_now(const struct loop *l)
{
	return l->now;
}

struct loop_stats loop_get_stats(const struct loop *l)
{
	return l->stats;
}

void loop_wake(struct loop *l)
{
	int e = errno;
	uint64_t one = 1;

	/* fails only when the counter is full: then the loop wakes up anyway */
	if (write(l->wake_fd, &one, sizeof(one)) < 0)
		errno = e;
}

void loop_quit(struct loop *l)
{
	l->is_quitting = true;
}

bool loop_is_quitting(const struct loop *l)
{
	return l->is_quitting;
}

void loop_complete(struct loop *l, struct loop_op *op, int res)
{
	list_del(&op->link);
	op->res = res;
	op->is_done = true;
	list_push(&l->done, &op->link);
}

static void expire_timers(struct loop *l)
{
	struct heap_node *first;

	while ((first = heap_first(&l->timers)) && first->key <= l->now) {
		heap_remove(&l->timers, first);
		loop_complete(l, container_of(first, struct loop_op, timer), -ETIME);
	}
}

static uint64_t bound_wait(const struct loop *l, uint64_t timeout_ns)
{
	const struct heap_node *first = heap_first(&l->timers);

	if (!list_empty(&l->done))
		return 0;
	if (first) {
		uint64_t left = first->key > l->now ? first->key - l->now : 0;

		if (left < timeout_ns)
			timeout_ns = left;
	}
	return timeout_ns;
}

static void run_done(struct loop *l)
{
	struct list batch, *n;

	if (list_empty(&l->done))
		return;
	batch = l->done; /* splice: what callbacks complete belongs to the next turn */
	batch.next->prev = batch.prev->next = &batch;
	list_init(&l->done);
	while ((n = list_pop(&batch))) {
		struct loop_op *op = container_of(n, struct loop_op, link);

		op->kind = LOOP_IDLE;
		op->is_done = false;
		l->stats.n_inflight--;
		l->stats.n_completions++;
		op->fn(op, op->res); /* @op may be gone after this */
	}
}

int loop_step(struct loop *l, uint64_t timeout_ns)
{
	int r;

	assert(!l->is_stepping);
	l->is_stepping = true;
	l->now = clock_now();
	r = l->be->wait(l, bound_wait(l, timeout_ns));
	l->now = clock_now();
	expire_timers(l);
	loop_pool_collect(l);
	run_done(l);
	l->is_stepping = false;
	return r;
}

int loop_run(struct loop *l)
{
	int r = 0;

	while (!l->is_quitting && !r)
		r = loop_step(l, UINT64_MAX);
	l->is_quitting = false;
	return r;
}

/* begin - fill in what every kind of operation has */
static void begin(struct loop *l, struct loop_op *op, enum loop_kind kind, int fd)
{
	assert(op->kind == LOOP_IDLE && op->fn);
	op->kind = kind;
	op->fd = fd;
	op->flags = 0;
	op->is_canceled = op->is_done = false;
	op->state = 0;
	list_init(&op->link);
	l->stats.n_inflight++;
}

static void begin_io(struct loop *l, struct loop_op *op, enum loop_kind kind, int fd, const void *p,
	size_t n, uint64_t off)
{
	begin(l, op, kind, fd);
	op->ptr = (void *)p;
	op->len = n < LOOP_IO_MAX ? n : LOOP_IO_MAX;
	op->off = off;
	l->be->submit(l, op);
}

void loop_accept(struct loop *l, struct loop_op *op, int fd)
{
	begin_io(l, op, LOOP_ACCEPT, fd, NULL, 0, 0);
}

void loop_connect(
	struct loop *l, struct loop_op *op, int fd, const struct sockaddr *sa, socklen_t len)
{
	begin_io(l, op, LOOP_CONNECT, fd, sa, len, 0);
}

void loop_recv(struct loop *l, struct loop_op *op, int fd, void *p, size_t n)
{
	begin_io(l, op, LOOP_RECV, fd, p, n, 0);
}

void loop_recvmsg(struct loop *l, struct loop_op *op, int fd, struct msghdr *m)
{
	begin_io(l, op, LOOP_RECVMSG, fd, m, 0, 0);
}

void loop_send(struct loop *l, struct loop_op *op, int fd, const void *p, size_t n)
{
	begin_io(l, op, LOOP_SEND, fd, p, n, 0);
}

void loop_sendmsg(struct loop *l, struct loop_op *op, int fd, const struct msghdr *m)
{
	begin_io(l, op, LOOP_SENDMSG, fd, m, 0, 0);
}

void loop_read(struct loop *l, struct loop_op *op, int fd, void *p, size_t n, uint64_t off)
{
	begin_io(l, op, LOOP_READ, fd, p, n, off);
}

void loop_write(struct loop *l, struct loop_op *op, int fd, const void *p, size_t n, uint64_t off)
{
	begin_io(l, op, LOOP_WRITE, fd, p, n, off);
}

void loop_poll(struct loop *l, struct loop_op *op, int fd, short events)
{
	begin(l, op, LOOP_POLL, fd);
	op->flags = events;
	l->be->submit(l, op);
}

void loop_timer(struct loop *l, struct loop_op *op, uint64_t deadline_ns)
{
	int r;

	begin(l, op, LOOP_TIMER, -1);
	op->timer = (struct heap_node){0};
	r = heap_insert(&l->timers, &op->timer, deadline_ns);
	if (r)
		loop_complete(l, op, r);
}

void loop_work(struct loop *l, struct loop_op *op, loop_work_fn work, void *arg)
{
	begin(l, op, LOOP_WORK, -1);
	op->work = work;
	op->ptr = arg;
	loop_pool_submit(l, op);
}

void loop_work_apart(struct loop *l, struct loop_op *op, loop_work_fn work, void *arg)
{
	begin(l, op, LOOP_WORK, -1);
	op->work = work;
	op->ptr = arg;
	loop_pool_apart(l, op);
}

void loop_post(struct loop *l, struct loop_op *op, int res)
{
	begin(l, op, LOOP_POST, -1);
	loop_complete(l, op, res);
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	if (op->kind == LOOP_IDLE || op->is_canceled)
		return;
	op->is_canceled = true;
	if (op->kind == LOOP_POST || (op->is_done && op->kind == LOOP_TIMER)) {
		op->res = -ECANCELED; /* nothing is lost, and the owner meant it */
	} else if (op->is_done) {
		return; /* too late: the real result arrives */
	} else if (op->kind == LOOP_TIMER) {
		heap_remove(&l->timers, &op->timer);
		loop_complete(l, op, -ECANCELED);
	} else if (op->kind == LOOP_WORK) {
		loop_pool_cancel(l, op);
	} else {
		l->be->cancel(l, op);
	}
}
