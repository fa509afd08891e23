/* SPDX-License-Identifier: GPL-2.0-or-later */
/* broker/client.h — asks dfdaemon-broker to open or link one path as the caller who asked us.
 *
 * For requests that name a path (upstream's dfcache) only; our own dfcache passes descriptors. The
 * broker is handed the caller's connected unix socket (rpc_peer.fd), asks the kernel who is at its
 * other end, takes on that identity and serves the one path, or refuses with a sentence.
 *
 * One connection per request: to the broker's socket (production: systemd starts one broker for
 * each), or, for an ordinary user, to a broker spawned as a child on a socketpair. Everything is
 * asynchronous on the loop; callbacks run from the loop, exactly once, never from inside a call
 * made here, and never after broker_call_cancel(). Statuses are gRPC's (common/rpc/rpc.h), messages
 * are sentences fit for the caller and valid during the callback only (never NULL).
 */
#ifndef P2P_BROKER_CLIENT_H
#define P2P_BROKER_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct broker;
struct broker_call; /* one request in flight; gone when its callback begins */
struct broker_output; /* an output opened as the caller and not yet placed */

struct broker_options {
	const char *socket_path; /* where the broker listens; NULL or "" = spawn `program` */
	const char *program; /* absolute path of dfdaemon-broker; used only without socket_path */
	unsigned max_calls; /* requests and open outputs at once; 0 = 64 */
};

int broker_new(struct broker **out, struct loop *l, const struct broker_options *o);
/* broker_close - calls in flight are cancelled, open outputs aborted, spawned brokers waited for;
 * then @gone (may be NULL), once, from the loop; @b may not be used any more */
void broker_close(struct broker *b, void (*gone)(void *arg), void *arg);

/* @client_sock: the caller's connected socket; borrowed only until the function returns. @timeout_ns
 * 0 = 30 s. More than max_calls at once end with RESOURCE_EXHAUSTED. All return NULL when out of memory (no callback then). */

/* broker_open_source - @fd: read-only, a regular file; the callback owns it; -1 unless RPC_OK */
struct broker_call *broker_open_source(struct broker *b, int client_sock, const char *path,
	uint64_t timeout_ns, void (*fn)(void *arg, int status, const char *message, int fd),
	void *arg);

/* broker_open_output - an empty file that becomes @path later. @fd: O_RDWR, owned by the caller's
 * uid with the caller's umask; the callback owns it, and owns @o (both only when RPC_OK).
 * Fails at once when @path exists and not @overwrite (ALREADY_EXISTS), when its directory does not
 * exist (FAILED_PRECONDITION) or may not be written (PERMISSION_DENIED). */
struct broker_call *broker_open_output(struct broker *b, int client_sock, const char *path,
	bool overwrite, uint64_t timeout_ns,
	void (*fn)(void *arg, int status, const char *message, struct broker_output *o, int fd),
	void *arg);
/* broker_output_place - give it its name, atomically; consumes @o. Close or fdatasync of the data
 * is the caller's business. Overwrite is as it was asked for at open. */
struct broker_call *broker_output_place(struct broker_output *o, uint64_t timeout_ns,
	void (*fn)(void *arg, int status, const char *message), void *arg);
/* broker_output_abort - nothing is left behind; consumes @o; returns NULL. (Losing the connection,
 * or our death, does the same.) */
struct broker_output *broker_output_abort(struct broker_output *o);

/* broker_link - hard link the file behind @data_fd (regular, open for reading, same file system,
 * no set-id bits) to @path */
struct broker_call *broker_link(struct broker *b, int client_sock, int data_fd, const char *path,
	bool overwrite, uint64_t timeout_ns, void (*fn)(void *arg, int status, const char *message),
	void *arg);

/* broker_call_cancel - the callback is not called any more; what was opened is closed */
void broker_call_cancel(struct broker_call *c);

#endif
