/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/tlv.h — the Vortex piece protocol: bytes <-> structs. Pure: no allocation, no I/O.
 *
 * Source: dragonfly-p2p.md (d), era C (vortex-protocol 0.1.5). All integers big endian. Frame:
 * identifier (1 byte, random, matches nothing), tag (1), length of the value (4), value. The piece
 * content follows the content frame unframed: the frame length does not include it.
 *
 * One tag is ours: KEEP_REQUEST is the same request from a peer that is known to be of our kind. It
 * says two things: keep the connection open after the answer, and "busy" is understood. It is sent
 * only to peers that said, over gRPC, that they are ours; upstream drops a connection that sends it.
 */
#ifndef P2P_VORTEX_TLV_H
#define P2P_VORTEX_TLV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VORTEX_HEADER_SIZE  6
#define VORTEX_ID_SIZE      64
#define VORTEX_REQUEST_SIZE (VORTEX_HEADER_SIZE + VORTEX_ID_SIZE + 4)
#define VORTEX_DIGEST_MAX   256
#define VORTEX_PARENT_MAX   1024
/* the largest value we accept for anything (content metadata, error): refuse more before reading */
#define VORTEX_VALUE_MAX (49 + VORTEX_DIGEST_MAX + VORTEX_PARENT_MAX)

enum vortex_tag {
	VORTEX_TAG_PERSISTENT_CACHE_REQUEST = 4,
	VORTEX_TAG_PERSISTENT_CACHE_CONTENT = 5,
	VORTEX_TAG_KEEP_REQUEST = 253,
	VORTEX_TAG_CLOSE = 254,
	VORTEX_TAG_ERROR = 255,
};

enum vortex_error {
	VORTEX_E_UNKNOWN = 0,
	VORTEX_E_INVALID_ARGUMENT = 1,
	VORTEX_E_NOT_FOUND = 2,
	VORTEX_E_INTERNAL = 3,
};

struct vortex_header {
	uint8_t identifier, tag;
	uint32_t length;
};

struct vortex_download {
	char task_id[VORTEX_ID_SIZE + 1]; /* NUL padding removed; task_id_is_valid() */
	uint32_t number;
	bool keep; /* asked with KEEP_REQUEST */
};

struct vortex_content {
	uint32_t number;
	uint64_t offset, length;
	char digest[VORTEX_DIGEST_MAX + 1]; /* "" = none; printable UTF-8, as is the next */
	char parent_id[VORTEX_PARENT_MAX + 1];
	uint8_t traffic_type;
	uint64_t cost_s;
	int64_t created_s;
};

struct vortex_failure {
	uint8_t code;
	char message[256]; /* cut if longer; valid UTF-8, control characters replaced */
};

/* the message of an error frame with which a parent of our kind says "no free slot, come back" */
#define VORTEX_BUSY_MESSAGE "busy"

/* Decoders return 0, -EBADMSG (not this format), -EMSGSIZE (a length beyond our limits). */
int vortex_header_parse(const uint8_t p[VORTEX_HEADER_SIZE], struct vortex_header *h);
int vortex_download_parse(uint8_t tag, const uint8_t *value, size_t n, struct vortex_download *d);
int vortex_content_parse(const uint8_t *value, size_t n, struct vortex_content *c);
int vortex_failure_parse(const uint8_t *value, size_t n, struct vortex_failure *f);
/* Encoders write a whole frame, return its size, 0 if @cap is too small or a text too long. */
size_t vortex_download_encode(
	uint8_t *out, size_t cap, uint8_t identifier, const struct vortex_download *d);
size_t vortex_content_encode(
	uint8_t *out, size_t cap, uint8_t identifier, const struct vortex_content *c);
size_t vortex_failure_encode(
	uint8_t *out, size_t cap, uint8_t identifier, uint8_t code, const char *message);
size_t vortex_close_encode(uint8_t *out, size_t cap, uint8_t identifier);

#endif
