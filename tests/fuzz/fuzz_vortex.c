/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_vortex.c — a frame as either side reads it; what is accepted comes out of the encoder as it
 * came in */
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "p2p/task_id.h"
#include "p2p/vortex/tlv.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t out[VORTEX_HEADER_SIZE + VORTEX_VALUE_MAX];
	struct vortex_download d;
	struct vortex_content c;
	struct vortex_failure f;
	struct vortex_header h;
	const uint8_t *value = p + VORTEX_HEADER_SIZE;

	if (n < VORTEX_HEADER_SIZE || vortex_header_parse(p, &h))
		return 0;
	n -= VORTEX_HEADER_SIZE;
	if (n > h.length)
		n = h.length;
	if (vortex_download_parse(h.tag, value, n, &d) == 0) {
		check(task_id_is_valid(d.task_id));
		check(vortex_download_encode(out, sizeof(out), h.identifier, &d) ==
			VORTEX_HEADER_SIZE + n);
		check(out[1] == h.tag && !memcmp(out + VORTEX_HEADER_SIZE, value, n));
	}
	if (vortex_content_parse(value, n, &c) == 0) {
		check(utf8_valid(c.digest, strlen(c.digest)));
		check(vortex_content_encode(out, sizeof(out), h.identifier, &c) ==
			VORTEX_HEADER_SIZE + n);
		check(!memcmp(out + VORTEX_HEADER_SIZE, value, n));
	}
	if (vortex_failure_parse(value, n, &f) == 0) {
		check(strlen(f.message) < sizeof(f.message));
		check(utf8_valid(f.message, strlen(f.message)));
		check(vortex_failure_encode(out, sizeof(out), 0, f.code, f.message) > 0);
	}
	return 0;
}
