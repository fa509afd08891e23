/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_vortex_rx.c — what a parent sends, cut into receives of any size: the client's side of an
 * answer. The first byte chooses the length asked for, the second the sizes of the receives. */
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "p2p/vortex/rx.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct digest_xxh3 *xxh3;
	struct vortex_rx rx;
	uint32_t seed, length, got = 0, crc = 0;

	if (!xxh3 && !(xxh3 = digest_xxh3_new()))
		return 0;
	if (n < 2)
		return 0;
	length = p[0];
	seed = p[1];
	p += 2;
	n -= 2;
	vortex_rx_init(&rx, 2, 1000, length, xxh3);
	while (n && !vortex_rx_is_final(&rx)) {
		size_t k = seed % 37 + 1, n_content, used;
		const uint8_t *content;
		uint8_t *exact;

		seed = seed * 1103515245 + 12345;
		k = k < n ? k : n;
		exact = malloc(k); /* so that reading one byte too far is seen */
		if (!exact)
			return 0;
		memcpy(exact, p, k);
		used = vortex_rx_feed(&rx, exact, k, &content, &n_content);
		check(used <= k && (used == k || vortex_rx_is_final(&rx)));
		check(!n_content || (content >= exact && content + n_content <= exact + used));
		got += (uint32_t)n_content;
		crc = digest_crc32(crc, content, n_content);
		check(got <= length);
		free(exact);
		p += used;
		n -= used;
	}
	switch (rx.state) {
	case VORTEX_RX_WHOLE:
		check(got == length && (!rx.has_digest || crc == rx.announced_crc32));
		check(rx.crc32 == crc);
		break;
	case VORTEX_RX_MISMATCH:
		check(got == length && rx.has_digest && crc != rx.announced_crc32);
		break;
	case VORTEX_RX_BROKEN:
		check(!got && rx.problem[0]);
		break;
	case VORTEX_RX_REFUSED:
		check(!got && utf8_valid(rx.failure.message, strlen(rx.failure.message)));
		break;
	default:
		check(got < length || !length);
		break;
	}
	return 0;
}
