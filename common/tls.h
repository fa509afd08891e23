/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls.h — mutual TLS 1.3 on connected, non-blocking sockets (OpenSSL 3).
 *
 * A context is one identity: certificate, key, and the CA that the other side must come from. A
 * connection (struct tls) reads and writes its socket directly and never blocks: after -EAGAIN its
 * caller polls for tls_events(). The handshake is part of the first reads and writes; no byte passes
 * before both certificates are verified. tls_recv() and tls_send() are the same as operations of a
 * loop, for either back end.
 *
 * Strangers: at most TLS_HANDSHAKES_MAX unfinished handshakes of accepted sockets per context; for one
 * more the oldest is shut down. How long one may take is its caller's deadline. No tickets, no resumption:
 * every connection shows its certificate. SIGPIPE is ignored from the first context on, unless the process
 * handles it.
 * One connection is used by one thread at a time. A context is the loop's thread's.
 */
#ifndef COMMON_TLS_H
#define COMMON_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct loop;
struct loop_op;
struct tls_context;
struct tls;

#define TLS_REASON         400
#define TLS_RECORD         16384 /* most that one tls_write() takes */
#define TLS_HANDSHAKES_MAX 64

struct tls_files { /* PEM; the certificate may be followed by its intermediates */
	const char *ca, *cert, *key;
};

/* tls_context_new - reads and checks the files: the key's mode (nobody but its owner, who is root or
 * we, may write it, and others may not read it), that it fits the certificate, that the certificate is from the CA
 * and valid now. 0, -ENOMEM, -errno of a file, or -EINVAL; @reason is a sentence that names the file. */
int tls_context_new(struct tls_context **out, const struct tls_files *files, char *reason);
/* tls_context_reload - the same files again, for connections from now on; on failure the old ones stay */
int tls_context_reload(struct tls_context *c, char *reason);
/* tls_context_has_changed - is one of the files another than the one that was read? */
bool tls_context_has_changed(const struct tls_context *c);
/* tls_context_expires - seconds since the epoch; of the certificate in use */
int64_t tls_context_expires(const struct tls_context *c);
struct tls_context *tls_context_ref(struct tls_context *c);
struct tls_context *tls_context_unref(struct tls_context *c); /* NULL is fine; returns NULL */

/* tls_accept / tls_connect - the connection on @fd, which stays the caller's and outlives it. @alpn: the
 * one protocol spoken. @name: the IP address or DNS name that the other side's certificate must have. NULL
 * when out of memory. */
struct tls *tls_accept(struct tls_context *c, int fd, const char *alpn);
struct tls *tls_connect(struct tls_context *c, int fd, const char *alpn, const char *name);
/* tls_free - says goodbye if the socket takes it. NULL is fine; returns NULL. */
struct tls *tls_free(struct tls *t);
/* tls_allow_kernel - let the kernel encrypt what is sent, where it can (before the first byte) */
void tls_allow_kernel(struct tls *t);
/* tls_in_kernel - it does: sendfile(2) on the socket is allowed now */
bool tls_in_kernel(const struct tls *t);

/* tls_read - as many bytes as there are, at most @n; 0: the end; -EAGAIN; or an error (tls_reason()) */
ssize_t tls_read(struct tls *t, void *p, size_t n);
/* tls_write - takes at most TLS_RECORD bytes. What the socket did not take is kept here, and the next
 * tls_write(), tls_flush() or tls_read() goes on with it. The number taken, -EAGAIN (none), or an error. */
ssize_t tls_write(struct tls *t, const void *p, size_t n);
ssize_t tls_writev(struct tls *t, const struct iovec *iov, int n);
/* tls_flush - 0: the socket has all; -EAGAIN; or an error */
int tls_flush(struct tls *t);
/* tls_events - what the last -EAGAIN waits for: POLLIN, POLLOUT, or either */
short tls_events(const struct tls *t);
/* tls_has_pending - bytes are here that a poll of the socket would not show */
bool tls_has_pending(const struct tls *t);
/* tls_is_open - both sides are verified */
bool tls_is_open(const struct tls *t);
/* tls_peer - the subject of the other side's certificate, "" until tls_is_open() */
const char *tls_peer(const struct tls *t);
/* tls_reason - why the last call failed, a sentence; "" when it is the socket's errno alone */
const char *tls_reason(const struct tls *t);

/* tls_recv / tls_send - loop_recv() and loop_send() of a connection that may be encrypted (@t NULL: it
 * is not). Results: the same; -EPROTO when TLS failed. tls_send() is short, and done when tls_flush() says so.
 * The callback of @op begins with
 *	if (tls_again(t, l, op, &res))
 *		return;
 * One of each at a time. */
void tls_recv(struct tls *t, struct loop *l, struct loop_op *op, int fd, void *p, size_t n);
void tls_send(struct tls *t, struct loop *l, struct loop_op *op, int fd, const void *p, size_t n);
bool tls_again(struct tls *t, struct loop *l, struct loop_op *op, int *res);

#endif
