/* SPDX-License-Identifier: GPL-2.0-or-later */
/* event.h — the events of a download (DownloadPersistentCacheTaskResponse) as their bytes arrive: the
 * content of a piece is handed on and never collected, so memory does not depend on the length of pieces.
 *
 * Pure; the bytes are the daemon's and are not trusted. What daemons put before the content (number,
 * offset, length, digest: the order of the field numbers) is known when it begins.
 */
#ifndef DFCACHE_EVENT_H
#define DFCACHE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "p2p/api/dfdaemon.pb-c.h"

struct event_handlers {
	void (*started)(void *arg, uint64_t content_length);
	/* content of @n bytes begins; @piece has what came before it */
	void (*begin)(void *arg, const Common__V2__Piece *piece, uint64_t n);
	void (*content)(void *arg, const uint8_t *p, size_t n);
	/* the event is complete; @has_content: begin() was called for it */
	void (*piece)(void *arg, const Common__V2__Piece *piece, bool has_content);
};

/* of the message being received; all zero at first */
struct event_reader {
	enum { EVENT_SEEKING, EVENT_CONTENT, EVENT_TAIL } state;
	struct buf rest; /* the message without its content; of a piece: only the piece */
	size_t content_end, piece_end; /* within the message */
};

/* event_part - @n bytes from @at of a message of @total, in order. 0; -EBADMSG: not such an event;
 * -ENOMEM. After an error the reader takes no more. */
int event_part(struct event_reader *e, const uint8_t *p, size_t n, size_t total, size_t at,
	const struct event_handlers *h, void *arg);
void event_reader_fini(struct event_reader *e);

#endif
