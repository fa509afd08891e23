/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/tlv.c — see tlv.h */
#include "p2p/vortex/tlv.h"

#include <errno.h>
#include <string.h>

#include "common/utf8.h"
#include "common/wire.h"
#include "p2p/task_id.h"

#define CONTENT_FIXED 45 /* bytes of the metadata besides digest and parent id */

int vortex_header_parse(const uint8_t p[VORTEX_HEADER_SIZE], struct vortex_header *h)
{
	struct wire_rd r = wire_rd(p, VORTEX_HEADER_SIZE);

	h->identifier = wire_u8(&r);
	h->tag = wire_u8(&r);
	h->length = wire_u32be(&r);
	return h->length > VORTEX_VALUE_MAX ? -EMSGSIZE : 0;
}

int vortex_download_parse(uint8_t tag, const uint8_t *value, size_t n, struct vortex_download *d)
{
	struct wire_rd r = wire_rd(value, n);
	size_t len;

	if (tag != VORTEX_TAG_PERSISTENT_CACHE_REQUEST && tag != VORTEX_TAG_KEEP_REQUEST)
		return -EBADMSG;
	wire_get(&r, d->task_id, VORTEX_ID_SIZE);
	d->task_id[VORTEX_ID_SIZE] = 0;
	d->number = wire_u32be(&r);
	d->keep = tag == VORTEX_TAG_KEEP_REQUEST;
	if (r.failed || r.left)
		return -EBADMSG;
	len = strlen(d->task_id);
	for (size_t i = len; i < VORTEX_ID_SIZE; i++)
		if (d->task_id[i])
			return -EBADMSG;
	return task_id_is_valid(d->task_id) ? 0 : -EBADMSG;
}

static bool is_control(uint8_t c)
{
	return c < 0x20 || c == 0x7f;
}

/* get_text - the next @n bytes as a string, if they are printable UTF-8 */
static int get_text(struct wire_rd *r, size_t n, size_t max, char *out)
{
	const uint8_t *p;

	if (n > max)
		return -EMSGSIZE;
	p = wire_skip(r, n);
	if (!p || !utf8_valid(p, n))
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		if (is_control(p[i]))
			return -EBADMSG;
	memcpy(out, p, n);
	out[n] = 0;
	return 0;
}

int vortex_content_parse(const uint8_t *value, size_t n, struct vortex_content *c)
{
	struct wire_rd r = wire_rd(value, n);
	uint32_t metadata = wire_u32be(&r);
	int e;

	if (metadata != r.left)
		return -EBADMSG;
	c->number = wire_u32be(&r);
	c->offset = wire_u64be(&r);
	c->length = wire_u64be(&r);
	e = get_text(&r, wire_u32be(&r), VORTEX_DIGEST_MAX, c->digest);
	if (e)
		return e;
	e = get_text(&r, wire_u32be(&r), VORTEX_PARENT_MAX, c->parent_id);
	if (e)
		return e;
	c->traffic_type = wire_u8(&r);
	c->cost_s = wire_u64be(&r);
	c->created_s = (int64_t)wire_u64be(&r);
	return r.failed || r.left ? -EBADMSG : 0;
}

int vortex_failure_parse(const uint8_t *value, size_t n, struct vortex_failure *f)
{
	size_t used = 0;

	if (!n)
		return -EBADMSG;
	f->code = *value++;
	n--;
	while (n) {
		size_t k = utf8_sequence(value, n);
		bool is_good = k && !is_control(*value);

		if (used + (is_good ? k : 1) >= sizeof(f->message))
			break;
		if (is_good) {
			memcpy(f->message + used, value, k);
			used += k;
		} else {
			f->message[used++] = '?';
			k = 1;
		}
		value += k;
		n -= k;
	}
	f->message[used] = 0;
	return 0;
}

/* begin - a frame whose value is @length bytes long */
static struct wire_wr begin(
	uint8_t *out, size_t cap, uint8_t identifier, uint8_t tag, size_t length)
{
	struct wire_wr w = wire_wr(out, cap);

	wire_put_u8(&w, identifier);
	wire_put_u8(&w, tag);
	wire_put_u32be(&w, (uint32_t)length);
	return w;
}

size_t vortex_download_encode(
	uint8_t *out, size_t cap, uint8_t identifier, const struct vortex_download *d)
{
	struct wire_wr w = begin(out, cap, identifier,
		d->keep ? VORTEX_TAG_KEEP_REQUEST : VORTEX_TAG_PERSISTENT_CACHE_REQUEST,
		VORTEX_REQUEST_SIZE - VORTEX_HEADER_SIZE);
	uint8_t id[VORTEX_ID_SIZE] = {0};
	size_t n = strnlen(d->task_id, sizeof(d->task_id));

	if (n > sizeof(id))
		return 0;
	memcpy(id, d->task_id, n);
	wire_put(&w, id, sizeof(id));
	wire_put_u32be(&w, d->number);
	return w.failed ? 0 : VORTEX_REQUEST_SIZE;
}

size_t vortex_content_encode(
	uint8_t *out, size_t cap, uint8_t identifier, const struct vortex_content *c)
{
	size_t n_digest = strnlen(c->digest, sizeof(c->digest)),
	       n_parent = strnlen(c->parent_id, sizeof(c->parent_id));
	size_t metadata = CONTENT_FIXED + n_digest + n_parent;
	struct wire_wr w =
		begin(out, cap, identifier, VORTEX_TAG_PERSISTENT_CACHE_CONTENT, 4 + metadata);

	if (n_digest > VORTEX_DIGEST_MAX || n_parent > VORTEX_PARENT_MAX)
		return 0;
	wire_put_u32be(&w, (uint32_t)metadata);
	wire_put_u32be(&w, c->number);
	wire_put_u64be(&w, c->offset);
	wire_put_u64be(&w, c->length);
	wire_put_u32be(&w, (uint32_t)n_digest);
	wire_put(&w, c->digest, n_digest);
	wire_put_u32be(&w, (uint32_t)n_parent);
	wire_put(&w, c->parent_id, n_parent);
	wire_put_u8(&w, c->traffic_type);
	wire_put_u64be(&w, c->cost_s);
	wire_put_u64be(&w, (uint64_t)c->created_s);
	return w.failed ? 0 : VORTEX_HEADER_SIZE + 4 + metadata;
}

size_t vortex_failure_encode(
	uint8_t *out, size_t cap, uint8_t identifier, uint8_t code, const char *message)
{
	size_t n = strlen(message);
	struct wire_wr w;

	if (n >= VORTEX_VALUE_MAX)
		return 0;
	w = begin(out, cap, identifier, VORTEX_TAG_ERROR, 1 + n);
	wire_put_u8(&w, code);
	wire_put(&w, message, n);
	return w.failed ? 0 : VORTEX_HEADER_SIZE + 1 + n;
}

size_t vortex_close_encode(uint8_t *out, size_t cap, uint8_t identifier)
{
	struct wire_wr w = begin(out, cap, identifier, VORTEX_TAG_CLOSE, 0);

	return w.failed ? 0 : VORTEX_HEADER_SIZE;
}
