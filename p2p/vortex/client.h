/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/client.h — fetches one piece from one parent into a file, hashing as it arrives.
 *
 * The pool keeps connections to our own peers for reuse; a parent of the other kind closes after
 * one answer, which is normal. The callee of fn decides about retries: this room knows one piece,
 * one parent. Memory: one buffer of `buffer_bytes` per running get.
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

struct vortex_want {
	const struct sockaddr *addr; /* copied */
	socklen_t addr_len;
	const char *task_id; /* copied */
	uint32_t number, length;
	uint64_t offset; /* expected; also where it goes in @fd */
	int fd; /* written with positions; must stay open until fn */
	bool reuse; /* a peer of our kind: keep the connection */
	uint64_t connect_timeout_ns, header_timeout_ns, stall_timeout_ns; /* 0 = 2 s, 10 s, 5 s */
};

struct vortex_result {
	enum vortex_outcome outcome;
	enum vortex_error code; /* REFUSED */
	int error; /* UNREACHABLE, LOST, IO: errno */
	char message[256];
	uint32_t crc32; /* OK: of the bytes written */
	struct digest_128 xxh3;
	bool parent_had_digest;
	uint64_t bytes;
	uint64_t duration_ns;
};

int vortex_pool_new(
	struct vortex_pool **out, struct loop *l, unsigned max_idle, size_t buffer_bytes);
/* all gets end (CANCELLED) first, then @gone from the loop */
void vortex_pool_close(struct vortex_pool *p, void (*gone)(void *arg), void *arg);
/* vortex_get_start - NULL when out of memory (fn is then not called) */
struct vortex_get *vortex_get_start(struct vortex_pool *p, const struct vortex_want *w,
	void (*fn)(void *arg, struct vortex_get *g, const struct vortex_result *r), void *arg);
void vortex_get_cancel(struct vortex_get *g); /* fn(CANCELLED) follows, from the loop */
uint64_t vortex_get_bytes(const struct vortex_get *g); /* received so far */

#endif
