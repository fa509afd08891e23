/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vortex/rx.h — one answer of a parent, as its bytes arrive: frame, then content. Pure.
 *
 * The client feeds what it received; this room takes the frame apart, compares it with what was
 * asked for, says which of the bytes are content, and hashes them while they are in cache.
 */
#ifndef P2P_VORTEX_RX_H
#define P2P_VORTEX_RX_H

#include "common/digest.h"
#include "p2p/vortex/tlv.h"

enum vortex_rx_state {
	VORTEX_RX_FRAME, /* more bytes of the frame, please */
	VORTEX_RX_CONTENT, /* more content, please */
	/* final: */
	VORTEX_RX_WHOLE, /* all content is there, and matches the digest if one was announced */
	VORTEX_RX_MISMATCH, /* all content is there, and does not match */
	VORTEX_RX_REFUSED, /* `failure` says why */
	VORTEX_RX_BROKEN, /* nonsense; `problem` says what */
};

struct vortex_rx {
	enum vortex_rx_state state;
	uint32_t number, length; /* asked for */
	uint64_t offset;
	uint32_t left; /* content bytes still to come, once in CONTENT */
	uint32_t crc32, announced_crc32; /* of the content so far; of all of it */
	bool has_digest; /* one was announced */
	bool is_forwarded; /* the parent named the peer that it is getting the piece from itself */
	struct digest_xxh3 *xxh3; /* borrowed */
	struct vortex_failure failure;
	char problem[128];
	size_t n_frame;
	uint8_t frame[VORTEX_HEADER_SIZE + VORTEX_VALUE_MAX];
};

/* vortex_rx_init - expect piece @number of @length bytes at @offset; @xxh3 is reset, and stays the
 * caller's until the end */
void vortex_rx_init(struct vortex_rx *rx, uint32_t number, uint64_t offset, uint32_t length,
	struct digest_xxh3 *xxh3);
/* vortex_rx_feed - @n more bytes. Returns how many belong to the answer (fewer than @n only in a
 * final state); of these, *content (inside @p) and *n_content are content. */
size_t vortex_rx_feed(struct vortex_rx *rx, const uint8_t *p, size_t n, const uint8_t **content,
	size_t *n_content);
static inline bool vortex_rx_is_final(const struct vortex_rx *rx)
{
	return rx->state >= VORTEX_RX_WHOLE;
}

#endif
