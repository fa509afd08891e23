/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/server.h — serves pieces over Vortex TCP. Source: dragonfly-p2p.md (d).
 *
 * Speaks the era C request (tag 4) and answers with frame (tag 5) and unframed content. A request
 * is handed to the source, which answers at once or later. Our own children keep a connection for
 * many requests; an upstream child sends one request and expects the end of the stream after the
 * answer: which of the two is a property of the request's connection (see `reuse` in client.h).
 */
#ifndef P2P_VORTEX_SERVER_H
#define P2P_VORTEX_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "p2p/vortex/tlv.h"

struct loop;
struct vortex_server;
struct vortex_request; /* valid from find() until served()/gone() */

struct vortex_piece {
	int fd; /* borrowed until done(); read with positions only */
	uint64_t offset; /* both in the file and on the wire */
	uint32_t length;
	uint32_t crc32;
	bool has_crc32;
	const char *parent_id; /* "" = none; copied */
	uint64_t cost_s;
	int64_t created_s;
};

struct vortex_source_ops {
	/* find - a child wants this piece. Answer with vortex_reply() or vortex_refuse(), now or
	 * later. */
	void (*find)(void *arg, struct vortex_request *rq, const char *task_id, uint32_t number);
	/* done - exactly once per find(): the request is over (sent whole or not, or the child went
	 * before an answer). @sent content bytes. After it @rq and the borrowed fd are free. */
	void (*done)(void *arg, struct vortex_request *rq, uint64_t sent, bool whole);
};

struct vortex_server_limits {
	unsigned max_connections; /* in all: 512 */
	unsigned max_sending; /* transfers at once; more wait in arrival order: 64 */
	size_t buffer_bytes; /* per sending transfer: 256 KiB */
	uint64_t
		request_timeout_ns; /* no whole request: 10 s idle before first, 60 s when reused */
	uint64_t stall_timeout_ns; /* child takes no byte: 15 s */
	uint64_t bandwidth; /* bytes per second, 0 = no limit */
};

int vortex_server_new(struct vortex_server **out, struct loop *l, int listen_fd,
	const struct vortex_source_ops *ops, void *arg, const struct vortex_server_limits *limits);
/* closes; done() is called for each open request, then @gone(arg) once from the loop */
void vortex_server_close(struct vortex_server *s, void (*gone)(void *arg), void *arg);
/* vortex_reply / vortex_refuse - @p is copied (not the file). Refuse: error frame, connection stays
 * open for a reusing child. */
void vortex_reply(struct vortex_request *rq, const struct vortex_piece *p);
void vortex_refuse(struct vortex_request *rq, enum vortex_error code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void vortex_request_set_data(struct vortex_request *rq, void *data);
void *vortex_request_data(const struct vortex_request *rq);
/* vortex_request_is_ours - it came with KEEP_REQUEST: the child understands "busy" */
bool vortex_request_is_ours(const struct vortex_request *rq);
const struct sockaddr *vortex_request_child(const struct vortex_request *rq);
struct vortex_server_stats {
	uint64_t n_connections, n_sending, bytes_sent, n_refused, n_dropped;
};
struct vortex_server_stats vortex_server_get_stats(const struct vortex_server *s);

#endif
