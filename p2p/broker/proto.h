/* SPDX-License-Identifier: GPL-2.0-or-later */
/* broker/proto.h — the messages between dfdaemon and its broker: bytes <-> structs. Pure.
 *
 * One SOCK_SEQPACKET connection serves one task. Little endian.
 *   request  u32 magic "dfb1", u8 operation, u8 flags, u16 length of the path, path (absolute, no NUL)
 *   reply    u32 magic, u32 status (gRPC's numbers), u16 length of the text, text
 * Descriptors: with OPEN_SOURCE and OPEN_OUTPUT the caller's connected socket; with LINK that and
 * then the data; the reply to an open that succeeded carries the opened file. After OPEN_OUTPUT
 * the same connection takes PLACE (no path, no descriptor); its end before that is an abort.
 */
#ifndef P2P_BROKER_PROTO_H
#define P2P_BROKER_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BROKER_PATH_MAX    4095
#define BROKER_TEXT_MAX    (BROKER_PATH_MAX + 512)
#define BROKER_REQUEST_MAX (8 + BROKER_PATH_MAX)
#define BROKER_REPLY_MAX   (10 + BROKER_TEXT_MAX)

enum broker_operation {
	BROKER_OPEN_SOURCE = 1,
	BROKER_OPEN_OUTPUT,
	BROKER_LINK,
	BROKER_PLACE,
};

struct broker_request {
	enum broker_operation operation;
	bool overwrite;
	char path[BROKER_PATH_MAX + 1]; /* "" with PLACE only */
};

struct broker_reply {
	uint32_t status;
	char text[BROKER_TEXT_MAX + 1];
};

/* broker_request_n_fds - how many descriptors belong to a request of this kind */
size_t broker_request_n_fds(enum broker_operation o);
/* Parsers: 0 or -EBADMSG. Encoders return the size, 0 when @cap is too small or the path too long;
 * a text too long is cut. */
int broker_request_parse(const uint8_t *p, size_t n, struct broker_request *rq);
size_t broker_request_encode(
	uint8_t *out, size_t cap, enum broker_operation o, bool overwrite, const char *path);
int broker_reply_parse(const uint8_t *p, size_t n, struct broker_reply *re);
size_t broker_reply_encode(uint8_t *out, size_t cap, uint32_t status, const char *text);

#endif
