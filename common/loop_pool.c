/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop_pool.c — the threads of a loop, for what blocks: hashing, file I/O without a ring, syncs.
 * A thread is started when work waits and none is free, up to the bound. op->state and op->link
 * belong to the pool, under its lock, from submit until collect or a cancel that won. */
#include "common/loop_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { QUEUED = 1, RUNNING, FINISHED };

void loop_pool_init(struct loop_pool *p, unsigned n_max)
{
	*p = (struct loop_pool){.n_max = n_max};
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wanted, NULL);
	list_init(&p->queue);
	list_init(&p->finished);
}

static int run(struct loop_op *op)
{
	ssize_t n;

	switch (op->kind) {
	case LOOP_READ:
		do
			n = pread(op->fd, op->ptr, op->len, (off_t)op->off);
		while (n < 0 && errno == EINTR);
		return n < 0 ? -errno : (int)n;
	case LOOP_WRITE:
		do
			n = pwrite(op->fd, op->ptr, op->len, (off_t)op->off);
		while (n < 0 && errno == EINTR);
		return n < 0 ? -errno : (int)n;
	default:
		return op->work(op->ptr);
	}
}

/* under the lock */
static void finish(struct loop *l, struct loop_op *op)
{
	bool was_empty = list_empty(&l->pool.finished);

	op->state = FINISHED;
	list_push(&l->pool.finished, &op->link);
	if (was_empty)
		loop_wake(l);
}

static void *thread_main(void *arg)
{
	struct loop *l = arg;
	struct loop_pool *p = &l->pool;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct list *n = list_pop(&p->queue);
		struct loop_op *op;

		if (!n) {
			if (p->is_stopping)
				break;
			p->n_idle++;
			pthread_cond_wait(&p->wanted, &p->lock);
			p->n_idle--;
			continue;
		}
		op = container_of(n, struct loop_op, link);
		op->state = RUNNING;
		pthread_mutex_unlock(&p->lock);
		op->res = run(op);
		pthread_mutex_lock(&p->lock);
		finish(l, op);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* start_thread - signals are the loop thread's business, so none is delivered to ours */
static int start_thread(struct loop *l)
{
	struct loop_pool *p = &l->pool;
	sigset_t all, old;
	int r;

	if (!p->threads && !(p->threads = calloc(p->n_max, sizeof(*p->threads))))
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&p->threads[p->n_threads], NULL, thread_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	pthread_setname_np(p->threads[p->n_threads++], "loop-worker");
	return 0;
}

struct apart {
	struct loop *loop;
	struct loop_op *op;
};

static void *apart_main(void *arg)
{
	struct apart a = *(struct apart *)arg;

	free(arg);
	a.op->res = a.op->work(a.op->ptr);
	/* the loop cannot go before it has taken this, which needs the lock */
	pthread_mutex_lock(&a.loop->pool.lock);
	finish(a.loop, a.op);
	pthread_mutex_unlock(&a.loop->pool.lock);
	return NULL;
}

void loop_pool_apart(struct loop *l, struct loop_op *op)
{
	struct apart *a = malloc(sizeof(*a));
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t t;
	int r = ENOMEM;

	op->state = RUNNING;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (a) {
		*a = (struct apart){l, op};
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		r = pthread_create(&t, &attr, apart_main, a);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	if (r) {
		free(a);
		loop_complete(l, op, -r);
		return;
	}
	l->pool.was_apart = true;
}

void loop_pool_submit(struct loop *l, struct loop_op *op)
{
	struct loop_pool *p = &l->pool;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (!p->n_idle && p->n_threads < p->n_max)
		r = start_thread(l);
	if (!r || p->n_threads) { /* one thread is enough to go on */
		r = 0;
		op->state = QUEUED;
		list_push(&p->queue, &op->link);
		pthread_cond_signal(&p->wanted);
	}
	pthread_mutex_unlock(&p->lock);
	if (r)
		loop_complete(l, op, r);
}

void loop_pool_cancel(struct loop *l, struct loop_op *op)
{
	struct loop_pool *p = &l->pool;
	bool won;

	pthread_mutex_lock(&p->lock);
	won = op->state == QUEUED;
	if (won)
		list_del(&op->link);
	pthread_mutex_unlock(&p->lock);
	if (won)
		loop_complete(l, op, -ECANCELED);
}

void loop_pool_collect(struct loop *l)
{
	struct loop_pool *p = &l->pool;
	struct list *n;

	if (!p->n_threads && !p->was_apart)
		return;
	pthread_mutex_lock(&p->lock);
	while ((n = list_pop(&p->finished))) {
		struct loop_op *op = container_of(n, struct loop_op, link);

		loop_complete(l, op, op->res);
	}
	pthread_mutex_unlock(&p->lock);
}

void loop_pool_fini(struct loop_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->is_stopping = true;
	pthread_cond_broadcast(&p->wanted);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	free(p->threads);
	pthread_cond_destroy(&p->wanted);
	pthread_mutex_destroy(&p->lock);
}
