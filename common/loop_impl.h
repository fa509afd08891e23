/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop_impl.h — what loop.c and its back ends share. Included by common/loop*.c only.
 *
 * loop.c owns timers, posts and the list of what is done; loop_pool.c owns threads; a back end owns
 * operations on descriptors from submit() until it calls loop_complete().
 */
#ifndef COMMON_LOOP_IMPL_H
#define COMMON_LOOP_IMPL_H

#include <pthread.h>

#include "common/loop.h"

#define LOOP_IO_MAX (1u << 30)

struct loop_backend {
	const char *name;
	int (*open)(struct loop *l); /* sets l->be_data; 0 or -errno */
	void (*close)(struct loop *l);
	void (*submit)(struct loop *l, struct loop_op *op);
	void (*cancel)(struct loop *l, struct loop_op *op); /* @op is in flight and not done */
	/* wait - until something completes, l->wake_fd is readable or @timeout_ns is over; complete
	 * what is there. 0 or -errno. */
	int (*wait)(struct loop *l, uint64_t timeout_ns);
};

struct loop_pool {
	bool was_apart; /* threads of their own may have finished something */
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	pthread_t *threads; /* owned; n_threads of them run */
	unsigned n_threads, n_max, n_idle;
	struct list queue, finished;
	bool is_stopping;
};

struct loop {
	const struct loop_backend *be;
	void *be_data;
	int wake_fd;
	char detail[96]; /* of the back end, for the log */
	uint64_t now;
	struct heap timers;
	struct list done; /* completed, callback not yet run */
	struct loop_pool pool;
	struct loop_stats stats;
	bool is_quitting, is_stepping;
};

/* loop_complete - hand @op back with its result; the callback runs in this turn or the next */
void loop_complete(struct loop *l, struct loop_op *op, int res);

void loop_pool_init(struct loop_pool *p, unsigned n_max);
void loop_pool_fini(struct loop_pool *p); /* joins; the queue must be empty */
/* loop_pool_submit - @op->work(@op->ptr), or for LOOP_READ and LOOP_WRITE the system call */
void loop_pool_submit(struct loop *l, struct loop_op *op);
void loop_pool_apart(struct loop *l, struct loop_op *op); /* on a thread of its own */
void loop_pool_cancel(struct loop *l, struct loop_op *op);
void loop_pool_collect(struct loop *l); /* completes what the threads have finished */

#endif
