/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/event.h"

#include <errno.h>

#include "common/cleanup.h"
#include "common/rpc/pbc.h"

#define MAX_REST ((size_t)1 << 20) /* of an event, its content apart */

typedef Dfdaemon__V2__DownloadPersistentCacheTaskResponse download_response;

enum found { FOUND_CONTENT, FOUND_NONE, FOUND_MORE, FOUND_BAD };

struct place {
	size_t piece, field, content; /* where they begin */
	size_t content_end, piece_end;
};

/* varint - false: it does not end within @n bytes */
static bool varint(const uint8_t *p, size_t n, size_t *pos, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; *pos < n && shift < 64; shift += 7) {
		uint8_t b = p[(*pos)++];

		*v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return true;
	}
	return false;
}

/* find - the content in a message of @total bytes of which the first @n are at @p. MORE: that takes
 * more of them. */
static enum found find(const uint8_t *p, size_t n, size_t total, struct place *at)
{
	static const unsigned path[] = {5, 1, 6}; /* finished piece, piece, content */
	size_t end[ARRAY_SIZE(path)] = {total}, pos = 0;
	unsigned depth = 0;

	while (1) {
		uint64_t tag, len = 0;
		size_t field = pos;

		if (pos == end[depth]) {
			if (!depth)
				return FOUND_NONE;
			depth--;
			continue;
		}
		if (!varint(p, n, &pos, &tag) ||
			((tag & 7) != 1 && (tag & 7) != 5 && !varint(p, n, &pos, &len)))
			return n < total && pos >= n ? FOUND_MORE : FOUND_BAD;
		if ((tag & 7) == 1 || (tag & 7) == 5)
			len = (tag & 7) == 1 ? 8 : 4;
		else if ((tag & 7) == 0)
			len = 0; /* it was the value */
		else if ((tag & 7) != 2)
			return FOUND_BAD;
		if (pos > end[depth] || len > end[depth] - pos)
			return FOUND_BAD;
		if ((tag & 7) != 2 || tag >> 3 != path[depth]) {
			pos += len;
		} else if (depth + 1 < ARRAY_SIZE(path)) {
			if (depth)
				at->piece = pos;
			end[++depth] = pos + len;
		} else {
			at->field = field;
			at->content = pos;
			at->content_end = pos + len;
			at->piece_end = end[depth];
			return FOUND_CONTENT;
		}
		if (pos > n)
			return FOUND_MORE;
	}
}

static int begin(struct event_reader *e, const uint8_t *p, const struct place *at,
	const struct event_handlers *h, void *arg)
{
	struct buf head = {0};
	Common__V2__Piece *piece;

	buf_add(&head, p + at->piece, at->field - at->piece);
	buf_fini(&e->rest);
	e->rest = head;
	if (!buf_ok(&head))
		return -ENOMEM;
	piece = pbc_unpack(&common__v2__piece__descriptor, head.data, head.len);
	if (!piece)
		return -EBADMSG;
	e->state = EVENT_CONTENT;
	e->content_end = at->content_end;
	e->piece_end = at->piece_end;
	h->begin(arg, piece, at->content_end - at->content);
	protobuf_c_message_free_unpacked(&piece->base, NULL);
	return 0;
}

/* seek - the message so far; *used of the @n bytes are dealt with */
static int seek(struct event_reader *e, const uint8_t *p, size_t n, size_t total, size_t at,
	const struct event_handlers *h, void *arg, size_t *used)
{
	struct place where = {0};
	enum found f;

	/* most often the first part has it all, and then nothing is copied but what precedes the content */
	if (at) {
		buf_add(&e->rest, p, n);
		if (!buf_ok(&e->rest))
			return -ENOMEM;
	}
	f = find(at ? e->rest.data : p, at + n, total, &where);
	*used = n;
	if (f == FOUND_BAD || (f != FOUND_CONTENT && at + n > MAX_REST))
		return -EBADMSG;
	if (f == FOUND_CONTENT) {
		*used = where.content > at ? where.content - at : 0;
		return begin(e, at ? e->rest.data : p, &where, h, arg);
	}
	if (!at)
		buf_add(&e->rest, p, n);
	return buf_ok(&e->rest) ? 0 : -ENOMEM;
}

static int whole(struct event_reader *e, const struct event_handlers *h, void *arg)
{
	Common__V2__Piece *piece;
	download_response *m;

	if (e->state != EVENT_SEEKING) {
		piece = pbc_unpack(&common__v2__piece__descriptor, e->rest.data, e->rest.len);
		if (!piece)
			return -EBADMSG;
		h->piece(arg, piece, true);
		protobuf_c_message_free_unpacked(&piece->base, NULL);
		return 0;
	}
	m = pbc_unpack(&dfdaemon__v2__download_persistent_cache_task_response__descriptor,
		e->rest.data, e->rest.len);
	if (!m)
		return -EBADMSG;
	/* an event of neither kind is of a newer daemon: not for us */
	switch (m->response_case) {
	case DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__RESPONSE_DOWNLOAD_PERSISTENT_CACHE_TASK_STARTED_RESPONSE:
		h->started(arg, m->download_persistent_cache_task_started_response->content_length);
		break;
	case DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__RESPONSE_DOWNLOAD_PIECE_FINISHED_RESPONSE:
		if (m->download_piece_finished_response->piece)
			h->piece(arg, m->download_piece_finished_response->piece, false);
		break;
	default:
		break;
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return 0;
}

int event_part(struct event_reader *e, const uint8_t *p, size_t n, size_t total, size_t at,
	const struct event_handlers *h, void *arg)
{
	size_t used = 0, k;
	int r = 0;

	if (!at) {
		event_reader_fini(e);
		*e = (struct event_reader){0};
	}
	if (e->state == EVENT_SEEKING) {
		r = seek(e, p, n, total, at, h, arg, &used);
		if (r < 0)
			return r;
	}
	if (e->state == EVENT_CONTENT) {
		k = e->content_end - (at + used);
		k = k < n - used ? k : n - used;
		if (k)
			h->content(arg, p + used, k);
		used += k;
		if (at + used == e->content_end)
			e->state = EVENT_TAIL;
	}
	if (e->state == EVENT_TAIL && at + used < e->piece_end) {
		k = e->piece_end - (at + used);
		buf_add(&e->rest, p + used, k < n - used ? k : n - used);
		if (!buf_ok(&e->rest))
			return -ENOMEM;
		if (e->rest.len > MAX_REST)
			return -EBADMSG;
	}
	return at + n == total ? whole(e, h, arg) : 0;
}

void event_reader_fini(struct event_reader *e)
{
	buf_fini(&e->rest);
}
