/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop.h — one thread that waits: sockets, files, timers, work done elsewhere.
 *
 * Two back ends behind one interface: io_uring (loop_uring.c) and epoll with a thread pool for
 * files (loop_epoll.c). The caller names the back end, so a program that never asks for the ring
 * does not link it.
 *
 * An operation is a struct loop_op embedded in its owner; the callback recovers the owner with
 * container_of(). Three laws:
 *   1. An operation in flight owns its memory and its buffers: both stay put until the callback.
 *      Its descriptor too: cancel and wait for the callback, then close.
 *   2. Freeing an owner means: loop_cancel() what is in flight, then wait for the last callback.
 *      Every submitted operation gets exactly one callback, also after cancel.
 *   3. A callback never runs from inside a submit or cancel call; it runs from loop_run().
 * One operation per loop_op at a time. Results: >= 0 as the system call would return, or -errno;
 * -ECANCELED after a cancel that won (one that came too late leaves the real result: an accepted
 * socket is never lost). Times are CLOCK_MONOTONIC nanoseconds.
 * Not thread-safe, except loop_wake() and what a work function itself does. The thread that makes
 * a loop is the one that runs it (the ring belongs to its thread; no fork in between).
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/heap.h"
#include "common/list.h"

struct loop;
struct loop_op;
struct loop_backend;

extern const struct loop_backend loop_backend_epoll;
extern const struct loop_backend loop_backend_uring;

typedef void (*loop_fn)(struct loop_op *op, int res);
typedef int (*loop_work_fn)(void *arg); /* runs on a pool thread; its result becomes res */

enum loop_kind {
	LOOP_IDLE,
	LOOP_ACCEPT,
	LOOP_CONNECT,
	LOOP_RECV,
	LOOP_RECVMSG,
	LOOP_SEND,
	LOOP_SENDMSG,
	LOOP_READ,
	LOOP_WRITE,
	LOOP_POLL,
	LOOP_TIMER,
	LOOP_WORK,
	LOOP_POST,
};

struct loop_op {
	loop_fn fn;
	/* private from here on */
	enum loop_kind kind;
	int fd, flags, res;
	bool is_canceled, is_done;
	uint8_t state; /* the back end's, or the pool's */
	void *ptr;
	size_t len;
	uint64_t off;
	loop_work_fn work;
	struct list link;
	struct heap_node timer;
};

struct loop_stats {
	uint64_t n_completions, n_inflight;
};

/* loop_new - *out = a loop on @be; @n_workers threads at most in the pool (started when first
 * needed). Returns 0, -ENOSYS/-EPERM when the back end is forbidden here, or -errno. */
int loop_new(struct loop **out, const struct loop_backend *be, unsigned n_workers);
/* loop_new_auto - the ring where it works, else epoll; one log line says which and why.
 * @want: "auto", "io_uring" or "epoll" (anything else -EINVAL). In loop_auto.c. */
int loop_new_auto(struct loop **out, const char *want, unsigned n_workers);
/* loop_free - nothing may be in flight; joins the pool. Returns NULL. */
struct loop *loop_free(struct loop *l);
const char *loop_name(const struct loop *l); /* "io_uring" or "epoll" */

/* loop_run - until loop_quit(), which also works before loop_run(). May be run again afterwards, for
 * example to wait for what is being closed. Returns 0 or -errno of the wait itself. */
int loop_run(struct loop *l);
/* loop_step - one turn: wait at most @timeout_ns (0 = do not block, UINT64_MAX = no bound), run
 * what completed. Not from a callback. */
int loop_step(struct loop *l, uint64_t timeout_ns);
void loop_quit(struct loop *l);
bool loop_is_quitting(const struct loop *l); /* between loop_quit() and the end of loop_run() */
/* loop_wake - make loop_run() turn once; from any thread or a signal handler */
void loop_wake(struct loop *l);
/* loop_now - the time as of this turn; cheap */
uint64_t loop_now(const struct loop *l);
struct loop_stats loop_get_stats(const struct loop *l);

static inline void loop_op_init(struct loop_op *op, loop_fn fn)
{
	*op = (struct loop_op){.fn = fn, .fd = -1};
}
static inline bool loop_op_is_active(const struct loop_op *op)
{
	return op->kind != LOOP_IDLE;
}

/* Submitting cannot fail: what goes wrong arrives as the result. Sockets should be non-blocking. At
 * most 1 GiB is moved at once; SIGPIPE is never raised. */
void loop_accept(struct loop *l, struct loop_op *op, int fd); /* res: CLOEXEC|NONBLOCK socket */
void loop_connect(struct loop *l, struct loop_op *op, int fd, const struct sockaddr *sa,
	socklen_t len); /* @sa is in flight. -EAGAIN: the queue of a unix listener is full */
void loop_recv(struct loop *l, struct loop_op *op, int fd, void *p, size_t n);
void loop_recvmsg(struct loop *l, struct loop_op *op, int fd, struct msghdr *m); /* CMSG_CLOEXEC */
void loop_send(
	struct loop *l, struct loop_op *op, int fd, const void *p, size_t n); /* may be short */
void loop_sendmsg(struct loop *l, struct loop_op *op, int fd, const struct msghdr *m);
void loop_read(struct loop *l, struct loop_op *op, int fd, void *p, size_t n, uint64_t off);
void loop_write(struct loop *l, struct loop_op *op, int fd, const void *p, size_t n, uint64_t off);
void loop_poll(struct loop *l, struct loop_op *op, int fd, short events); /* res: revents;
	POLLRDHUP may come unasked (io_uring) */
void loop_timer(struct loop *l, struct loop_op *op, uint64_t deadline_ns); /* res: -ETIME */
void loop_work(struct loop *l, struct loop_op *op, loop_work_fn work, void *arg);
/* loop_work_apart - on a thread of its own, for what may never come back (a close(2) on a file system
 * that does not answer). The caller bounds how many. res is -errno of the thread's creation when @work
 * did not run. Cannot be cancelled. */
void loop_work_apart(struct loop *l, struct loop_op *op, loop_work_fn work, void *arg);
void loop_post(struct loop *l, struct loop_op *op, int res); /* callback in the next turn */

/* loop_cancel - no-op on an idle operation. Work that has begun on a pool thread is not
 * interrupted: its real result arrives when it is done (file reads and writes may be such work). */
void loop_cancel(struct loop *l, struct loop_op *op);

#endif
