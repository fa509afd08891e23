/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conn.h — an HTTP/2 connection (h2.h) on a connected socket and the loop: reads, writes, the one
 * timer, descriptors that come along, closing by the loop's laws. Used by server.c and client.c.
 *
 * Sockets are polled and then read and written directly: no buffer is in flight, so an idle
 * connection holds none, and all connections of one owner share a receive buffer.
 */
#ifndef COMMON_RPC_CONN_H
#define COMMON_RPC_CONN_H

#include "common/fd.h"
#include "common/loop.h"
#include "common/rpc/h2.h"
#include "common/tls.h"

#define CONN_READ_BYTES ((size_t)64 << 10)

struct conn {
	struct loop *loop;
	struct h2 *h2; /* owned */
	int fd; /* owned */
	struct tls *tls; /* owned; NULL: plaintext */
	bool is_unix;
	uint8_t *scratch; /* borrowed, shared: what is read goes through it */
	size_t scratch_len;
	/* where the next read goes instead, if not NULL (struct rpc_channel_options) */
	uint8_t *(*next_scratch)(void *arg, size_t *len);
	void *scratch_arg;
	const int *send_fds; /* borrowed: go with the first bytes */
	size_t n_send_fds;
	/* owned: received and not taken (-1 = taken), then those that were too many. Closed on a
	 * thread: behind a stranger's descriptor may be a file system that never answers. */
	int fds[2 * FD_PASS_MAX];
	unsigned n_fds, n_surplus, max_fds;
	/* once, from the loop, when nothing is in flight any more; frees the owner */
	void (*on_gone)(struct conn *c);
	/* something happened, perhaps the end: a client looks whether calls wait (may be NULL) */
	void (*on_turn)(struct conn *c);
	/* private */
	struct loop_op rd, wr, kick, timer, closing;
	uint64_t timer_at, linger_until;
	size_t lingered;
	bool is_running, has_work, is_lingering, is_closing;
	char reason[TLS_REASON]; /* why it was given up; "" in peace */
	bool was_refused; /* at the end: TLS was asked for, and never came about */
};

/* conn_init - empty form; then the owner fills what is above "private" */
void conn_init(struct conn *c, struct loop *l, int fd);
/* conn_start - begin reading and send what h2 has. The h2's arg must be the conn, and its wake
 * conn_wake(). */
void conn_start(struct conn *c);
void conn_wake(void *arg);
/* conn_close - give the connection up; its calls end with this sentence; on_gone follows */
void conn_close(struct conn *c, const char *reason);
/* conn_leave - conn_close() of a connection without calls, with a GOAWAY before it if the socket takes
 * it: the peer's next call goes to a new connection and is not lost */
void conn_leave(struct conn *c, const char *reason);

#endif
