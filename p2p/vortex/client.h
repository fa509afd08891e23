/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/client.h — fetches one piece from one parent into a file, hashing as it arrives.
 *
 * Caller: fetch, which decides about retries: this room knows one piece, one parent. The pool keeps
 * connections to our own peers for reuse; a parent of the other kind closes after one answer, which is
 * normal. A kept connection that turns out to be dead is replaced by a new one without a word.
 * Memory: one buffer of `buffer_bytes` per running get, at most `max_buffers`, none when idle. While one
 * half of it is being written the other is received into. Lengths, offsets and numbers of the parent are compared with
 * what was asked for, never trusted.
 */
#ifndef P2P_VORTEX_CLIENT_H
#define P2P_VORTEX_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/digest.h"
#include "common/list.h"
#include "common/loop.h"
#include "p2p/vortex/tlv.h"

struct tls_context;
struct vortex_pool;
struct vortex_get;

enum vortex_outcome {
	VORTEX_OK,
	VORTEX_REFUSED, /* the parent answered with an error frame (code, message) */
	VORTEX_BUSY, /* refused with "busy": come back later, the piece has not failed */
	VORTEX_UNREACHABLE, /* connect failed or timed out */
	VORTEX_LOST, /* the connection broke */
	VORTEX_STALLED, /* no header, or no byte, within the time allowed */
	VORTEX_PROTOCOL, /* nonsense: wrong tag, length, offset or number */
	VORTEX_DIGEST, /* the content does not match the digest that the parent announced */
	VORTEX_IO, /* our own file could not be written (errno in `error`) */
	VORTEX_CANCELLED,
};
const char *vortex_outcome_name(enum vortex_outcome o);

enum vortex_class {
	VORTEX_FOREGROUND, /* somebody waits for it */
	VORTEX_REPLICA, /* a copy for the cluster's sake */
	VORTEX_N_CLASSES
};

struct vortex_want {
	const struct sockaddr *addr; /* copied */
	socklen_t addr_len;
	const char *task_id; /* copied */
	uint32_t number, length;
	uint64_t offset; /* expected; also where it goes in @fd */
	int fd; /* written with positions; must stay open until fn */
	enum vortex_class class; /* of bandwidth */
	bool reuse; /* the parent is known to be of our kind: ask with tag 253 (tlv.h) */
	uint64_t connect_timeout_ns, header_timeout_ns, stall_timeout_ns; /* 0 = 2 s, 10 s, 5 s */
	/* progress - the header has come, or VORTEX_PROGRESS_STEP more bytes are in the file; from the
	 * loop, before @fn, which alone says that the piece is whole and right. NULL: not told */
	void (*progress)(void *arg, struct vortex_get *g);
};
#define VORTEX_PROGRESS_STEP (64u << 10)

struct vortex_result {
	enum vortex_outcome outcome;
	enum vortex_error code; /* REFUSED */
	int error; /* UNREACHABLE, LOST, IO: errno */
	char message[400]; /* REFUSED: the parent's; PROTOCOL, LOST, STALLED: what happened */
	uint32_t crc32; /* OK: of the bytes written */
	struct digest_128 xxh3;
	bool parent_had_digest;
	bool was_forwarded; /* by a parent that did not have the whole piece yet */
	uint64_t bytes;
	uint64_t duration_ns;
};

struct vortex_pool_options {
	unsigned max_idle; /* kept connections; they are closed after 30 s without use */
	size_t buffer_bytes; /* 0 = 512 KiB; at least 16 KiB */
	unsigned max_buffers; /* gets at once; 0 = no limit */
	uint64_t bandwidth; /* bytes per second of all gets, which share it equally; 0 = no limit */
	uint64_t replica_bandwidth; /* of it, for VORTEX_REPLICA; 0 = no limit of its own */
};
int vortex_pool_new(struct vortex_pool **out, struct loop *l, const struct vortex_pool_options *o);
/* vortex_pool_set_tls - connections from now on speak TLS with parents whose certificates name @name (copied), or
 * the address that was dialled when @name is empty. It holds a reference. */
void vortex_pool_set_tls(struct vortex_pool *p, struct tls_context *tls, const char *name);
/* vortex_pool_set_source - connections from now on come from this address */
void vortex_pool_set_source(struct vortex_pool *p, const struct sockaddr_storage *source);
/* all gets end (CANCELLED) first, then @gone from the loop */
void vortex_pool_close(struct vortex_pool *p, void (*gone)(void *arg), void *arg);
/* vortex_get_start - NULL when out of memory, when all buffers are in use, or when the pool is closing (fn
 * is then not called).
 * @fn comes from the loop, once; @g is gone when it returns. In it, and only when the result is OK, all
 * bytes are in the file. */
struct vortex_get *vortex_get_start(struct vortex_pool *p, const struct vortex_want *w,
	void (*fn)(void *arg, struct vortex_get *g, const struct vortex_result *r), void *arg);
void vortex_get_cancel(struct vortex_get *g); /* fn(CANCELLED) follows, from the loop */
uint64_t vortex_get_bytes(const struct vortex_get *g); /* received so far */
bool vortex_get_has_header(const struct vortex_get *g); /* the parent began to answer */
uint32_t vortex_get_written(const struct vortex_get *g); /* of these, in the file */
/* vortex_get_announced - the crc32 that the parent announced; false: no header yet, or none in it */
bool vortex_get_announced(const struct vortex_get *g, uint32_t *crc32);

#endif
