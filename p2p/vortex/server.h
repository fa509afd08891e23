/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/server.h — serves pieces over Vortex TCP. Source: dragonfly-p2p.md (d).
 *
 * Speaks the era C request (tag 4) and answers with frame (tag 5) and unframed content. A request
 * is handed to the source, which answers at once or later. An upstream child sends one request per
 * connection and expects the end of the stream after the answer. A child of our kind asks with tag
 * 253 instead (tlv.h) and keeps the connection for many requests; when no slot is free it gets "busy"
 * at once, while an upstream child, which would take that for a failed piece, waits its turn.
 *
 * Bytes go by sendfile(2): from the page cache on the loop's thread, from the disk on a pool thread,
 * so a slow disk delays only its own transfers. No buffer is held for a transfer. A child that takes
 * no byte, or over time less than 64 KiB a second, is dropped and named in the log.
 */
#ifndef P2P_VORTEX_SERVER_H
#define P2P_VORTEX_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "p2p/vortex/tlv.h"

#define VORTEX_ALPN "dfcachefiles-vortex" /* between our own peers; upstream's cannot */

struct loop;
struct tls_context;
struct vortex_server;
struct vortex_request; /* valid from find() until served()/gone() */

struct vortex_piece {
	int fd; /* borrowed until done(); read with positions only */
	uint64_t offset; /* both in the file and on the wire; off_t's range */
	uint32_t length;
	uint32_t crc32;
	bool has_crc32;
	const char *parent_id; /* "" = none; copied */
	uint64_t cost_s;
	int64_t created_s;
	/* The piece is still arriving here: only the first `available` bytes of it are sent until
	 * vortex_grown() says more, or vortex_give_up() that no more will come. */
	bool is_arriving;
	uint32_t available;
};

struct vortex_source_ops {
	/* find - a child wants this piece. Answer with vortex_reply() or vortex_refuse(), now or
	 * later. */
	void (*find)(void *arg, struct vortex_request *rq, const char *task_id, uint32_t number);
	/* done - exactly once per find(), after it: the request is over. @sent content bytes went out,
	 * @whole: all of a piece; neither after a refusal, or when the child went before an answer
	 * (then no answer any more). After it @rq and the borrowed fd are free. */
	void (*done)(void *arg, struct vortex_request *rq, uint64_t sent, bool whole);
};

struct vortex_server_limits { /* 0 = the default named here */
	unsigned max_connections; /* in all: 512 */
	unsigned max_sending; /* transfers at once: 64 */
	uint64_t request_timeout_ns; /* from accept, or the first byte, to a whole request: 10 s */
	uint64_t idle_timeout_ns; /* a kept connection between two requests: 60 s */
	uint64_t stall_timeout_ns; /* the child takes no byte: 15 s */
	/* content bytes per second for all; 0 = no limit. Children (addresses) that want more than there is
	 * get equal shares, however many connections they have. */
	uint64_t bandwidth;
};

/* vortex_server_new - @listen_fd is a listening, non-blocking socket, the server's from success on. SIGPIPE
 * is ignored from now on, unless the process handles it already. */
int vortex_server_new(struct vortex_server **out, struct loop *l, int listen_fd,
	const struct vortex_source_ops *ops, void *arg, const struct vortex_server_limits *limits);
/* vortex_server_set_tls - connections from now on speak TLS with VORTEX_ALPN, plaintext is dropped. It holds
 * a reference. Where the kernel encrypts, sendfile stays; else 16 KiB are on the stack of who sends. */
void vortex_server_set_tls(struct vortex_server *s, struct tls_context *tls);
void vortex_server_set_bandwidth(struct vortex_server *s, uint64_t bandwidth);
/* vortex_server_move - @fd (consumed) listens in place of the first one; connections that are open stay */
void vortex_server_move(struct vortex_server *s, int fd);
/* vortex_server_close - done() is called for each open request, then @gone(arg) once from the loop */
void vortex_server_close(struct vortex_server *s, void (*gone)(void *arg), void *arg);
/* vortex_reply / vortex_refuse - once per find(), in it or later; nothing is called back from inside.
 * @p is copied (not the file). Reply: false when there was no free slot and the child was told "busy"
 * instead. Refuse: error frame, the connection stays open for a child of ours. */
bool vortex_reply(struct vortex_request *rq, const struct vortex_piece *p);
void vortex_refuse(struct vortex_request *rq, enum vortex_error code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* vortex_grown - of an arriving piece the first @available bytes may be sent; its length: all of it */
void vortex_grown(struct vortex_request *rq, uint32_t available);
/* vortex_give_up - the rest of an arriving piece will not come: the connection ends, done() follows */
void vortex_give_up(struct vortex_request *rq);
void vortex_request_set_data(struct vortex_request *rq, void *data);
void *vortex_request_data(const struct vortex_request *rq);
/* vortex_request_is_ours - it came with KEEP_REQUEST: the child understands "busy" */
bool vortex_request_is_ours(const struct vortex_request *rq);
const struct sockaddr *vortex_request_child(const struct vortex_request *rq);
struct vortex_server_stats {
	uint64_t n_connections, n_sending, n_waiting; /* now */
	uint64_t bytes_sent, n_pieces, n_busy, n_refused, n_dropped,
		n_stalled; /* since the start */
};
struct vortex_server_stats vortex_server_get_stats(const struct vortex_server *s);

#endif
