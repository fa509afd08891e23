/* SPDX-License-Identifier: GPL-2.0-or-later */
/* client.h — calls to dfdaemon on its unix socket, and what interrupts them.
 *
 * Each call has a connection of its own, because descriptors travel with the first bytes of a
 * connection. SIGINT, SIGTERM and SIGHUP cancel all calls: each still gets its on_done, so what was
 * begun is undone in the ordinary way; a second signal has its usual effect.
 */
#ifndef DFCACHE_CLIENT_H
#define DFCACHE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "dfcache/report.h"

struct client;
struct writer;

struct call {
	/* one response message; the bytes are valid during the callback */
	void (*on_message)(struct call *c, const uint8_t *p, size_t n);
	/* instead of on_message: see struct rpc_handlers */
	void (*on_part)(struct call *c, const uint8_t *p, size_t n, size_t total, size_t at);
	/* exactly once when call_start() returned 0; trailers by call_trailer() */
	void (*on_done)(struct call *c, int status, const char *message);
	struct writer *writer; /* receive into its buffers, if not NULL */
	/* private */
	struct client *client;
	struct rpc_channel *channel;
	struct rpc_request *request;
	struct list link;
};

/* client_new - @endpoint is borrowed. 0 or -errno. */
int client_new(struct client **out, const char *endpoint);
struct client *client_free(struct client *c);
const char *client_endpoint(const struct client *c);
/* client_writer - the one that all calls share; NULL: out of memory */
struct writer *client_writer(struct client *c);
int client_signal(const struct client *c); /* what interrupted it; 0 = nothing */
/* client_run - turn the loop until no call is left. @tick, if not NULL, is
 * called at least 20 times a second. */
void client_run(struct client *c, void (*tick)(void *arg), void *arg);

/* call_start - @fds (may be NULL, n_fds 0) are duplicated. @timeout_ns 0 = none. 0 or -errno. */
int call_start(struct client *cl, struct call *c, const char *method, ProtobufCMessage *request,
	const struct rpc_meta *meta, size_t n_meta, const int *fds, size_t n_fds,
	uint64_t timeout_ns);
void call_cancel(struct call *c);
/* call_trailer - only within on_done; NULL = absent */
const char *call_trailer(const struct call *c, const char *key);

/* client_unary - one call from begin to end. Returns the answer (free with
 * protobuf_c_message_free_unpacked), or NULL with @f set. */
void *client_unary(struct client *cl, const char *method, ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *answer, uint64_t timeout_ns, struct failure *f);

#endif
