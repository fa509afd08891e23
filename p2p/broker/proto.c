/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/broker/proto.h"

#include <errno.h>
#include <string.h>

#include "common/wire.h"

#define MAGIC          0x31626664u /* "dfb1" */
#define FLAG_OVERWRITE 1u

size_t broker_request_n_fds(enum broker_operation o)
{
	return o == BROKER_PLACE ? 0 : o == BROKER_LINK ? 2 : 1;
}

int broker_request_parse(const uint8_t *p, size_t n, struct broker_request *rq)
{
	struct wire_rd r = wire_rd(p, n);
	uint32_t magic = wire_u32le(&r);
	uint8_t operation = wire_u8(&r), flags = wire_u8(&r);
	uint16_t len = wire_u16le(&r);
	const uint8_t *path = wire_skip(&r, len);

	if (r.failed || r.left || magic != MAGIC || (flags & ~FLAG_OVERWRITE))
		return -EBADMSG;
	if (operation < BROKER_OPEN_SOURCE || operation > BROKER_PLACE || len > BROKER_PATH_MAX)
		return -EBADMSG;
	/* relative to what? our working directory is not the caller's */
	if (operation == BROKER_PLACE ? len != 0 : (!len || path[0] != '/' || memchr(path, 0, len)))
		return -EBADMSG;
	rq->operation = operation;
	rq->overwrite = flags & FLAG_OVERWRITE;
	if (len)
		memcpy(rq->path, path, len);
	rq->path[len] = '\0';
	return 0;
}

size_t broker_request_encode(
	uint8_t *out, size_t cap, enum broker_operation o, bool overwrite, const char *path)
{
	struct wire_wr w = {.p = out, .left = cap};
	size_t len = strlen(path);

	if (len > BROKER_PATH_MAX)
		return 0;
	wire_put_u32le(&w, MAGIC);
	wire_put_u8(&w, (uint8_t)o);
	wire_put_u8(&w, overwrite ? FLAG_OVERWRITE : 0);
	wire_put_u16le(&w, (uint16_t)len);
	wire_put(&w, path, len);
	return w.failed ? 0 : cap - w.left;
}

int broker_reply_parse(const uint8_t *p, size_t n, struct broker_reply *re)
{
	struct wire_rd r = wire_rd(p, n);
	uint32_t magic = wire_u32le(&r), status = wire_u32le(&r);
	uint16_t len = wire_u16le(&r);
	const uint8_t *text = wire_skip(&r, len);

	if (r.failed || r.left || magic != MAGIC || len > BROKER_TEXT_MAX ||
		(len && memchr(text, 0, len)))
		return -EBADMSG;
	re->status = status;
	if (len)
		memcpy(re->text, text, len);
	re->text[len] = '\0';
	return 0;
}

size_t broker_reply_encode(uint8_t *out, size_t cap, uint32_t status, const char *text)
{
	struct wire_wr w = {.p = out, .left = cap};
	size_t len = strnlen(text, BROKER_TEXT_MAX);

	wire_put_u32le(&w, MAGIC);
	wire_put_u32le(&w, status);
	wire_put_u16le(&w, (uint16_t)len);
	wire_put(&w, text, len);
	return w.failed ? 0 : cap - w.left;
}
