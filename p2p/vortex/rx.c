/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/rx.c — see rx.h */
#include "p2p/vortex/rx.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/num.h"

#define CRC32_PREFIX "crc32:"

void vortex_rx_init(struct vortex_rx *rx, uint32_t number, uint64_t offset, uint32_t length,
	struct digest_xxh3 *xxh3)
{
	rx->state = VORTEX_RX_FRAME;
	rx->number = number;
	rx->length = length;
	rx->offset = offset;
	rx->left = rx->crc32 = rx->announced_crc32 = 0;
	rx->has_digest = rx->is_forwarded = false;
	rx->xxh3 = xxh3;
	rx->failure = (struct vortex_failure){0};
	rx->problem[0] = 0;
	rx->n_frame = 0;
	digest_xxh3_reset(xxh3);
}

static void __attribute__((format(printf, 2, 3))) broken(struct vortex_rx *rx, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rx->problem, sizeof(rx->problem), fmt, ap);
	va_end(ap);
	rx->state = VORTEX_RX_BROKEN;
}

static void finish_content(struct vortex_rx *rx)
{
	rx->state = rx->has_digest && rx->crc32 != rx->announced_crc32 ? VORTEX_RX_MISMATCH
								       : VORTEX_RX_WHOLE;
}

static void on_content_frame(struct vortex_rx *rx, const uint8_t *value, size_t n)
{
	struct vortex_content c;
	uint64_t crc;

	if (vortex_content_parse(value, n, &c))
		broken(rx, "a content frame that does not parse");
	else if (c.number != rx->number)
		broken(rx, "piece %" PRIu32 " instead of %" PRIu32, c.number, rx->number);
	else if (c.offset != rx->offset)
		broken(rx, "offset %" PRIu64 " instead of %" PRIu64, c.offset, rx->offset);
	else if (c.length != rx->length)
		broken(rx, "length %" PRIu64 " instead of %" PRIu32, c.length, rx->length);
	else if (c.digest[0] &&
		 (strncmp(c.digest, CRC32_PREFIX, strlen(CRC32_PREFIX)) ||
			 num_u64(c.digest + strlen(CRC32_PREFIX), 0, UINT32_MAX, &crc, NULL)))
		broken(rx, "a digest that is not crc32:<decimal>");
	if (rx->state == VORTEX_RX_BROKEN)
		return;
	rx->has_digest = c.digest[0] != 0;
	rx->is_forwarded = c.parent_id[0] != 0;
	rx->announced_crc32 = rx->has_digest ? (uint32_t)crc : 0;
	rx->left = rx->length;
	rx->state = VORTEX_RX_CONTENT;
	if (!rx->left)
		finish_content(rx);
}

/* on_frame - the whole frame is in rx->frame */
static void on_frame(struct vortex_rx *rx, const struct vortex_header *h)
{
	const uint8_t *value = rx->frame + VORTEX_HEADER_SIZE;

	if (h->tag == VORTEX_TAG_PERSISTENT_CACHE_CONTENT)
		on_content_frame(rx, value, h->length);
	else if (vortex_failure_parse(value, h->length, &rx->failure))
		broken(rx, "an error frame without a code");
	else
		rx->state = VORTEX_RX_REFUSED;
}

/* fill - the frame up to @want bytes from @p; true when it has them */
static bool fill(struct vortex_rx *rx, size_t want, const uint8_t *p, size_t n, size_t *used)
{
	size_t k = want > rx->n_frame ? want - rx->n_frame : 0;

	if (k > n - *used)
		k = n - *used;
	memcpy(rx->frame + rx->n_frame, p + *used, k);
	rx->n_frame += k;
	*used += k;
	return rx->n_frame >= want;
}

static size_t feed_frame(struct vortex_rx *rx, const uint8_t *p, size_t n)
{
	struct vortex_header h;
	size_t used = 0;

	if (!fill(rx, VORTEX_HEADER_SIZE, p, n, &used))
		return used;
	if (vortex_header_parse(rx->frame, &h))
		broken(rx, "a frame of %" PRIu32 " bytes", h.length);
	else if (h.tag != VORTEX_TAG_PERSISTENT_CACHE_CONTENT && h.tag != VORTEX_TAG_ERROR)
		broken(rx, "tag %u", h.tag);
	else if (fill(rx, VORTEX_HEADER_SIZE + h.length, p, n, &used))
		on_frame(rx, &h);
	return used;
}

size_t vortex_rx_feed(struct vortex_rx *rx, const uint8_t *p, size_t n, const uint8_t **content,
	size_t *n_content)
{
	size_t used = 0, k;

	*content = NULL;
	*n_content = 0;
	if (rx->state == VORTEX_RX_FRAME)
		used = feed_frame(rx, p, n);
	if (rx->state != VORTEX_RX_CONTENT)
		return used;
	k = n - used < rx->left ? n - used : rx->left;
	if (!k)
		return used;
	*content = p + used;
	*n_content = k;
	rx->crc32 = digest_crc32(rx->crc32, p + used, k);
	digest_xxh3_update(rx->xxh3, p + used, k);
	rx->left -= (uint32_t)k;
	if (!rx->left)
		finish_content(rx);
	return used + k;
}
